"""What stands on the lines of a record: which fields, of which types, and each written in one way."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.records.record import HEADER_FIELDS, VERSION

UPGRADE = "Convert it: harness upgrade-records FOLDER (the folder that holds the board and its records)."
_AGAIN = "Import the results again; a record is never written by hand."
_SCORE_FIELDS = {"value", "low", "high", "n", "higher_is_better", "signature"}
_PROVENANCE = {"model": dict, "software": dict, "date": int, "data_source": str}
_REQUIRED, _OPTIONAL = (
    {"doc_id", "response", "scores"},
    {"statistics", "lookback_windows", "unsupported_spans", "prompt", "source_chars", "response_sha256"},
)
_KINDS = frozenset(("name", "number", "date"))
_NUMBERS = frozenset((int, float))
_BOUND = 2**53  # whole numbers up to here are exact as doubles


def header_of(fields: dict[str, Any], path: Path) -> dict[str, Any]:
    """The fields of a record's first line, each of its type.

    Raises:
        HarnessError: Naming each that is missing, unknown or of another type, or if the record is of another version.
    """
    version = fields.pop("record", None)
    if version != VERSION:
        raise HarnessError(f"{path}: not a record of version {VERSION}, but of {version!r}", UPGRADE)
    kinds: dict[str, Callable[[Any], bool]] = {
        "task": _text,
        "task_version": _text,
        "model": _text,
        "metrics": lambda value: isinstance(value, list) and all(map(_text, value)),
        "metric_options": _object,
        "bootstrap": _object,
        "scores": lambda value: _object(value) and all(map(_is_score, value.values())),
        "stated": lambda value: _object(value) and all(map(_number, value.values())),
        "counts": lambda value: (
            _object(value) and all(type(count) is int and 0 <= count <= _BOUND for count in value.values())
        ),
        "prompt": lambda value: value is None or _text(value),
        "documents": lambda value: value is None or bool(re.fullmatch("[0-9a-f]{64}", str(value))),
        "provenance": lambda value: (
            _object(value) and all(isinstance(value.get(k), t) for k, t in _PROVENANCE.items())
        ),
    }
    problems = [
        f"{path}: {name} is {'missing' if name not in fields else 'not what a record holds'}"
        for name in HEADER_FIELDS
        if name not in fields or not kinds[name](fields[name])
    ]
    problems += [f"{path}: unknown field {name!r}" for name in fields if name not in kinds]
    HarnessError.raise_for(problems, _AGAIN)
    return {**fields, "metrics": tuple(fields["metrics"])}


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _object(value: Any) -> bool:
    return isinstance(value, dict)


def _number(value: Any) -> bool:
    return type(value) in _NUMBERS and abs(value) <= _BOUND


def _is_score(value: Any) -> bool:
    return (
        _object(value)
        and set(value) == _SCORE_FIELDS
        and _number(value["value"])
        and all(value[limit] is None or _number(value[limit]) for limit in ("low", "high"))
        and type(value["n"]) is int
        and (value["higher_is_better"] is None or isinstance(value["higher_is_better"], bool))
        and _text(value["signature"])
    )


def require_samples(rows: list[dict[str, Any]], path: Path) -> None:
    """Require lines of samples of the right types, each document once, in order.

    Raises:
        HarnessError: Naming the first lines that are not.
    """
    problems: list[str] = []
    previous = -1
    widths: dict[str, int] = {}
    for number, row in enumerate(rows, start=2):
        if len(problems) == 5:
            break
        if (wrong := _wrong_field(row, widths)) is not None:
            problems.append(f"{path}, line {number}: {wrong}")
        elif row["doc_id"] <= previous:
            again = "occurs twice" if row["doc_id"] == previous else "is out of order"
            problems.append(f"{path}, line {number}: document {row['doc_id']} {again}")
        else:
            previous = row["doc_id"]
    HarnessError.raise_for(problems, _AGAIN)


def _wrong_field(row: dict[str, Any], widths: dict[str, int]) -> str | None:
    """What is wrong with a sample's line: a type, a range, or a second way to write the same."""
    names = row.keys()
    if not names >= _REQUIRED or not names <= _REQUIRED | _OPTIONAL:
        return f"a sample has the fields {', '.join(sorted(_REQUIRED))}, and maybe {', '.join(sorted(_OPTIONAL))}"
    if any(row[name] is None or row[name] == {} for name in names - _REQUIRED):
        return "a field that says nothing is left out"
    if type(row["doc_id"]) is not int or not 0 <= row["doc_id"] <= _BOUND:
        return "doc_id is no number from 0"
    has_text, digest = isinstance(row["response"], str), row.get("response_sha256")
    if has_text == (digest is not None) or not (has_text or row["response"] is None):
        return "a sample has a response, or else its response_sha256"
    if digest is not None and not re.fullmatch("[0-9a-f]{64}", str(digest)):
        return "response_sha256 is no SHA-256"
    if not isinstance(row.get("prompt", ""), str):
        return "prompt is no text"
    if type(seen := row.get("source_chars", 0)) is not int or seen < 0:
        return "source_chars is no number from 0"
    return _wrong_scores(row, widths) or _wrong_windows(row) or _wrong_spans(row)


def _wrong_scores(row: dict[str, Any], widths: dict[str, int]) -> str | None:
    scores, statistics = row["scores"], row.get("statistics", {})
    if type(scores) is not dict or not _within(scores.values(), -_BOUND, {float}):
        return "scores are not decimal numbers by key"
    if type(statistics) is not dict:
        return "statistics are not counts by key"
    for key, counts in statistics.items():
        if (
            type(counts) is not list
            or not counts
            or len(counts) != widths.setdefault(key, len(counts))
            or key not in scores
            or not _within(counts, 0, _NUMBERS)
            or (float in map(type, counts) and any(map(float.is_integer, filter(_is_float, counts))))
        ):
            return f"statistics of {key} are not the counts behind its score"
    return None


def _is_float(value: Any) -> bool:
    return type(value) is float


def _within(values: Collection[Any], least: int, types: Collection[type]) -> bool:
    """Whether all values are numbers of these types from ``least`` to 2**53."""
    return not values or (
        set(map(type, values)) <= set(types) and least <= min(values) and max(values) <= _BOUND
    )


def _wrong_windows(row: dict[str, Any]) -> str | None:
    windows = row.get("lookback_windows", [])
    if type(windows) is not list or not all(
        type(window) is list
        and len(window) == 3
        and type(window[0]) is type(window[1]) is int
        and type(window[2]) in _NUMBERS
        for window in windows
    ):
        return "lookback_windows are not start, end and probability"
    end = len((row["response"] or "").strip())
    if not all(0 <= start <= stop <= end and 0 <= p <= 1 for start, stop, p in windows):
        return "a lookback window lies outside the response, or its probability outside 0..1"
    return None


def _wrong_spans(row: dict[str, Any]) -> str | None:
    if "unsupported_spans" not in row:
        return None
    spans = row["unsupported_spans"]
    if type(spans) is not list or not all(
        type(span) is list and len(span) == 3 and type(span[0]) is type(span[1]) is int and span[2] in _KINDS
        for span in spans
    ):
        return "unsupported_spans are not start, end and kind"
    end = len((row["response"] or "").strip())
    if not spans or not all(0 <= start < stop <= end for start, stop, _ in spans):
        return "an unsupported span is empty, or lies outside the response"
    return None
