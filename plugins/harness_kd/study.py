"""``train-kd --then-eval``: train the finetuned twin and a student for each ratio, evaluate all, and add them to a board.

Everything stands beside the output: ``OUTPUT-sft`` is the twin; ``OUTPUT`` the distilled student, or ``OUTPUT-kd0.1``,
``OUTPUT-kd1``, ... for several ratios; ``OUTPUT-eval`` holds results, records and the board. Finished parts are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.files import canonical_json, replace_dir, sha256_bytes
from harness.models.source import ModelSource
from harness_kd.plan import TrainPlan

if TYPE_CHECKING:
    from harness.board import BoardSpec

SELF = "self"
"""As a teacher: the student's own finetuned twin (self-distillation)."""
_COLUMNS = 6
"""Scores of a task that the board shows, at most."""
_LIMITS = (
    "Distillation is meant for faithfulness errors. It adds no knowledge, and it needs a reliable teacher: one that "
    "hallucinates passes its errors on.",
    "A gain in ROUGE-L or another overlap score is no evidence of faithfulness; read it beside a consistency score.",
)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What ``--then-eval`` evaluates on."""

    tasks: tuple[str, ...]
    """Tasks of lm-eval; one board shows them all."""
    board: Path | None = None
    """Board specification to add the rows to; None: ``OUTPUT-eval/leaderboard.json``."""
    limit: int | None = None
    """Only the first documents of each task."""
    batch_size: int = 16
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Overrides of the tasks' metadata, such as ``data_dir``."""


def default_tasks(data: str) -> tuple[str, ...]:
    """The tasks that fit training data: the news world's own, else the paper's two."""
    return (
        ("kd_newsworld_factual",) if data.startswith("newsworld") else ("kd_cnndm_factual", "kd_xsum_factual")
    )


def sft_twin(plan: TrainPlan) -> TrainPlan:
    """The same run on hard labels alone."""
    return replace(
        plan, kd_ratio=0.0, teacher=None, soft_labels=None, online_teacher=False, output=f"{plan.output}-sft"
    )


def students(plan: TrainPlan, ratios: Sequence[float]) -> dict[str, TrainPlan]:
    """Runs by label, one for each ratio; a teacher `SELF` becomes the twin."""
    teacher = sft_twin(plan).output if plan.teacher == SELF else plan.teacher
    name = Path(plan.output).name
    return {
        f"{name}, KD ratio {ratio:g}": replace(
            plan,
            kd_ratio=ratio,
            teacher=teacher if ratio else None,
            output=plan.output if len(ratios) == 1 else f"{plan.output}-kd{ratio:g}",
        )
        for ratio in ratios
    }


def train_all(
    plan: TrainPlan, ratios: Sequence[float], say: Callable[[str], None] = print
) -> dict[str, Path]:
    """Train the student for each ratio, after the twin where it is the teacher; return the folders by label."""
    from harness_kd.train import train

    if plan.teacher == SELF:
        say("train the finetuned twin, which teaches")
        train(sft_twin(plan))
    folders = {}
    for label, run in students(plan, ratios).items():
        say(f"train {label}")
        folders[label] = train(run)
    return folders


def then_eval(
    plan: TrainPlan, ratios: Sequence[float], evaluation: Evaluation, say: Callable[[str], None] = print
) -> Path:
    """Check the teacher, train the twin and each student, evaluate all, and add them to one board.

    Returns:
        The board's markdown; its page stands beside it.

    Raises:
        HarnessError: For bad input; what is finished stays and is not done again.
    """
    from harness_kd.train import prepare, train

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise HarnessError(
            "--then-eval runs in one process", "Train with torchrun, then use harness eval on each folder."
        )
    name, twin = Path(plan.output).name, sft_twin(plan)
    prepare(students(plan, ratios)[f"{name}, KD ratio {ratios[0]:g}"] if plan.teacher != SELF else twin)
    models = {"student, untuned": ModelSource.find(plan.student, role="student").folder}
    if plan.teacher not in (None, SELF):
        models["teacher"] = ModelSource.find(plan.teacher, role="teacher").folder
    results = {label: _evaluate(folder, label, plan, evaluation, say) for label, folder in models.items()}
    if "teacher" in results:
        _check_teacher(results, say)
    say("train the finetuned twin")
    trained = {f"{name}, SFT": train(twin), **train_all(plan, ratios, say)}
    results |= {label: _evaluate(folder, label, plan, evaluation, say) for label, folder in trained.items()}
    pairs = [[f"{name}, SFT", label] for label in students(plan, ratios)]
    return _publish(results, pairs, plan, evaluation)


def _evaluate(
    model: Path, label: str, plan: TrainPlan, evaluation: Evaluation, say: Callable[[str], None]
) -> Path:
    """Results folder of a model; its name holds what decides the results, so a finished one is used again."""
    from harness.models.identity import model_identity

    made_by = [
        model_identity(str(model), None),
        evaluation.tasks,
        evaluation.limit,
        dict(evaluation.metadata),
    ]
    key = sha256_bytes(canonical_json(made_by).encode())[:12]
    results = Path(f"{plan.output}-eval") / "results" / f"{model.resolve().name}-{key}"
    if not results.exists():
        say(f"evaluate {label} with lm-eval on {', '.join(evaluation.tasks)}")
        from harness.lmeval.run import EvalRequest, evaluate

        request = EvalRequest(
            model_args={"pretrained": str(model)},
            tasks=evaluation.tasks,
            output_path=results,
            batch_size=evaluation.batch_size,
            limit=evaluation.limit,
            metadata=evaluation.metadata,
            response_cache=Path(f"{plan.output}-eval") / ".responses",
        )
        try:
            with replace_dir(results) as folder:
                evaluate(replace(request, output_path=folder))
        except HarnessError as error:  # it names the option of lm-eval
            raise HarnessError(
                error.problem, error.remedy.replace("--metadata", "--eval-metadata")
            ) from error
    return next(path for path in results.iterdir() if path.is_dir())


def _check_teacher(results: Mapping[str, Path], say: Callable[[str], None]) -> None:
    """Say how the teacher does before anyone learns from it, and warn where it is no better than its student."""
    from harness.records import from_lm_eval

    untuned = {record.task: record for record in from_lm_eval(results["student, untuned"])}
    for record in from_lm_eval(results["teacher"]):
        key = columns_of([record.scores])[0]
        found, other = record.summary(key), untuned[record.task].summary(key)
        if found is None:
            say(f"warning: the teacher answers nothing in {record.task}")
            continue
        beside = "none" if other is None else f"{other.value:.3f}"
        say(f"teacher on {record.task}: {key} {found.value:.3f} (the untuned student: {beside})")
        if other is not None and found.value <= other.value:
            say(
                f"warning: on {record.task} the teacher is no better than its student; its errors would be passed on"
            )


def columns_of(scores: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """Scores to show, those that speak of faithfulness first: what every record of a task has with a better direction."""
    from harness.records.described import in_order

    shared = [
        key
        for key, summary in scores[0].items()
        if summary["higher_is_better"] and all(key in other for other in scores)
    ]
    return in_order(key for key in shared if key != "answer_rate")[:_COLUMNS] or shared


def _publish(
    results: Mapping[str, Path], pairs: Sequence[list[str]], plan: TrainPlan, evaluation: Evaluation
) -> Path:
    from harness.board import publish
    from harness.records import import_results
    from harness.records.reading import load_header

    path = evaluation.board or Path(f"{plan.output}-eval") / "leaderboard.json"
    files = {
        label: import_results(run, path.parent / "records", model=label) for label, run in results.items()
    }
    headers = {file: load_header(file) for found in files.values() for file in found}
    tasks = list(dict.fromkeys(header.task for header in headers.values()))
    rows = [
        {"label": label, "record": file.relative_to(path.parent).as_posix()}
        for label, found in files.items()
        for file in found
    ]
    columns = [
        key if len(tasks) == 1 else f"{task}/{key}"
        for task in tasks
        for key in columns_of([header.scores for header in headers.values() if header.task == task])
    ]
    return publish(path, new=_added_to(path, ", ".join(tasks), rows, columns, pairs))


def _added_to(
    path: Path, tasks: str, rows: list[dict[str, str]], columns: list[str], pairs: Sequence[list[str]]
) -> BoardSpec:
    """The board that is there with our rows added or renewed, or a new one."""
    from harness.board import BoardSpec
    from harness.board.spec import read_spec

    if not path.exists():
        title = f"{tasks}: finetuned with and without distillation"
        return BoardSpec(
            title=title, columns=columns, rows=rows, comparisons=list(pairs), notes=list(_LIMITS)
        )
    spec = read_spec(path)
    ours = {row["label"] for row in rows}
    kept = [row for row in spec.rows if row["label"] not in ours]
    comparisons = [*spec.comparisons, *(pair for pair in pairs if pair not in spec.comparisons)]
    return replace(spec, rows=[*kept, *rows], comparisons=comparisons)
