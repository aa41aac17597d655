"""A board's specification, and keeping its markdown equal to its records.

``NAME.json`` names the records of ``NAME.md``; paths are relative to the specification. What stands outside the markers in
the markdown file belongs to its author and is never touched.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.board.markdown import render
from harness.errors import HarnessError
from harness.files import write_atomic
from harness.records import Record, load_record
from harness.records.headlines import check_record

START, END = "<!-- LEADERBOARD_START -->", "<!-- LEADERBOARD_END -->"


@dataclass(frozen=True, kw_only=True)
class BoardSpec:
    """What a board shows."""

    title: str
    columns: list[str]
    """Score keys; the first one ranks."""
    rows: list[dict[str, str]]
    """``label`` and ``record`` (path of the record) of each row."""
    comparisons: list[list[str]]
    """Pairs of labels, baseline first."""
    notes: list[str]
    """Sentences under the table: conditions, deviations."""


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
        known = ", ".join(field.name for field in dataclasses.fields(BoardSpec))
        raise HarnessError(f"{path}: not a board specification ({error})", f"It needs: {known}.") from error
    records = {label: load_record(record) for label, record in paths.items()}
    for label, record in records.items():
        check_record(record, paths[label])
    return spec, records


def publish(path: Path) -> Path:
    """Write the board of a specification between the markers of the markdown file beside it, and return that file.

    Raises:
        HarnessError: If the file exists without the two markers.
    """
    spec, records = read_spec(path)
    target = path.with_suffix(".md")
    text = target.read_text("utf-8") if target.exists() else f"# {spec.title}\n\n{START}\n{END}\n"
    before, _, after = _split(text, target)
    write_atomic(target, f"{before}{START}\n{render(spec, records)}{END}{after}")
    return target


def verify(path: Path) -> int:
    """Recompute every cell of a board from its records and return the number of records behind it.

    Raises:
        HarnessError: If the board differs, with the first lines that do.
    """
    spec, records = read_spec(path)
    target = path.with_suffix(".md")
    if not target.is_file():
        raise HarnessError(f"{target}: no such board", f"Make it: harness publish {path}")
    _, shown, _ = _split(target.read_text("utf-8"), target)
    expected = "\n" + render(spec, records)
    if shown != expected:
        changed = list(
            difflib.unified_diff(
                shown.splitlines(), expected.splitlines(), "board", "records", lineterm="", n=0
            )
        )
        raise HarnessError(
            f"{target}: differs from its records:\n" + "\n".join(changed[2:10]),
            f"Never edit between the markers; write the board again: harness publish {path}",
        )
    return len(records)


def _split(text: str, path: Path) -> tuple[str, str, str]:
    if text.count(START) != 1 or text.count(END) != 1 or text.index(START) > text.index(END):
        raise HarnessError(
            f"{path}: needs the lines {START} and {END}, once each", "Add them where the board is to stand."
        )
    before, rest = text.split(START)
    shown, after = rest.split(END)
    return before, shown, after
