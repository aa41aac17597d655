"""What ``train-kd --then-eval`` evaluates on and in which words, and the evaluation of one of its models.

A student is asked as it was trained: in its chat template where the rows are chats, in the template of instruction data where they
are that, else in the tasks' own prompts. The untuned model, the twin and the teacher are asked in the same words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.files import canonical_json, replace_dir, sha256_bytes, sha256_file
from harness.metrics.base import is_true
from harness.metrics.lookback import SHIPPED
from harness.models.chat import DATE
from harness.models.identity import model_identity
from harness_kd.data.named import is_named
from harness_kd.data.rows import wording_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from harness.lmeval.preview import Asked
    from harness.lmeval.request import EvalRequest

ROLES = ("student", "teacher")
OWN_TASK = "kd_custom_factual"
_SHORT = 5
"""Words that a summary has more of (`harness.metrics.answers`)."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What the models of a study are evaluated on."""

    tasks: tuple[str, ...]
    """Tasks of lm-eval; one board shows them all."""
    board: Path | None = None
    """Board specification to add the rows to; None: ``OUTPUT-eval/leaderboard.json``."""
    limit: int | None = None
    """Only the first documents of each task."""
    batch_size: int = 16
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Overrides of the tasks' metadata, such as ``data_dir``."""
    chat: bool = False
    """Prompts go through the chat template, as the training rows did."""
    classifiers: Mapping[str, str] = field(default_factory=dict)
    """Role -> lookback classifier for models of that role: a file, or ``shipped``. A model that it does not fit gets a dash."""
    notes: tuple[str, ...] = ()
    """What was chosen for the user, a sentence each."""

    def metadata_of(self, role: str) -> dict[str, Any]:
        """The tasks' metadata for models of a role."""
        if role not in self.classifiers:
            return dict(self.metadata)
        return {**self.metadata, "lookback_classifier": self.classifiers[role], "lookback_optional": True}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model that is evaluated."""

    role: str
    """One of `ROLES`; untuned student, twin and students are all ``student``."""
    arguments: Mapping[str, str]
    """lm-eval's: ``pretrained``, and where need be ``peft`` or ``tokenizer``; each a folder."""

    @classmethod
    def trained(cls, folder: Path, student: Path) -> Subject:
        """A finished run: a model, or an adapter on the student."""
        if (folder / "adapter_config.json").is_file():
            return cls(role="student", arguments={"pretrained": str(student), "peft": str(folder)})
        return cls(role="student", arguments={"pretrained": str(folder)})


def default_tasks(data: str) -> tuple[str, ...]:
    """The tasks that fit training data: the news world's and E2E's own, else the paper's two."""
    own = {"newsworld": ("kd_newsworld_factual",), "e2e": ("kd_e2e_factual",)}
    return own.get(data.partition("?")[0], ("kd_cnndm_factual", "kd_xsum_factual"))


def plan_evaluation(
    data: str,
    *,
    tasks: Sequence[str] = (),
    eval_data: Path | None = None,
    metadata: Mapping[str, Any] | None = None,
    board: Path | None = None,
    limit: int | None = None,
    batch_size: int = 16,
) -> Evaluation:
    """The evaluation that fits training data, as far as the user does not say otherwise.

    Args:
        data: Training data, as ``--data`` names it.
        tasks: Of lm-eval; empty: `OWN_TASK` on ``eval_data``, or else `default_tasks`.
        eval_data: The user's own rows: source and reference, or rows in a layout of the training data.
        metadata: Overrides of the tasks' metadata; ``lookback_classifier`` may map roles, as in ``student=FILE+teacher=FILE``.
        board: See `Evaluation`, as the rest.

    Raises:
        HarnessError: For a missing file, a classifier that is none, or numbers that leave nothing to evaluate.
    """
    problems = [f"--eval-limit {limit} leaves no document"] if limit is not None and limit < 1 else []
    problems += [f"--eval-batch-size {batch_size} is no number of prompts"] if batch_size < 1 else []
    HarnessError.raise_for(problems, "Give at least 1.")
    given = dict(metadata or {})
    unproven = is_true(given.get("lookback_unproven"))
    classifiers = _classifiers(given.pop("lookback_classifier", None), unproven=unproven)
    wording, notes = wording_of(data), []
    chosen = tuple(tasks) or ((OWN_TASK,) if eval_data else default_tasks(data))
    if not tasks and eval_data is None and not is_named(data):
        notes.append(
            f"evaluated on the default tasks {' and '.join(chosen)}, not on data like {data}: "
            "--eval-data FILE evaluates on your own"
        )
    options, note = _asked(wording, chosen, eval_data, given)
    return Evaluation(
        tasks=chosen,
        board=board,
        limit=limit,
        batch_size=batch_size,
        metadata=options,
        chat=wording == "chat",
        classifiers=classifiers,
        notes=(*notes, note) if note else tuple(notes),
    )


def _asked(
    wording: str | None, tasks: Sequence[str], eval_data: Path | None, given: Mapping[str, Any]
) -> tuple[dict[str, Any], str]:
    """The tasks' metadata with what says how to ask, unless the user says it; and a note on it, which may be empty.

    Raises:
        HarnessError: If the evaluation's rows cannot be asked in the words of the training rows.
    """
    own: dict[str, Any] = {} if eval_data is None else {**_of_rows(eval_data), "data_dir": str(eval_data)}
    if "prompt" in given:
        own.pop("template", None)
    if wording == "chat" and {**own, **given}.get("template") == "dolly":
        raise HarnessError(
            f"{eval_data or 'template=dolly'}: instructions to be asked in a template, and training rows that are chats",
            "Give evaluation rows with messages, with prompt and response, or with source and reference.",
        )
    if wording == "chat":
        note = "asked in the chat template, as the training rows are chats"
    elif {*own, *given} & {"template", "prompt"}:
        note = ""
    elif wording == "dolly":
        own["template"] = "dolly"
        note = "asked in the template of the training rows (--eval-metadata template=task: in the tasks' own prompts)"
    elif wording is None:
        note = f"asked in the prompts of {', '.join(tasks)}: the training rows ask in several ways"
    elif eval_data is not None:
        note = (
            f"asked in the prompt of {', '.join(tasks)}; rows with prompt and response are asked in their own"
        )
    else:
        note = ""
    return {**own, **given}, note


def _of_rows(path: Path) -> dict[str, Any]:
    """What the layout of a file's rows says of how to ask; nothing for rows of source and reference, and for folders.

    Where a right answer has five words or fewer, short responses are answers.
    """
    from harness.data.sources import read_local

    if not path.exists():
        raise HarnessError(f"--eval-data {path}: no such file", "Give a file that exists.")
    if path.is_dir():
        return {}
    rows, name, _ = read_local(path, split="test", missing=lambda _: [])
    if not rows:
        raise HarnessError(f"--eval-data {name}: holds no rows", "Give a file with at least one row.")
    first = rows[0]
    if "prompt" in first or "messages" in first:
        found: dict[str, Any] = {"template": "prompt"}
    elif "instruction" in first:
        found = {"template": "dolly", "instruction": "{{instruction}}"}
    else:
        return {}
    responses = [row.get("response", row.get("output", "")) for row in rows]
    responses += [turn["content"] for row in rows for turn in (row.get("messages") or [])[-1:]]
    short = any(0 < len(str(response).split()) <= _SHORT for response in responses)
    return {**found, "answer_min_words": 0} if short else found


_ROLE = re.compile(rf"(?:^|\+)(?={'|'.join(f'{role}=' for role in ROLES)})")


def _classifiers(value: Any, *, unproven: bool) -> dict[str, str]:
    """Lookback classifiers by role, from one for all, from ``student=FILE+teacher=FILE``, or from a mapping.

    Raises:
        HarnessError: If a role is unknown, or a file holds no classifier, or one that learned nothing and is not insisted on.
    """
    from harness.lookback.classifier import load

    if value is None:
        return {}
    if isinstance(value, Mapping):
        found = {str(role): str(name) for role, name in value.items()}
    elif _ROLE.match(str(value)):
        parts = [part.partition("=") for part in _ROLE.split(str(value)) if part]
        found = {role: name for role, _, name in parts}
    else:
        found = dict.fromkeys(ROLES, str(value))
    HarnessError.raise_for(
        [f"lookback_classifier: there is no {role!r}" for role in found if role not in ROLES],
        f"Name {' and '.join(ROLES)}, as in lookback_classifier=student=FILE+teacher=FILE.",
    )
    for name in set(found.values()) - {SHIPPED}:
        load(Path(name).expanduser(), unproven=unproven)
    return found


def request_of(evaluation: Evaluation, subject: Subject, output: str) -> EvalRequest:
    """The call of lm-eval for one model; its results go to a folder of their own below ``OUTPUT-eval/results``."""
    from harness.lmeval.request import EvalRequest

    metadata = evaluation.metadata_of(subject.role)
    made_by = [
        [model_identity(folder) for folder in subject.arguments.values()],
        evaluation.tasks,
        evaluation.limit,
        {name: _content(value) for name, value in metadata.items()},
        evaluation.chat,
    ]
    key = sha256_bytes(canonical_json(made_by).encode())[:12]
    name = Path(subject.arguments.get("peft", subject.arguments["pretrained"])).resolve().name
    dated = {"chat_template_args": {"date_string": DATE}} if evaluation.chat else {}
    return EvalRequest(
        model_args={**subject.arguments, **dated},
        tasks=evaluation.tasks,
        output_path=Path(f"{output}-eval") / "results" / f"{name}-{key}",
        batch_size=evaluation.batch_size,
        limit=evaluation.limit,
        apply_chat_template=evaluation.chat,
        metadata=metadata,
        response_cache=Path(f"{output}-eval") / ".responses",
    )


def _content(value: Any) -> Any:
    """A setting; of a file what it holds, so that another content under the same name is another evaluation."""
    path = Path(value).expanduser() if isinstance(value, str) else None
    return sha256_file(path) if path is not None and path.is_file() else value


def evaluate_model(request: EvalRequest) -> Path:
    """Evaluate a model unless its results are there, and return the folder with them."""
    results = request.output_path
    if not results.exists():
        from harness.lmeval.run import evaluate

        with _as_eval_options(), replace_dir(results) as folder:
            evaluate(replace(request, output_path=folder))
    return next(path for path in results.iterdir() if path.is_dir())


@contextmanager
def _as_eval_options() -> Iterator[None]:
    """Errors of lm-eval's side name its option ``--metadata``; here it is ``--eval-metadata``."""
    try:
        yield
    except HarnessError as error:
        remedy = error.remedy.replace("--metadata", "--eval-metadata")
        raise HarnessError(error.problem, remedy) from error


def planned_questions(evaluation: Evaluation, tokenizer: PreTrainedTokenizerBase) -> dict[str, Asked]:
    """What each task asks, read as for an evaluation, without a model.

    Raises:
        HarnessError: If data, a metric or an option is missing or wrong.
    """
    from harness.lmeval.preview import preview
    from harness.lmeval.request import EvalRequest

    request = EvalRequest(
        model_args={},
        tasks=evaluation.tasks,
        output_path=Path(),
        limit=evaluation.limit,
        apply_chat_template=evaluation.chat,
        metadata=evaluation.metadata_of("student"),
    )
    with _as_eval_options():
        return preview(request, tokenizer)
