"""Reading records and documents files: the bytes must be those that the name states, in their one canonical form.

A name ends in the whole SHA-256 of the content, so a file that was edited is found, and so are two files that were made to share a
shorter name. A blank line, another order of keys or a number written in another way would give one record two names: refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import HarnessError
from harness.files import canonical_json, sha256_bytes
from harness.records.record import HEADER_FIELDS, VERSION, Header, Record, SampleRecord, Scored
from harness.stats.ties import FloatArray

_UPGRADE = "Convert it: harness upgrade-records FOLDER (the folder that holds the board and its records)."
_RESTORE = "Restore it from version control, or run the evaluation again."
_SCORE_FIELDS = {"value", "low", "high", "n", "higher_is_better", "signature"}
_PROVENANCE = {"model": dict, "software": dict, "date": int, "data_source": str}
_REQUIRED, _OPTIONAL = (
    {"doc_id", "response", "scores"},
    {"statistics", "lookback_windows", "prompt", "source_chars", "response_sha256"},
)
_NUMBERS = frozenset((int, float))
_BOUND = 2**53  # whole numbers up to here are exact as doubles


def checked_lines(path: Path, what: str) -> list[dict[str, Any]]:
    """The lines of a file whose name ends in the SHA-256 of its content.

    Raises:
        HarnessError: If it is missing, its content is another, or it is not in canonical form.
    """
    return canonical_lines(_content(path, what), path, what)


def _content(path: Path, what: str) -> bytes:
    """The bytes that a name states."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise HarnessError(f"{path}: no such {what} ({error.strerror})", _RESTORE) from error
    digest = sha256_bytes(data)
    stated = re.search(r"-([0-9a-f]{12,64})$", path.stem)
    if stated and len(stated[1]) < 64:
        raise HarnessError(f"{path}: a {what} of a former version, named by part of its hash", _UPGRADE)
    if stated is None or stated[1] != digest:
        raise HarnessError(
            f"{path}: the content does not match the name (it hashes to {digest})",
            "Records are never edited: restore the file from version control.",
        )
    return data


def canonical_lines(data: bytes, path: Path, what: str) -> list[dict[str, Any]]:
    """The lines of a file in the one form in which records are written.

    Raises:
        HarnessError: If a line is not JSON, is written in another way (a blank, an order of keys), or is no text.
    """
    *lines, last = data.split(b"\n")
    remedy = "Import the results again; a record is never written by hand."
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            same = canonical_json(row).encode() == line
        except (ValueError, RecursionError) as error:
            raise HarnessError(f"{path}, line {number}: not JSON ({error})", remedy) from error
        if not same or not isinstance(row, dict):
            raise HarnessError(f"{path}, line {number}: not in canonical form", remedy)
        rows.append(row)
    if last or not rows:
        raise HarnessError(f"{path}: {'no line end' if last else 'an empty'} {what}", remedy)
    if b"\\ud" in data:
        _require_unicode(rows, path)
    return rows


def _require_unicode(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Half of a surrogate pair has no UTF-8 form, so no page could show it."""
    for number, row in enumerate(rows, start=1):
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise HarnessError(
                f"{path}, line {number}: half of a surrogate pair, which is no text",
                "Decode the model's output again, then import it.",
            ) from error


def load_header(path: Path) -> Header:
    """What a record says of its run, checked like `load_record`."""
    return Header(**_header(checked_lines(path, "record")[0], path))


def load_record(path: Path) -> Record:
    """Read a record, texts and all.

    Raises:
        HarnessError: If it is missing, damaged, edited, or of another version.
    """
    return _record(checked_lines(path, "record"), path)


def decode(data: bytes, path: Path) -> Record:
    """The record that a file of these bytes would be read as: what is refused there is refused before it is written.

    Args:
        data: Made by `harness.records.record.encode`.
        path: What the data was made from, for errors.

    Raises:
        HarnessError: As `load_record`.
    """
    return _record(canonical_lines(data, path, "record"), path)


def _record(lines: list[dict[str, Any]], path: Path) -> Record:
    first, *rows = lines
    header = _header(first, path)
    _check_rows(rows, path)
    return Record(**header, samples=tuple(map(sample_of, rows)))


def load_scored(path: Path) -> Scored:
    """Read a record's columns; the texts are hashed and dropped.

    Raises:
        HarnessError: As `load_record`.
    """
    first, *rows = checked_lines(path, "record")
    header = _header(first, path)
    _check_rows(rows, path)
    widths = {key: len(counts) for row in rows for key, counts in row.get("statistics", {}).items()}
    keys = sorted({key for row in rows for key in row["scores"]})
    responses = [row.get("response_sha256") or sha256_bytes((row["response"] or "").encode()) for row in rows]
    return Scored(
        **header,
        doc_ids=np.array([row["doc_id"] for row in rows], np.int64),
        values={key: np.array([row["scores"].get(key, np.nan) for row in rows], np.float64) for key in keys},
        statistics={key: _statistics(rows, key, width) for key, width in widths.items()},
        responses_sha256=sha256_bytes("\n".join(responses).encode()),
    )


def _statistics(rows: list[dict[str, Any]], key: str, width: int) -> FloatArray:
    none: dict[str, Any] = {}
    absent = (np.nan,) * width
    return np.array([row.get("statistics", none).get(key, absent) for row in rows], np.float64)


def load_samples(path: Path, doc_ids: Iterable[int]) -> dict[int, SampleRecord]:
    """Some samples, by ``doc_id``, of a record that was read before: only their own lines are parsed.

    Raises:
        HarnessError: If the content is no longer what its name says.
    """
    wanted = {b'{"doc_id":%d,' % doc_id for doc_id in doc_ids}
    lines = _content(path, "record").split(b"\n")[1:-1]
    rows = [json.loads(line) for line in lines if line[: line.find(b",") + 1] in wanted]
    return {row["doc_id"]: sample_of(row) for row in rows}


def sample_of(row: Mapping[str, Any]) -> SampleRecord:
    """A sample from its line."""
    windows = row.get("lookback_windows")
    return SampleRecord(
        **{
            **row,
            "statistics": {key: tuple(counts) for key, counts in row.get("statistics", {}).items()},
            "lookback_windows": None if windows is None else tuple((a, b, p) for a, b, p in windows),
        }
    )


def _header(fields: dict[str, Any], path: Path) -> dict[str, Any]:
    """The header's fields, each of its type."""
    version = fields.pop("record", None)
    if version != VERSION:
        raise HarnessError(f"{path}: not a record of version {VERSION}, but of {version!r}", _UPGRADE)
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
    HarnessError.raise_for(problems, "Import the results again; a record is never written by hand.")
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


def _check_rows(rows: list[dict[str, Any]], path: Path) -> None:
    """Samples of the right types, each document once, in order."""
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
    HarnessError.raise_for(problems, "Import the results again; a record is never written by hand.")


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
    return _wrong_scores(row, widths) or _wrong_windows(row)


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
