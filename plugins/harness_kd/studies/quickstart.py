"""From nothing to a published leaderboard, offline: distil, evaluate, rank, with the news world's models.

Every step leaves a finished folder or file and is skipped when that is there, so an interrupted quickstart goes on
where it stopped, and its soft labels, training and boards are the ones of the other commands.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.files import replace_dir
from harness_kd.plan import TrainPlan
from harness_kd.studies.board import publish_comparison, shown
from harness_kd.studies.claim import claim

TASK = "kd_newsworld_factual"
COLUMNS = ("oracle_faithfulness", "factual_consistency_rate", "factual_rate", "rougeL", "chrf")


@dataclass(frozen=True, kw_only=True)
class Quickstart:
    """What the quickstart compares; the defaults are the paper's own setting in miniature."""

    output: Path
    """Folder for everything."""
    board: Path | None = None
    """Board specification to write (NAME.json; the page is NAME.md beside it); None: leaderboard.json in ``output``."""
    teacher: str = "teacher"
    """Shipped teacher: ``teacher`` was finetuned on references as noisy as the student's, ``teacher-clean`` was not."""
    noise: float = 0.4
    """Share of training references that state something unsupported, in [0, 1]."""
    kd_ratio: float = 10.0
    """Weight of distillation relative to the hard labels; of the paper's 0.1, 1 and 10 the one that benchmarks/kd_vs_sft.py
    found the steadiest."""
    rows: int = 2000
    """Training rows."""
    documents: int = 1000
    """Evaluation documents."""
    epochs: float = 5.0
    learning_rate: float = 5e-3
    batch_size: int = 32
    seed: int = 0
    """Of training data and training; the evaluation documents stay the same."""

    def identity(self) -> dict[str, object]:
        """What decides the result."""
        return {name: value for name, value in asdict(self).items() if name not in ("output", "board")}

    def plan(self, name: str, kd_ratio: float) -> TrainPlan:
        """The training run of one student."""
        from harness.newsworld.models import path

        return TrainPlan(
            student=str(path("student")),
            teacher=str(path(self.teacher)) if kd_ratio else None,
            data=f"newsworld?n={self.rows}&noise={self.noise}&seed={self.seed}",
            output=str(self.output / "models" / name),
            soft_labels=str(self.output / "soft-labels") if kd_ratio else None,
            kd_ratio=kd_ratio,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            warmup_steps=20,
            seed=self.seed,
        )


def run(settings: Quickstart, say: Callable[[str], None] = print) -> Path:
    """Do what is not done yet, and return the board.

    Raises:
        HarnessError: If the folder holds a quickstart with other settings.
    """
    import torch

    from harness.newsworld.models import path
    from harness_kd.training.train import train

    claim(settings.output, settings.identity())
    # models this small gain nothing from more threads, lose much on a busy machine, and so give the same weights on any
    torch.set_num_threads(1)
    started = time.monotonic()
    say(f"Student and teacher: the shipped news-world models. Everything goes to {settings.output}/\n")
    plans = {
        "student-sft": settings.plan("student-sft", 0.0),
        "student-kd": settings.plan("student-kd", settings.kd_ratio),
    }
    for number, (name, plan) in enumerate(plans.items(), start=1):
        labels = ", from the teacher's soft labels" if plan.kd_ratio else ", plain finetuning"
        say(f"[{number}/7] train {name}: {settings.rows} rows, {settings.epochs:g} epochs{labels}")
        train(plan)
    models = {
        f"student, KD ratio {settings.kd_ratio:g}": settings.output / "models" / "student-kd",
        "student, SFT": settings.output / "models" / "student-sft",
        "teacher": path(settings.teacher),
        "student, untuned": path("student"),
        "references": Path("gold"),
    }
    results = {}
    for number, (label, folder) in enumerate(models.items(), start=3):
        say(f"[{number}/7] evaluate {label} on {settings.documents} articles with lm-eval")
        results[label] = _evaluate(folder, settings)
    board = publish_comparison(
        _spec_path(settings),
        results,
        title="News world: a student finetuned with and without distillation",
        columns=COLUMNS,
        notes=_notes(settings),
    )
    say(f"\nDone in {time.monotonic() - started:.0f} s.\n")
    say(shown(board))
    return board


def describe(settings: Quickstart) -> str:
    """The plan, for ``--dry-run``."""
    from harness_kd.dry_run.describe import describe as describe_training
    from harness_kd.training.train import prepare

    parts = [
        f"train {name}\n{describe_training(prepare(settings.plan(name, ratio)))}"
        for name, ratio in (("student-sft", 0.0), ("student-kd", settings.kd_ratio))
    ]
    parts.append(f"evaluate 4 models and the references on {settings.documents} articles: {TASK}")
    parts.append(f"write {_spec_path(settings).with_suffix('.md')}")
    return "\n\n".join(parts)


def _evaluate(model: Path, settings: Quickstart) -> Path:
    """Evaluate a model unless that is done, and return its results folder."""
    results = settings.output / "results" / model.name
    if not results.exists():
        from harness.lmeval.request import EvalRequest
        from harness.lmeval.run import evaluate

        with replace_dir(results) as folder:
            evaluate(
                EvalRequest(
                    model="harness-gold" if model == Path("gold") else "hf",
                    model_args={"pretrained": str(model)},
                    tasks=(TASK,),
                    output_path=folder,
                    batch_size=128,
                    metadata={"n_documents": settings.documents},
                )
            )
    return next(path for path in results.iterdir() if path.is_dir())


def _spec_path(settings: Quickstart) -> Path:
    return settings.board or settings.output / "leaderboard.json"


def _notes(settings: Quickstart) -> list[str]:
    teacher = "on references as noisy as these" if settings.teacher == "teacher" else "on clean references"
    return [
        "The news world is made-up miniature data: articles by rule, models of 0.2 and 2 million parameters. "
        "Its oracle knows the truth; its scores say nothing about real news or real models.",
        f"Condition: {settings.rows} training rows, of whose references {settings.noise:.0%} state something that their "
        f"article does not; the teacher was finetuned {teacher}; {settings.epochs:g} epochs; one seed ({settings.seed}).",
        "Where distillation gains nothing: with clean references its advantage disappears. "
        "benchmarks/kd_vs_sft.py runs both conditions over several seeds; docs/log.md holds the table.",
        "The oracle is the truth here. The judge is a small stand-in that was trained on it (docs/judges.md); the factual rate's "
        "classifier reads few heads and is weak in this world (docs/lookback.md).",
        "A gain in ROUGE-L or chrF is no evidence of faithfulness; compare it with the oracle's column.",
    ]
