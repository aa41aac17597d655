"""``train-kd --dry-run``: what is trained and evaluated, in which order, and what each stage takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.models.source import ModelSource
from harness_kd.dry_run.describe import facts, free_disk, run_stages
from harness_kd.dry_run.stages import Stage, evaluation_stage
from harness_kd.dry_run.text import table
from harness_kd.plan import TrainPlan
from harness_kd.studies.evaluation import Evaluation, planned_questions
from harness_kd.studies.then_eval import SELF, TEACHER, UNTUNED, as_if_taught, board_of, runs

if TYPE_CHECKING:
    from harness_kd.training.train import Prepared


def describe_study(plan: TrainPlan, ratios: Sequence[float], evaluation: Evaluation | None = None) -> str:
    """All of it as text: each run, what is evaluated on how many documents, and a table of all stages; everything is checked.

    Raises:
        HarnessError: For bad input of any part, the evaluation's data among them.
    """
    from harness_kd.training.train import prepare

    planned = runs(plan, ratios, compared=evaluation is not None)
    evaluated, said = (_nothing, "") if evaluation is None else _evaluations(plan, evaluation, [*planned])
    prepared = {label: prepare(as_if_taught(run, plan)) for label, run in planned.items()}
    parts = [
        facts(one) if len(planned) == 1 else f"{label}: {planned[label].output}\n{facts(one)}"
        for label, one in prepared.items()
    ]
    before = [UNTUNED, *([TEACHER] if plan.teacher not in (None, SELF) else [])]
    training = _training(list(prepared.values()), by_twin=plan.teacher == SELF)
    stages = [*evaluated(before), *training, *evaluated(list(planned))]
    parts += [said] if said else []
    return "\n\n".join([*parts, table(stages, free_disk(plan.output))])


def _training(prepared: Sequence[Prepared], *, by_twin: bool) -> list[Stage]:
    """The stages of all runs; labels that several train from are captured once, by a twin that may be planned as its student."""
    stages: list[Stage] = []
    captured = set()
    for one in prepared:
        *capture, training = run_stages(one)
        if by_twin:
            capture = [replace(stage, name="capture of soft labels by the twin") for stage in capture]
        stages += capture if one.labels_folder not in captured else []
        captured.add(one.labels_folder)
        stages.append(training)
    return stages


def _nothing(_: Sequence[str]) -> list[Stage]:
    """The evaluations where there are none."""
    return []


def _evaluations(
    plan: TrainPlan, evaluation: Evaluation, trained: Sequence[str]
) -> tuple[Callable[[Sequence[str]], list[Stage]], str]:
    """The stages of models' evaluations, by their labels, and what they are on in words."""
    student = ModelSource.find(plan.student, role="student")
    asked = planned_questions(evaluation, student.tokenizer())
    teacher = (
        ModelSource.find(plan.teacher, role="teacher") if plan.teacher and plan.teacher != SELF else None
    )

    def stages(labels: Sequence[str]) -> list[Stage]:
        return [
            evaluation_stage(
                teacher if label == TEACHER and teacher is not None else student,
                list(asked.values()),
                rows=evaluation.batch_size,
                name=f"evaluate {label}",
            )
            for label in labels
        ]

    models = [UNTUNED, *([TEACHER] if teacher is not None else []), *trained]
    tasks = ", ".join(
        f"{task} ({one.documents:,} documents, prompts of about {one.prompt_tokens:,} tokens, up to {one.new_tokens:,} new ones)"
        for task, one in asked.items()
    )
    lines = [f"evaluations    {len(models)} models on {tasks}", f"models         {'; '.join(models)}"]
    lines += [f"note           {note}" for note in evaluation.notes]
    return stages, "\n".join([*lines, f"board          {board_of(plan, evaluation).with_suffix('.md')}"])
