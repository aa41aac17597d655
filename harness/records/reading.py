"""Reading records and documents files: the bytes must be those that the name states, in their one canonical form.

A name ends in the whole SHA-256 of the content, so a file that was edited is found, and so are two files that were made to share a
shorter name. A blank line, another order of keys or a number written in another way would give one record two names: refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import HarnessError
from harness.files import canonical_json, sha256_bytes
from harness.records.layout import UPGRADE, header_of, require_samples
from harness.records.record import Header, Record, SampleRecord, Scored
from harness.stats.ties import FloatArray

_RESTORE = "Restore it from version control, or run the evaluation again."


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
        raise HarnessError(f"{path}: a {what} of a former version, named by part of its hash", UPGRADE)
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
    return Header(**header_of(checked_lines(path, "record")[0], path))


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
    header = header_of(first, path)
    require_samples(rows, path)
    return Record(**header, samples=tuple(map(sample_of, rows)))


def load_scored(path: Path) -> Scored:
    """Read a record's columns; the texts are hashed and dropped.

    Raises:
        HarnessError: As `load_record`.
    """
    first, *rows = checked_lines(path, "record")
    header = header_of(first, path)
    require_samples(rows, path)
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
    windows, spans = row.get("lookback_windows"), row.get("unsupported_spans")
    return SampleRecord(
        **{
            **row,
            "statistics": {key: tuple(counts) for key, counts in row.get("statistics", {}).items()},
            "lookback_windows": None if windows is None else tuple((a, b, p) for a, b, p in windows),
            "unsupported_spans": None if spans is None else tuple((a, b, kind) for a, b, kind in spans),
        }
    )
