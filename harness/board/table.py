"""A board before it is rendered: columns, rows, ranks, comparisons and footnotes, the same for markdown, CSV, JSON and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from harness.board.cited import CitedTable, read_cited
from harness.board.columns import ALWAYS, Column, Models, beside_columns, choose_columns, require_one_table
from harness.board.footnotes import (
    Footnotes,
    deviations,
    is_gold,
    own_readers,
    signature_parts,
    without_evidence,
)
from harness.board.load import load_rows
from harness.board.ranks import ranked
from harness.board.spec import BoardSpec, read_spec
from harness.errors import HarnessError
from harness.metrics.suite import ScoreSummary
from harness.records.compare import STYLE, Comparison, compare
from harness.records.record import Scored

_KEPT = frozenset({*ALWAYS, *STYLE})


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a row stands on in one task."""

    record: Scored
    path: str
    """Of the record, relative to the specification."""
    failed: int
    """Samples without the task's first column."""

    @property
    def digest(self) -> str:
        """Beginning of the SHA-256 in the record's name."""
        return self.path.rpartition("-")[2].removesuffix(".jsonl")[:12]

    @property
    def origin(self) -> dict[str, str]:
        """Where it comes from, in the words of a table."""
        origin = self.record.provenance
        software, model = origin["software"], origin["model"]
        data = str(origin.get("data_sha256") or "")[:12]
        return {
            "data": f"{origin['data_source']}{f' ({data})' if data else ''}",
            "weights": str(model.get("weights_sha256") or model.get("revision") or "")[:12],
            "commit": str(software.get("commit") or software.get("harness") or ""),
            "lm_eval": str(software.get("lm_eval") or ""),
            "date": datetime.fromtimestamp(origin["date"], UTC).strftime("%Y-%m-%d"),
        }


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model on a board."""

    label: str
    kind: Literal["measured", "gold", "elsewhere"]
    """``gold``: the references themselves, never ranked. ``elsewhere``: scores that others published."""
    rank: int | None
    """1 + the number of rows shown to be better; None where the row is not ranked."""
    entries: Mapping[str, Entry]
    """By task."""
    scores: Mapping[str, ScoreSummary | None]
    """By the name of the column, of `Board.columns` and `Board.beside`; None where the row has none."""
    footnotes: tuple[int, ...]
    """Numbers of its footnotes, from 1."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A comparison and what it compares."""

    baseline: str
    candidate: str
    comparison: Comparison


@dataclass(frozen=True, kw_only=True)
class Board:
    """Everything that a published board states."""

    spec: BoardSpec
    folder: Path
    """Of the specification; records' paths are relative to it."""
    tasks: tuple[str, ...]
    columns: tuple[Column, ...]
    """The first one ranks."""
    beside: tuple[Column, ...]
    """`ALWAYS`, of each task that has them."""
    rows: tuple[Row, ...]
    """The best first; rows without a rank where their first score puts them."""
    ranks_failures: bool
    """Whether some model failed, so that ranks count failures as failures."""
    comparisons: tuple[Compared, ...]
    footnotes: tuple[str, ...]
    readers: Mapping[str, tuple[str, ...]]
    """Models behind the scores by what they are (judge, lookback classifier, encoder), with their revisions."""
    cited: tuple[CitedTable, ...]

    @property
    def faithfulness(self) -> bool:
        """Whether any score says how true the responses are to their sources, and is evidence."""
        return any(column.evidence for column in self._of_faithfulness)

    @property
    def only_chance(self) -> bool:
        """Whether there are scores of faithfulness, and none of them is evidence."""
        return bool(self._of_faithfulness) and not self.faithfulness

    @property
    def _of_faithfulness(self) -> list[Column]:
        return [column for column in self.columns if column.score.kind == "faithfulness" and column.signature]

    @property
    def by_rule_alone(self) -> bool:
        """Whether no model gave a score, as far as it is known how the scores were made."""
        made_here = all(row.kind != "elsewhere" for row in self.rows)
        return made_here and not self.readers and all(column.score.kind != "other" for column in self.columns)

    def documents(self, task: str) -> int:
        """Number of documents of a task."""
        return next(row.entries[task].record.n for row in self.rows if task in row.entries)

    def version(self, task: str) -> str:
        """Version of a task."""
        return next(row.entries[task].record.task_version for row in self.rows if task in row.entries)


def read_board(path: Path) -> Board:
    """Build a board from its specification.

    Raises:
        HarnessError: If a file is missing, damaged or edited, or the rows cannot stand in one table; it names the difference.
    """
    return build(read_spec(path), path.parent)


def build(spec: BoardSpec, folder: Path, *, workers: int = 1) -> Board:
    """Build a board from a specification whose paths are relative to ``folder``.

    Raises:
        HarnessError: As `read_board`.
    """
    keys = frozenset(name.rpartition("/")[2] for name in spec.columns) | _KEPT
    records = load_rows([folder / row["record"] for row in spec.rows], keys, workers=workers)
    models = _models(spec, records)
    tasks = tuple(dict.fromkeys(record.task for record in records))
    columns = choose_columns(spec, models, tasks)
    beside = beside_columns(models, tasks)
    require_one_table(models, columns)
    ranks, order, failures = _ranks(models, columns)
    rows, footnotes = _rows(spec, models, (*columns, *beside), columns, ranks, order)
    pairs = [(column.task, column.key) for column in columns]
    return Board(
        spec=spec,
        folder=folder,
        tasks=tasks,
        columns=columns,
        beside=beside,
        rows=rows,
        ranks_failures=failures,
        comparisons=tuple(
            Compared(baseline=a, candidate=b, comparison=compare(models[a], models[b], pairs))
            for a, b in spec.comparisons
        ),
        footnotes=footnotes,
        readers=_readers(columns),
        cited=tuple(read_cited(folder / name) for name in spec.cited),
    )


def _models(spec: BoardSpec, records: Sequence[Scored]) -> Models:
    """Records by label and task.

    Raises:
        HarnessError: If a row is labelled as another model, or a run stands in two rows.
    """
    models: dict[str, dict[str, Scored]] = {}
    runs: dict[tuple[str, ...], str] = {}
    problems = []
    for row, record in zip(spec.rows, records, strict=True):
        label = row["label"]
        if label != record.model:
            problems.append(
                f"the row {label!r} has the record of {record.model!r}: a label is the model's name in its record "
                "(import the results with --model to name it)"
            )
        if record.task in models.setdefault(label, {}):
            problems.append(f"{label}: two records of {record.task}")
        run = (record.task, record.responses_sha256, str(record.provenance["model"].get("weights_sha256")))
        if (other := runs.setdefault(run, label)) != label:
            problems.append(f"{label} and {other}: one run in two rows ({record.task})")
        models[label][record.task] = record
    HarnessError.raise_for(problems, "Correct the specification.")
    return models


def _ranks(models: Models, columns: Sequence[Column]) -> tuple[dict[str, int], dict[str, float], bool]:
    """Ranks, what rows are ordered by, and whether somebody failed."""
    if not columns:
        return {}, {}, False
    column = columns[0]
    records = {label: by_task[column.task] for label, by_task in models.items() if column.task in by_task}
    failures = any(not record.answered(column.key).all() for record in records.values())
    ranks, order = ranked(records, column.key, column.score)
    return ranks, order, failures


def _rows(
    spec: BoardSpec,
    models: Models,
    every: Sequence[Column],
    columns: Sequence[Column],
    ranks: Mapping[str, int],
    order: Mapping[str, float],
) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Rows, the best first, and the texts of their footnotes."""
    footnotes = Footnotes()
    paths = {(row["label"], record.task): row for row, record in _with_records(spec, models)}
    first = {
        task: next(r[task] for r in models.values() if task in r)
        for task in dict.fromkeys(c.task for c in every)
    }
    rows = []
    for label in sorted(models, key=lambda label: (order.get(label, float("inf")), label)):
        texts = []
        for task, record in models[label].items():
            keys = [column.key for column in columns if column.task == task]
            said = [
                *deviations(record, first[task]),
                *own_readers(record, first[task], keys),
                *without_evidence(record, keys),
            ]
            texts += [f"{task}: {text}" if len(first) > 1 else text for text in said]
            texts += [note] if (note := paths[label, task].get("note")) else []
        anyone = next(iter(models[label].values()))
        rows.append(
            Row(
                label=label,
                kind="gold" if is_gold(anyone) else "elsewhere" if anyone.measured_elsewhere else "measured",
                rank=ranks.get(label),
                entries={
                    task: Entry(
                        record=record, path=paths[label, task]["record"], failed=_failed(record, columns)
                    )
                    for task, record in models[label].items()
                },
                scores={
                    column.name: models[label][column.task].summary(column.key)
                    if column.task in models[label]
                    else None
                    for column in every
                },
                footnotes=footnotes.add(texts),
            )
        )
    return tuple(rows), tuple(footnotes.texts)


def _with_records(spec: BoardSpec, models: Models) -> list[tuple[dict[str, str], Scored]]:
    """The specification's rows with their records, in order: a label's records come in the order of its rows."""
    remaining = {label: iter(records.values()) for label, records in models.items()}
    return [(row, next(remaining[row["label"]])) for row in spec.rows]


def _failed(record: Scored, columns: Sequence[Column]) -> int:
    first = next((column.key for column in columns if column.task == record.task), "answer_rate")
    return int((~record.answered(first)).sum())


def _readers(columns: Sequence[Column]) -> dict[str, tuple[str, ...]]:
    """Models behind the scores, as their signatures name them."""
    found: dict[str, dict[str, None]] = {}
    for column in columns:
        parts = signature_parts(column.signature or "")
        revision = f" @ {parts['revision']}" if "revision" in parts else ""
        for kind, name in (("judge", "judge"), ("classifier", "lookback classifier"), ("model", "encoder")):
            if (model := parts.get(kind)) and model != "none":
                proof = f" ({column.proof})" if column.proof else ""
                found.setdefault(name, {})[f"{model}{revision}{proof}"] = None
    return {kind: tuple(names) for kind, names in found.items()}
