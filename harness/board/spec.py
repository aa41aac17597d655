"""A board's specification: which records it shows, and beside what.

``NAME.json`` names the records of ``NAME.md``; paths are relative to the specification.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any

from harness.errors import HarnessError


@dataclass(frozen=True, kw_only=True)
class BoardSpec:
    """What a board shows."""

    title: str
    columns: list[str]
    """Scores, the first of which ranks: ``key``; on a board of several tasks ``task/key``, and ``key`` alone means every task."""
    rows: list[dict[str, str]]
    """``label`` and ``record`` (path of the record) of each row, and if need be a ``note`` that becomes its footnote.

    A label is the model's name in its record. On a board of several tasks a label stands once for each task."""
    comparisons: list[list[str]]
    """Pairs of labels, baseline first."""
    notes: list[str]
    """Sentences under the table: conditions, deviations."""
    cited: list[str] = field(default_factory=list)
    """Files with results of others (`harness.board.cited`), shown apart and marked as not measured here."""
    samples: int = 200
    """Documents of each task in the page's sample browser, at most."""


def as_text(spec: BoardSpec) -> str:
    """The file's content."""
    return json.dumps(asdict(spec), indent=2, ensure_ascii=False) + "\n"


def read_spec(path: Path) -> BoardSpec:
    """Read a specification and check all that it says of itself.

    Raises:
        HarnessError: If it is missing, is not JSON, or a field is not of its type; all problems at once.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        path.read_bytes().decode("utf-8")
    except OSError as error:
        raise HarnessError(
            f"{path}: no such board specification ({error.strerror})", "Give the JSON file beside the board."
        ) from error
    except (ValueError, RecursionError) as error:
        raise HarnessError(f"{path}: not JSON ({error})", "Correct the specification.") from error
    remedy = f"A board specification has: {', '.join(item.name for item in fields(BoardSpec))}."
    if not isinstance(content, dict):
        raise HarnessError(f"{path}: not a board specification", remedy)
    needed = {"title", "columns", "rows", "comparisons", "notes"}
    problems = [f"{path}: unknown field {name!r}" for name in content if name not in _TYPES]
    problems += [f"{path}: no {name}" for name in sorted(needed - content.keys())]
    problems += [
        f"{path}: {name} is not {what}"
        for name, (fits, what) in _TYPES.items()
        if name in content and not fits(content[name])
    ]
    HarnessError.raise_for(problems, remedy)
    spec = BoardSpec(**content)
    HarnessError.raise_for([f"{path}: {problem}" for problem in check(spec)], "Correct the specification.")
    return spec


def check(spec: BoardSpec) -> list[str]:
    """What contradicts itself in a specification."""
    labels = [row["label"] for row in spec.rows]
    records = [row["record"] for row in spec.rows]
    problems = [f"the record {name} stands twice" for name in sorted(set(records)) if records.count(name) > 1]
    problems += [
        f"{name} lies outside the board's folder"
        for name in (*records, *spec.cited)
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or ":" in name.split("/")[0]
    ]
    problems += [f"a comparison needs two labels: {pair}" for pair in spec.comparisons if len(pair) != 2]
    problems += [
        f"comparison of {label!r}, which is no row"
        for pair in spec.comparisons
        for label in pair
        if label not in labels
    ]
    problems += [f"comparison of {pair[0]!r} with itself" for pair in spec.comparisons if len(set(pair)) == 1]
    if not spec.columns and spec.rows:
        problems.append("no columns")
    if len(set(spec.columns)) < len(spec.columns):
        problems.append("a column stands twice")
    if not spec.rows and not spec.cited:
        problems.append("neither rows nor cited results")
    return problems


def _text(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False  # half of a surrogate pair
    return True


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_text, value))


def _rows(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(row, dict)
        and {"label", "record"} <= row.keys() <= {"label", "record", "note"}
        and all(map(_text, row.values()))
        and row["label"].strip()
        for row in value
    )


_TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "title": (_text, "text"),
    "columns": (_texts, "a list of texts"),
    "rows": (_rows, "a list of objects with label, record and maybe note, all texts"),
    "comparisons": (
        lambda value: isinstance(value, list) and all(map(_texts, value)),
        "a list of pairs of labels",
    ),
    "notes": (_texts, "a list of texts"),
    "cited": (_texts, "a list of file names"),
    "samples": (lambda value: type(value) is int and value >= 0, "a number from 0"),
}
