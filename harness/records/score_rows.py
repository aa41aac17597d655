"""Rows of scores that others published, from JSON Lines, CSV or Parquet: one row for each response and judge."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.data.columns import Row
from harness.data.sources import file_rows
from harness.errors import HarnessError
from harness.files import sha256_bytes

_MOST_SHOWN = 10
_REQUIRED = ("document", "model")
_BY_NAME = (*_REQUIRED, "response", "response_sha256", "judge")
ROLES = (*_BY_NAME, "source", "reference")
"""What a column can be, beside scores. All but the last two are by default the column of the same name."""


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """What one judge said of one response."""

    place: str
    """File and row, for messages."""
    document: str
    """The publisher's own identifier; 7 and "7" are one document."""
    model: str
    response: str | None
    """Empty where the publisher has none; None where only its hash was published."""
    response_sha256: str | None
    """Of the UTF-8 text, where the text itself was not published."""
    judge: str
    scores: Mapping[str, float] = field(default_factory=dict)
    """By key; a score that the row leaves empty is absent: that sample failed."""
    source: str | None = None
    """The text that the response was to be faithful to."""
    reference: str | None = None


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Which column of a file is what."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Role -> column, for roles whose column has another name."""
    scores: Mapping[str, str] = field(default_factory=lambda: {"score": "score"})
    """Key -> column."""
    labels: Mapping[str, float] = field(default_factory=dict)
    """What a verdict in words counts, such as ``Consistent`` -> 1."""
    judge: str | None = None
    """Who gave all scores, where no column says so."""

    def column(self, role: str) -> str | None:
        """The column of a role; None for texts that nobody asked for."""
        return self.columns.get(role, role if role in _BY_NAME else None)


def read_score_rows(paths: Sequence[Path], layout: Layout) -> list[ScoreRow]:
    """The rows of some files, checked one by one.

    Raises:
        HarnessError: If a file cannot be read, or lacks a column, or rows are not what they must be; it names the rows.
    """
    problems: list[str] = []
    rows: list[ScoreRow] = []
    for path in paths:
        plain = list(_plain_rows(path))
        wrong = _column_problems(path, plain, layout)
        problems += wrong
        if not wrong:
            for number, cells in plain:
                found = _row(f"{path.name}, row {number}", cells, layout)
                rows += [found] if isinstance(found, ScoreRow) else []
                problems += found if isinstance(found, list) else []
    raise_for_rows(problems)
    return rows


def contradictions(rows: Iterable[ScoreRow]) -> list[str]:
    """Rows that repeat another, or say another thing of the same response or document."""
    problems = []
    judged: dict[tuple[str, str, str], str] = {}
    first: dict[tuple[str, str], ScoreRow] = {}
    texts: dict[str, ScoreRow] = {}
    for row in rows:
        name = f"document {row.document!r} of model {row.model!r}"
        if before := judged.get((row.document, row.model, row.judge)):
            problems.append(f"{row.place}: {name} stands twice (also {before})")
            continue
        judged[row.document, row.model, row.judge] = row.place
        other = first.setdefault((row.document, row.model), row)
        if (other.response, other.response_sha256) != (row.response, row.response_sha256):
            problems.append(f"{row.place}: {name} has another response than in {other.place}")
        known = texts.setdefault(row.document, row)
        if (known.source, known.reference) != (row.source, row.reference):
            problems.append(f"{row.place}: document {row.document!r} has another text than in {known.place}")
    missing = [row for row in texts.values() if row.source is None]
    if missing and len(missing) < len(texts):
        problems += [f"{row.place}: no source text, which other documents have" for row in missing]
    return problems


def raise_for_rows(problems: Sequence[str]) -> None:
    """One error for wrong rows, which names the first of them.

    Raises:
        HarnessError: If there are any.
    """
    more = len(problems) - _MOST_SHOWN
    shown = [*problems[:_MOST_SHOWN], *([f"and {more} more"] if more > 0 else [])]
    HarnessError.raise_for(shown, "Correct the rows, or say with --column and --label what they hold.")


def _plain_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Number, from 1, and cells of each row."""
    if path.suffix.lower() not in (".jsonl", ".csv", ".parquet"):
        raise HarnessError(f"{path}: not .jsonl, .csv or .parquet", "Convert it to one of these.")
    return enumerate(file_rows(path), start=1)


def _column_problems(path: Path, rows: Sequence[tuple[int, Mapping[str, Any]]], layout: Layout) -> list[str]:
    """Columns that are asked for and are not there."""
    names = {name: None for _, cells in rows for name in cells}
    if not rows:
        return [f"{path}: no rows"]
    asked = {layout.column(role) for role in _REQUIRED} | {*layout.columns.values(), *layout.scores.values()}
    missing = sorted(name for name in asked if name is not None and name not in names)
    problems = [f"{path}: no column {name!r}; it has {', '.join(names)}" for name in missing]
    texts = [str(layout.column(role)) for role in ("response", "response_sha256")]
    if not any(name in names for name in texts):
        problems.append(f"{path}: neither responses nor their SHA-256 (columns {' and '.join(texts)})")
    if layout.judge is None and layout.column("judge") not in names:
        problems.append(f"{path}: nothing says who judged (a column judge, or --judge NAME)")
    return problems


def _row(place: str, cells: Mapping[str, Any], layout: Layout) -> ScoreRow | list[str]:
    """A row, or what is wrong with it."""
    problems: list[str] = []
    found: dict[str, str | None] = {}
    for role in ROLES:
        column = layout.column(role)
        value = None if column is None else cells.get(column)
        try:
            found[role] = identifier(value) if role in _REQUIRED else _text(value)
        except ValueError as error:
            problems.append(f"{place}: {column}: {error}")
    scores: dict[str, float] = {}
    for key, column in layout.scores.items():
        try:
            score = _score(cells.get(column), layout.labels)
        except ValueError as error:
            problems.append(f"{place}: {column}: {error}")
        else:
            scores |= {} if score is None else {key: score}
    if problems:
        return problems
    digest, judge = (found["response_sha256"] or "").lower() or None, found["judge"] or layout.judge
    problems = _response_problems(place, found["response"], digest)
    if not judge:
        problems.append(f"{place}: no judge")
    return problems or ScoreRow(
        place=place,
        document=str(found["document"]),
        model=str(found["model"]),
        response=(found["response"] or "") if digest is None else found["response"],
        response_sha256=digest if found["response"] is None else None,
        judge=judge or "",
        scores=scores,
        source=found["source"],
        reference=found["reference"],
    )


def _response_problems(place: str, response: str | None, digest: str | None) -> list[str]:
    if digest is None:
        return []
    if not re.fullmatch("[0-9a-f]{64}", digest):
        return [f"{place}: {digest!r} is no SHA-256"]
    if response is not None and sha256_bytes(response.encode()) != digest:
        return [f"{place}: the response has another SHA-256 than the one beside it"]
    return []


def identifier(value: Any) -> str:
    """A document's or model's name as text; whole numbers lose their type, so that 7, 7.0 and "7" are one.

    Raises:
        ValueError: If it is empty, or neither text nor a whole number.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is int:
        return str(value)
    text = _text(value)
    if text is None or not text.strip():
        raise ValueError("is empty")
    return text.strip()


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"{str(value)[:40]!r} is no text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair, which is no text") from None
    return value


def _score(value: Any, labels: Mapping[str, float]) -> float | None:
    """A number; None for an empty cell. True and false count 1 and 0."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str) and value.strip() in labels:
        return labels[value.strip()]
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{str(value)[:40]!r} is no number")
    return number
