"""A board before it is rendered: rows, ranks, comparisons and footnotes, the same for markdown, CSV, JSON and the page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from harness.board.cited import CitedTable, read_cited
from harness.board.compare import ALPHA, Comparison, compare, differing_conditions, paired_difference
from harness.board.spec import BoardSpec, read_spec
from harness.errors import HarnessError
from harness.metrics.suite import ScoreSummary
from harness.records import Record
from harness.stats import holm

ALWAYS = ("answer_rate", "length", "coverage", "density")
"""Shown beside every score: a model can gain by answering less, writing less, or copying more."""
GOLD_BACKEND = "harness-gold"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One record on a board."""

    label: str
    kind: Literal["measured", "gold"]
    """``gold``: the references themselves, scored as if a model had written them; never ranked."""
    rank: int | None
    """1 + the number of rows shown to be better; None where the row is not ranked."""
    record: Record
    path: str
    """Of the record, relative to the specification."""
    scores: Mapping[str, ScoreSummary | None]
    """Columns and `ALWAYS`."""
    n: int
    failed: int
    """Samples without the ranking score."""
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
    rows: tuple[Row, ...]
    """The best first."""
    comparisons: tuple[Compared, ...]
    footnotes: tuple[str, ...]
    judges: tuple[str, ...]
    """Judge models with their revisions, from the signatures of the columns; empty if every score follows a rule."""
    signatures: Mapping[str, str]
    """Of each column."""
    cited: tuple[CitedTable, ...]


def read_board(path: Path) -> Board:
    """Build a board from its specification.

    Raises:
        HarnessError: If a file is missing, damaged or edited, or the rows cannot stand in one table; it names the difference.
    """
    spec, records = read_spec(path)
    return build(spec, records, path.parent)


def build(spec: BoardSpec, records: Mapping[str, Record], folder: Path) -> Board:
    """Build a board from records by label.

    Raises:
        HarnessError: If rows are of different tasks or documents, or a column is computed in two ways.
    """
    _require_one_table(spec, records)
    footnotes = _Footnotes()
    entries = {entry["label"]: entry for entry in spec.rows}
    first = next(iter(records.values()), None)  # of the specification
    ranks = _ranks(records, spec.columns[0]) if records else {}
    rows = [
        Row(
            label=label,
            kind="gold" if is_gold(record) else "measured",
            rank=ranks.get(label),
            record=record,
            path=entries[label]["record"],
            scores={key: record.summary(key) for key in (*spec.columns, *ALWAYS)},
            n=len(record.samples),
            failed=len(record.samples) - len(record.column(spec.columns[0])),
            footnotes=footnotes.add(
                _deviations(record, first) + _own_readers(spec, record, first) + _note(entries[label])
            ),
        )
        for label, record in sorted(
            records.items(), key=lambda item: _order(item[1].summary(spec.columns[0]))
        )
    ]
    signatures = {
        key: score.signature
        for key in (*spec.columns, *ALWAYS)
        if (score := next((found for record in records.values() if (found := record.summary(key))), None))
    }
    return Board(
        spec=spec,
        folder=folder,
        rows=tuple(rows),
        comparisons=tuple(
            Compared(baseline=a, candidate=b, comparison=compare(records[a], records[b], spec.columns))
            for a, b in spec.comparisons
        ),
        footnotes=tuple(footnotes.texts),
        judges=_judges(signatures),
        signatures=signatures,
        cited=tuple(read_cited(folder / name) for name in spec.cited),
    )


def is_gold(record: Record) -> bool:
    """Whether the responses are the references themselves."""
    return record.provenance.get("backend") == GOLD_BACKEND


def _require_one_table(spec: BoardSpec, records: Mapping[str, Record]) -> None:
    """Prompts and decoding may differ between rows, and get a footnote; data and metrics may not.

    A score read from a model's own attention may be another classifier's in another row: it gets a footnote, and no ranks.
    """
    problems = []
    labels = list(records)
    for label in labels[1:]:
        first, other = records[labels[0]], records[label]
        if (first.task, first.task_version) != (other.task, other.task_version):
            problems.append(
                f"{label}: {other.task} {other.task_version}, where {labels[0]} has {first.task} {first.task_version}"
            )
        problems += [
            f"{label} and {labels[0]}: {difference}"
            for difference in differing_conditions(first, other)
            if difference.startswith("documents")
        ]
        problems += [
            f"{label} and {labels[0]}: {key} is computed in two ways: {a.signature} and {b.signature}"
            for key in spec.columns
            if (a := other.summary(key)) and (b := first.summary(key)) and a.signature != b.signature
            if key == spec.columns[0] or not (_reads_itself(a.signature) and _reads_itself(b.signature))
        ]
    HarnessError.raise_for(problems, "Rows of one board need the same documents and the same ways to score.")


def _reads_itself(signature: str) -> bool:
    """Whether a score comes from the evaluated model's own attention: then models of other layouts have other classifiers."""
    return "reader:evaluated" in signature.split("|")


def _own_readers(spec: BoardSpec, record: Record, first: Record | None) -> list[str]:
    """A note on each score that another classifier gave than in the first row."""
    notes = []
    for key in spec.columns:
        here, there = record.summary(key), first.summary(key) if first is not None else None
        if here and there and here.signature != there.signature:
            name = _parts(here.signature).get("classifier", "another classifier")
            notes.append(
                f"{key}: by {name}, made for this model's heads; not comparable with rows without this note."
            )
    return notes


def _parts(signature: str) -> dict[str, str]:
    return dict(part.split(":", 1) for part in signature.split("|") if ":" in part)


def _ranks(records: Mapping[str, Record], key: str) -> dict[str, int]:
    """Rows share a rank unless a paired test over their documents, Holm-corrected over all pairs, shows a difference."""
    scored = {label: r for label, r in records.items() if not is_gold(r) and r.summary(key) is not None}
    pairs = list(combinations(scored, 2))
    tests = [paired_difference(scored[a], scored[b], key) for a, b in pairs]
    adjusted = holm([test.p_value for test in tests])
    worse: dict[str, int] = dict.fromkeys(scored, 0)
    for (a, b), test, p in zip(pairs, tests, adjusted, strict=True):
        if p <= ALPHA:
            summary = scored[a].summary(key)
            lower_is_better = summary is not None and summary.higher_is_better is False
            worse[a if (test.delta > 0) != lower_is_better else b] += 1
    ordered = sorted(scored, key=lambda label: _order(scored[label].summary(key)))
    ranks: dict[str, int] = {}
    reached = 1
    for label in (
        ordered
    ):  # pairs have different documents and spreads: a row never ranks above one that stands above it
        reached = ranks[label] = max(reached, 1 + worse[label])
    return ranks


def _order(score: ScoreSummary | None) -> float:
    """Sorts the best first and a row without a score last."""
    if score is None:
        return float("inf")
    return score.value if score.higher_is_better is False else -score.value


def _judges(signatures: Mapping[str, str]) -> tuple[str, ...]:
    """Models behind the scores, as their signatures name them: judge, lookback classifier, encoder."""
    found: dict[str, None] = {}
    for signature in signatures.values():
        parts = _parts(signature)
        revision = f" @ {parts['revision']}" if "revision" in parts else ""
        for kind, shown in (("judge", ""), ("classifier", "lookback classifier "), ("model", "encoder ")):
            if (name := parts.get(kind)) and name != "none":
                found[f"{shown}{name}{revision}"] = None
    return tuple(found)


class _Footnotes:
    """Numbers each distinct text once."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, texts: list[str]) -> tuple[int, ...]:
        for text in texts:
            if text not in self.texts:
                self.texts.append(text)
        return tuple(sorted(self.texts.index(text) + 1 for text in texts))


def _note(entry: Mapping[str, str]) -> list[str]:
    return [entry["note"]] if entry.get("note") else []


def _deviations(record: Record, first: Record | None) -> list[str]:
    """What a reader must know about a row."""
    origin: Mapping[str, Any] = record.provenance
    found = []
    if is_gold(record):
        found.append(
            "The references, scored as if a model had written them; their overlap with themselves says nothing."
        )
    elif first is not None and first is not record:
        found += [f"Unlike the first row: {text}." for text in differing_conditions(first, record)]
    if origin.get("limit"):
        found.append(f"Only the first {origin['limit']:g} documents.")
    if shortened := record.counts.get("shortened"):
        found.append(f"{shortened} sources were cut to fit the model's context.")
    if dropped := origin.get("rows_dropped"):
        reasons = ", ".join(f"{number} {reason}" for reason, number in dropped.items())
        found.append(f"Rows of the data left out: {reasons}.")
    if re.search("-dirty$", origin["software"].get("commit") or ""):
        found.append("Made from a working tree with uncommitted changes.")
    return found
