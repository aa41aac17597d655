"""``train-kd`` with several runs, and ``--then-eval``: what is trained, in which order, evaluated, and put on one board.

Everything stands beside the output: ``OUTPUT-sft`` is the twin, the same run on hard labels alone; ``OUTPUT`` the student, or
``OUTPUT-kd0.1``, ``OUTPUT-kd1``, ``OUTPUT-kdinf`` for several ratios; ``OUTPUT-eval`` holds results, records and the board.
Finished parts are skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness.errors import HarnessError
from harness.models.chat import has_chat_template
from harness.models.source import ModelSource
from harness_kd.models import vocabulary_hash
from harness_kd.plan import TrainPlan
from harness_kd.processes import agreed, alone, meet, rank, world_size
from harness_kd.studies.board import comparable, publish_study
from harness_kd.studies.evaluation import Evaluation, Subject, evaluate_model, request_of

SELF = "self"
"""As a teacher: the student's own finetuned twin (self-distillation)."""
NO_TEMPLATE = (
    "the student has a chat template, which neither training nor evaluation uses, since the rows are no chats: all models "
    "are asked as they are trained. Rows with messages are trained and asked in it"
)
UNTUNED, TEACHER = "student, untuned", "teacher"


def sft_twin(plan: TrainPlan) -> TrainPlan:
    """The same run on hard labels alone, as they are."""
    return replace(_without_teacher(plan), label_smoothing=0.0, output=f"{plan.output}-sft")


def _without_teacher(plan: TrainPlan) -> TrainPlan:
    return replace(plan, kd_ratio=0.0, teacher=None, soft_labels=None, online_teacher=False)


def runs(plan: TrainPlan, ratios: Sequence[float], *, compared: bool = False) -> dict[str, TrainPlan]:
    """What is trained, by label, in this order: the twin where there is one, and a student for each ratio.

    There is a twin where it teaches (`SELF`), or where there is a distilled student to be compared with it. A ratio of 0 is then
    the twin, and not trained again, unless its labels are smoothed.

    Args:
        plan: Of one of the students.
        ratios: Of each of them.
        compared: Whether the runs are to be compared with each other.
    """
    found: dict[str, TrainPlan] = {}
    if any(ratios) and (compared or plan.teacher == SELF):
        twin = sft_twin(plan)
        found[label_of(twin, plan.output)] = twin
    for ratio in ratios:
        own = plan.output if len(ratios) == 1 else f"{plan.output}-kd{ratio:g}"
        teacher = sft_twin(plan).output if plan.teacher == SELF else plan.teacher
        run = replace(plan, kd_ratio=ratio, teacher=teacher) if ratio else _without_teacher(plan)
        run = replace(run, output=own)
        if all(run.recipe() != other.recipe() for other in found.values()):
            found[label_of(run, plan.output)] = run
    return found


def label_of(run: TrainPlan, output: str) -> str:
    """A run's name on boards: the study's, the ratio, and what else tells it from plain finetuning."""
    words = [f"KD ratio {run.kd_ratio:g}"] if run.kd_ratio else []
    words += [f"label smoothing {run.label_smoothing:g}"] if run.label_smoothing else []
    return ", ".join([Path(output).name, *(words or ["SFT"])])


def check(plan: TrainPlan, ratios: Sequence[float]) -> None:
    """Refuse a teacher that teaches nothing.

    Raises:
        HarnessError: With what to give.
    """
    if plan.teacher is None or any(ratios):
        return
    if plan.teacher == SELF:
        raise HarnessError(
            "--teacher self teaches nothing at --kd-ratio 0", "Give a ratio, such as --kd-ratio 1."
        )
    raise HarnessError(
        "--teacher without --kd-ratio", "Give a ratio, such as --kd-ratio 1, or leave the teacher out."
    )


def as_if_taught(run: TrainPlan, plan: TrainPlan) -> TrainPlan:
    """A run whose teacher is the twin, which is not there yet: planned with the untuned student in its place, of the same size."""
    if plan.teacher != SELF or not run.kd_ratio or Path(sft_twin(plan).output).is_dir():
        return run
    labels = Path(run.output).resolve().parent / "soft-labels" / "of-the-twin"
    return replace(run, teacher=plan.student, soft_labels=None if run.online_teacher else str(labels))


def board_of(plan: TrainPlan, evaluation: Evaluation) -> Path:
    """Specification of the board that the rows go to."""
    return evaluation.board or Path(f"{plan.output}-eval") / "leaderboard.json"


def train_all(
    plan: TrainPlan, ratios: Sequence[float], say: Callable[[str], None] = print, *, compared: bool = False
) -> dict[str, Path]:
    """Train what `runs` says; return the folders by label."""
    from harness_kd.training.summary import summary
    from harness_kd.training.train import train

    folders = {}
    for label, run in runs(plan, ratios, compared=compared).items():
        say(f"train {label}")
        folders[label] = train(run)
        if rank() == 0:
            say(summary(folders[label]))
    return folders


def then_eval(
    plan: TrainPlan, ratios: Sequence[float], evaluation: Evaluation, say: Callable[[str], None] = print
) -> Path:
    """Check the teacher, train, evaluate all, and add them to one board.

    Without a teacher one student is trained, and stands beside the untuned model; with one, each student stands beside the twin.

    Returns:
        The board's markdown; its page stands beside it.

    Raises:
        HarnessError: For bad input; what is finished stays and is not done again.
    """
    from harness_kd.training.train import prepare

    meet(plan.peer_timeout)
    say = say if rank() == 0 else _silent
    for note in evaluation.notes:
        say(note)
    *_, last = runs(plan, ratios, compared=True).values()  # the others need nothing that it does not
    prepare(as_if_taught(last, plan))
    student = ModelSource.find(plan.student, role="student")
    if not evaluation.chat and has_chat_template(student.folder):
        say(NO_TEMPLATE)
    subjects = {UNTUNED: Subject(role="student", arguments={"pretrained": str(student.folder)})}
    subjects |= teacher_subject(plan, student, evaluation, say)
    results = {label: _results(label, one, plan, evaluation, say) for label, one in subjects.items()}
    if TEACHER in results:
        agreed(lambda: _check_teacher(results, say))
    trained = {
        label: Subject.trained(folder, student.folder)
        for label, folder in train_all(plan, ratios, say, compared=True).items()
    }
    results |= {label: _results(label, one, plan, evaluation, say) for label, one in trained.items()}
    first, *others = trained
    pairs = [[first, label] for label in others] or [[UNTUNED, first]]
    return Path(agreed(lambda: str(publish_study(board_of(plan, evaluation), results, pairs))))


def _silent(_: str) -> None:
    """What processes but the first say."""


def _results(
    label: str, subject: Subject, plan: TrainPlan, evaluation: Evaluation, say: Callable[[str], None]
) -> Path:
    """The results of a model. Of several processes the first evaluates, in a process of its own: lm-eval would share the work."""

    def evaluated() -> str:
        request = request_of(evaluation, subject, plan.output)
        if not request.output_path.exists():
            say(f"evaluate {label} with lm-eval on {', '.join(evaluation.tasks)}")
            return str(evaluate_model(request) if world_size() == 1 else alone(evaluate_model, request))
        return str(evaluate_model(request))

    return Path(agreed(evaluated))


def teacher_subject(
    plan: TrainPlan, student: ModelSource, evaluation: Evaluation, say: Callable[[str], None]
) -> dict[str, Subject]:
    """The teacher, where it is a model of its own; of chats it is asked in the student's template, in which it teaches."""
    if plan.teacher in (None, SELF):
        return {}
    teacher = ModelSource.find(str(plan.teacher), role="teacher")
    arguments = {"pretrained": str(teacher.folder)}
    if evaluation.chat:
        ours, theirs = student.tokenizer(), teacher.tokenizer()
        if vocabulary_hash(ours) == vocabulary_hash(theirs):
            if ours.chat_template != theirs.chat_template:
                arguments["tokenizer"] = str(student.folder)
        elif not theirs.chat_template:
            say(
                f"the teacher {teacher.name} is not evaluated: it has no chat template, and the rows are chats"
            )
            return {}
    return {TEACHER: Subject(role="teacher", arguments=arguments)}


def _check_teacher(results: Mapping[str, Path], say: Callable[[str], None]) -> None:
    """Say how the teacher does before anyone learns from it, and warn where it is no better than its student."""
    from harness.records import from_lm_eval

    untuned = {record.task: record for record in from_lm_eval(results[UNTUNED])}
    for record in from_lm_eval(results[TEACHER]):
        other = untuned[record.task]
        keys = comparable([record.scores, other.scores]) or comparable([record.scores])
        found = record.summary(keys[0]) if keys else None
        if found is None:
            say(f"warning: the teacher answers nothing in {record.task}")
            continue
        beside = other.summary(keys[0])
        shown = "none" if beside is None else f"{beside.value:.3f}"
        say(f"teacher on {record.task}: {keys[0]} {found.value:.3f} (the untuned student: {shown})")
        if beside is not None and found.value <= beside.value:
            say(
                f"warning: on {record.task} the teacher is no better than its student; its errors would be passed on"
            )
