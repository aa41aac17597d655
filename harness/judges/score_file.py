"""What ``harness judge score`` reads and scores: whole texts, and each of their sentences, to show which one fails."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from harness.data.rows import read_rows
from harness.errors import HarnessError
from harness.files import canonical_json, iter_jsonl, read_jsonl, sha256_bytes, write_jsonl
from harness.judges.judge import THRESHOLD, Judge
from harness.judges.pairs import SOURCE_COLUMNS, SUMMARY_COLUMNS
from harness.sentences import sentence_spans

_CHUNK = 256


@dataclass(frozen=True, kw_only=True)
class Item:
    """One text to judge."""

    id: str
    source: str
    summary: str


def read_items(path: Path) -> list[Item]:
    """Items of a JSON Lines file, or of the newest ``samples_*.jsonl`` of each task in a folder that lm-eval wrote.

    Raises:
        HarnessError: If nothing can be read, or a row has no source or summary.
    """
    if path.is_dir():
        newest: dict[str, Path] = {}
        for file in sorted(path.rglob("samples_*.jsonl"), key=lambda file: file.stem.rsplit("_", 1)[-1]):
            newest[file.stem.rsplit("_", 1)[0]] = file
        if not newest:
            raise HarnessError(
                f"{path}: no samples_*.jsonl", "Run lm_eval with --log_samples, or give a jsonl file."
            )
        items = [item for name, file in sorted(newest.items()) for item in _samples(file, name)]
    else:
        number = count(1)
        remedy = f"Name the columns {SOURCE_COLUMNS[0]} and {SUMMARY_COLUMNS[0]}."
        items = read_rows(path, lambda row: _item(row, next(number), path), remedy, allow_nan=True)
    if not items:
        raise HarnessError(f"{path}: nothing to judge", "Give rows with a source and a summary.")
    return items


def _item(row: Mapping[str, Any], number: int, path: Path) -> Item:
    if "doc" in row and "filtered_resps" in row:
        return _sample(row, path, path.stem)
    texts = [next((row[c] for c in columns if isinstance(row.get(c), str)), None)
             for columns in (SOURCE_COLUMNS, SUMMARY_COLUMNS)]  # fmt: skip
    if texts[0] is None or texts[1] is None:
        raise ValueError(f"no {'source' if texts[0] is None else 'summary'}; it has: {', '.join(row)}")
    return Item(id=str(row.get("id", number)), source=texts[0], summary=texts[1])


def _samples(file: Path, name: str) -> list[Item]:
    return [_sample(row, file, name.removeprefix("samples_")) for row in iter_jsonl(file, allow_nan=True)]


def _sample(row: Mapping[str, Any], file: Path, name: str) -> Item:
    source = row["doc"].get("source")
    if not isinstance(source, str):
        raise HarnessError(
            f"{file}: document {row.get('doc_id')} has no source: nothing to be consistent with",
            "Give samples of a task whose documents have a source.",
        )
    return Item(id=f"{name}-{row.get('doc_id')}", source=source, summary=str(row["filtered_resps"][0]))


def score_items(judge: Judge, items: Sequence[Item], work: Path) -> list[dict[str, Any]]:
    """Score items and their sentences, a chunk at a time; chunks that an interrupted call has finished are taken from ``work``.

    Returns:
        One row per item: ``score`` (None where there is none, with ``failed`` saying why), ``consistent`` and ``sentences``,
        each with ``start`` and ``end`` in the summary.
    """
    rows: list[dict[str, Any]] = []
    for start in range(0, len(items), _CHUNK):
        chunk = items[start : start + _CHUNK]
        content = [judge.signature(), *([item.id, item.source, item.summary] for item in chunk)]
        part = work / f"{sha256_bytes(canonical_json(content).encode())[:24]}.jsonl"
        if not part.is_file():
            write_jsonl(part, _score_chunk(judge, chunk))
        rows += read_jsonl(part)
    return rows


def forget(work: Path) -> None:
    """Drop the finished chunks, once their result is written."""
    shutil.rmtree(work, ignore_errors=True)


def _score_chunk(judge: Judge, items: Sequence[Item]) -> list[dict[str, Any]]:
    spans = [sentence_spans(item.summary) for item in items]
    pairs = [(item.source, item.summary) for item in items]
    for item, found in zip(items, spans, strict=True):
        pairs += [(item.source, item.summary[start:end]) for start, end in found]
    scores = iter(judge.score(pairs))
    wholes = [next(scores) for _ in items]
    return [
        _row(item, whole, found, [next(scores) for _ in found])
        for item, whole, found in zip(items, wholes, spans, strict=True)
    ]


def _row(
    item: Item, whole: float, spans: Sequence[tuple[int, int]], parts: Sequence[float]
) -> dict[str, Any]:
    row: dict[str, Any] = {"id": item.id, "score": None if math.isnan(whole) else whole}
    if math.isnan(whole):
        empty = "summary" if not item.summary.strip() else "source" if not item.source.strip() else None
        row["failed"] = f"empty {empty}" if empty else "the judge gave no number"
    else:
        row["consistent"] = whole >= THRESHOLD
    if len(item.summary.split()) > len(item.source.split()):
        row["note"] = "the summary is longer than its source"
    row["summary"] = item.summary
    row["sentences"] = [
        {
            "text": item.summary[start:end],
            "start": start,
            "end": end,
            "score": None if math.isnan(part) else part,
        }
        for (start, end), part in zip(spans, parts, strict=True)
    ]
    return row
