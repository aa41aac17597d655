"""A board's specification: which records it shows, and beside what.

``NAME.json`` names the records of ``NAME.md``; paths are relative to the specification.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.files import write_atomic
from harness.records import Record, load_record
from harness.records.headlines import check_record


@dataclass(frozen=True, kw_only=True)
class BoardSpec:
    """What a board shows."""

    title: str
    columns: list[str]
    """Score keys; the first one ranks."""
    rows: list[dict[str, str]]
    """``label`` and ``record`` (path of the record) of each row, and if need be a ``note`` that becomes its footnote."""
    comparisons: list[list[str]]
    """Pairs of labels, baseline first."""
    notes: list[str]
    """Sentences under the table: conditions, deviations."""
    cited: list[str] = field(default_factory=list)
    """Files with results of others (`harness.board.cited`), shown apart and marked as not measured here."""
    samples: int = 200
    """Documents in the page's sample browser, at most."""


def write_spec(spec: BoardSpec, path: Path) -> None:
    """Write a specification."""
    write_atomic(path, json.dumps(asdict(spec), indent=2, ensure_ascii=False) + "\n")


def read_spec(path: Path) -> tuple[BoardSpec, dict[str, Record]]:
    """A specification and its records by label, each checked against its own samples.

    Raises:
        HarnessError: If anything is missing, damaged or edited.
    """
    if not path.is_file():
        raise HarnessError(f"{path}: no such board specification", "Give the JSON file beside the board.")
    try:
        fields: dict[str, Any] = json.loads(path.read_text("utf-8"))
        spec = BoardSpec(**fields)
        paths = {row["label"]: path.parent / row["record"] for row in spec.rows}
    except (ValueError, TypeError, KeyError) as error:
        known = ", ".join(item.name for item in dataclasses.fields(BoardSpec))
        raise HarnessError(f"{path}: not a board specification ({error})", f"It needs: {known}.") from error
    _check(spec, path)
    records = {label: load_record(record) for label, record in paths.items()}
    for label, record in records.items():
        check_record(record, paths[label])
    return spec, records


def _check(spec: BoardSpec, path: Path) -> None:
    labels = [row["label"] for row in spec.rows]
    problems = [
        f"{path}: the label {label!r} stands twice" for label in set(labels) if labels.count(label) > 1
    ]
    problems += [
        f"{path}: comparison of {label!r}, which is no row"
        for pair in spec.comparisons
        for label in pair
        if label not in labels
    ]
    problems += [
        f"{path}: a comparison needs two labels: {pair}" for pair in spec.comparisons if len(pair) != 2
    ]
    if not spec.columns and spec.rows:
        problems.append(f"{path}: no columns")
    if not spec.rows and not spec.cited:
        problems.append(f"{path}: neither rows nor cited results")
    HarnessError.raise_for(problems, "Correct the specification.")
