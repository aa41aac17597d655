"""Which scores a board shows, and whether its rows can stand in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.board.footnotes import reads_itself
from harness.board.spec import BoardSpec
from harness.errors import HarnessError
from harness.metrics.base import Score
from harness.metrics.registry import score_of
from harness.records.compare import differing_conditions
from harness.records.described import describe
from harness.records.evidence import no_evidence, proof_text
from harness.records.record import Scored

ALWAYS = ("answer_rate", "truncated", "looping", "length", "coverage", "density")
"""Shown beside every score: a model can gain by answering less, writing less, or copying more; cut answers and loops
say what went wrong."""
Models = Mapping[str, Mapping[str, Scored]]
"""Label -> task -> record."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One score of one task."""

    task: str
    key: str
    name: str
    """As printed: the key, on a board of several tasks ``task/key``."""
    score: Score
    """Its unit, direction, kind and range."""
    signature: str | None
    """None where no row has the score."""
    evidence: bool
    """False if in every row it is from a model of which nothing shows that it is better than chance."""
    proof: str
    """How well the model behind the first row's score does on held-out documents; empty where the record does not say."""


def choose_columns(spec: BoardSpec, models: Models, tasks: Sequence[str]) -> tuple[Column, ...]:
    """The columns that a specification names.

    Raises:
        HarnessError: If one is of no row, or of no score that is known.
    """
    found, problems = [], []
    for name in spec.columns if models else []:
        task, _, key = name.rpartition("/")
        owners = [task] if task else [t for t in tasks if _owners(models, t, key)] or list(tasks[:1])
        if task and task not in tasks:
            problems.append(f"the column {name} is of a task that no row has")
        elif not any(_owners(models, owner, key) for owner in owners) and score_of(key) is None:
            problems.append(f"no row has the score {name}")
        else:
            found += [_column(models, owner, key, several=len(tasks) > 1) for owner in owners]
    HarnessError.raise_for(problems, f"Choose from: {', '.join(_all_keys(models))}.")
    return tuple(found)


def _owners(models: Models, task: str, key: str) -> list[Scored]:
    return [records[task] for records in models.values() if task in records and key in records[task].scores]


def _all_keys(models: Models) -> list[str]:
    return sorted(
        {key for records in models.values() for record in records.values() for key in record.scores}
    )


def _column(models: Models, task: str, key: str, *, several: bool) -> Column:
    owners = _owners(models, task, key)
    anyone = next(records[task] for records in models.values() if task in records)
    summary = owners[0].summary(key) if owners else None
    return Column(
        task=task,
        key=key,
        name=f"{task}/{key}" if several else key,
        score=describe(owners[0], key) if owners else score_of(key) or describe(anyone, key),
        signature=summary.signature if summary else None,
        evidence=not owners or any(no_evidence(owner, key) is None for owner in owners),
        proof=proof_text(owners[0], key) if owners else "",
    )


def beside_columns(models: Models, tasks: Sequence[str]) -> tuple[Column, ...]:
    """`ALWAYS`, of each task in which some row has them."""
    return tuple(
        _column(models, task, key, several=len(tasks) > 1)
        for task in tasks
        for key in ALWAYS
        if _owners(models, task, key)
    )


def require_one_table(models: Models, columns: Sequence[Column]) -> None:
    """Prompts and decoding may differ between rows, and get a footnote; data and metrics may not.

    A score read from a model's own attention may be another classifier's in another row: it gets a footnote, and no ranks.
    """
    problems = []
    for task in dict.fromkeys(column.task for column in columns):
        rows = [(label, records[task]) for label, records in models.items() if task in records]
        (first_label, first), *others = rows
        for label, other in others:
            if first.task_version != other.task_version:
                problems.append(
                    f"{label}: {task} {other.task_version}, where {first_label} has {first.task_version}"
                )
            problems += [
                f"{label} and {first_label}: {difference}"
                for difference in differing_conditions(first, other)
                if difference.startswith("documents")
            ]
        for column in columns:
            if column.task == task:
                problems += _two_ways(rows, column, ranks=column is columns[0])
    HarnessError.raise_for(problems, "Rows of one board need the same documents and the same ways to score.")


def _two_ways(rows: Sequence[tuple[str, Scored]], column: Column, *, ranks: bool) -> list[str]:
    scored = [(label, score) for label, record in rows if (score := record.summary(column.key))]
    return [
        f"{label} and {scored[0][0]}: {column.name} is computed in two ways: {score.signature} and {scored[0][1].signature}"
        for label, score in scored[1:]
        if score.signature != scored[0][1].signature
        and (ranks or not (reads_itself(score.signature) and reads_itself(scored[0][1].signature)))
    ]
