"""Records from scores that others published: one for each model, marked as not measured here.

The publisher's document identifiers become numbers in one order for all models of an import, so that paired tests work: whole
numbers first, ascending, then other identifiers by code point. ``<task>/ids-<SHA-256>.jsonl`` keeps the originals.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from harness.files import canonical_json, sha256_bytes, write_atomic
from harness.metrics.base import Kind, Score
from harness.metrics.suite import Bootstrap
from harness.records.documents import Document, encode_documents, save_documents
from harness.records.reading import checked_lines
from harness.records.record import Header, Record, SampleRecord, save_record, slug
from harness.records.score_rows import ScoreRow, contradictions, raise_for_rows
from harness.stats.headline import headline
from harness.stats.rounding import rounded


@dataclass(frozen=True, kw_only=True)
class Published:
    """Who published the scores, and where."""

    source: str
    """Name of the publication, as boards show it."""
    url: str
    accessed: str
    """Date of access, YYYY-MM-DD."""
    license: str | None = None
    """Of the published data; None where none is stated."""
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each file that was read, by name."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What the imported numbers are."""

    higher_is_better: bool = True
    low: float | None = 0.0
    """Least possible value; None: any."""
    high: float | None = 1.0
    kind: Kind = "faithfulness"

    def describe(self, key: str) -> dict[str, Any]:
        """The fields of a `harness.metrics.base.Score`, as the record keeps them."""
        units = {(0.0, 1.0): "share", (0.0, 100.0): "of 100"}
        unit = None if self.low is None or self.high is None else units.get((self.low, self.high))
        return {
            "title": key.replace("_", " "),
            "kind": self.kind,
            "unit": unit or "points",
            "higher_is_better": self.higher_is_better,
            "low": self.low,
            "high": self.high,
        }


def import_scores(
    rows: Sequence[ScoreRow],
    records: Path,
    *,
    task: str,
    published: Published,
    scale: Scale | None = None,
    documents: bool = True,
) -> list[Path]:
    """Write one record for each model below ``records``, and the documents where sources are known; return the records' files.

    A document without a row for a model, or whose score is empty, is a failed sample of that model. Scores of several judges
    become several keys, ``<key>_<judge>``.

    Args:
        rows: Of all models; document, model and judge together occur once.
        records: Folder of the records.
        task: Name of the task.
        published: Who published them.
        scale: Direction and range; by default shares, where higher is better.
        documents: Keep source texts and references too, where the rows have them.

    Raises:
        HarnessError: If rows repeat or contradict each other, or a score lies out of range; it names the rows.
    """
    scale = scale or Scale()
    raise_for_rows(contradictions(rows) + _out_of_range(rows, scale))
    order = sorted({row.document for row in rows}, key=_numbers_first)
    numbers = {document: number for number, document in enumerate(order)}
    ids = _save_ids(order, task, records)
    texts = _documents(rows, numbers)
    digest = sha256_bytes(encode_documents(texts)) if texts else None
    if texts and documents:
        save_documents(texts, task, records)
    keys = _keys(rows)
    written = []
    for model, own in _by_model(rows).items():
        samples = _samples(own, numbers, keys)
        record = Record(
            task=task,
            task_version="published",
            model=model,
            metrics=(),
            metric_options={"measured": "elsewhere", "source": published.source},
            bootstrap=asdict(Bootstrap()),
            scores=_headlines(samples, keys, published, scale),
            stated={},
            counts=_counts(samples),
            prompt=None,
            documents=digest,
            provenance=_provenance(own[0].model, keys, published, scale, ids, digest or ids),
            samples=samples,
        )
        written.append(save_record(record, records))
    return written


def ids_path(record: Header, record_path: Path) -> Path | None:
    """Where the publisher's document identifiers stand, if they were kept; None for a record that was measured."""
    digest = record.provenance.get("document_ids_sha256")
    return None if digest is None else record_path.parent / f"ids-{digest}.jsonl"


def load_ids(record: Header, record_path: Path) -> dict[int, str] | None:
    """The publisher's document identifiers by ``doc_id``; None for a record that was measured, or where they were not kept.

    Raises:
        HarnessError: If the file was edited.
    """
    path = ids_path(record, record_path)
    if path is None or not path.is_file():
        return None
    return {line["doc_id"]: line["id"] for line in checked_lines(path, "list of documents")}


def _save_ids(order: Sequence[str], task: str, folder: Path) -> str:
    lines = [{"doc_id": number, "id": document} for number, document in enumerate(order)]
    data = "".join(canonical_json(line) + "\n" for line in lines).encode()
    digest = sha256_bytes(data)
    path = folder / slug(task) / f"ids-{digest}.jsonl"
    if not path.exists():
        write_atomic(path, data)
    return digest


def _numbers_first(document: str) -> tuple[bool, int, str]:
    number = re.fullmatch(r"0|[1-9][0-9]{0,18}", document)
    return number is None, int(document) if number else 0, document


def _out_of_range(rows: Iterable[ScoreRow], scale: Scale) -> list[str]:
    shown = [f"{'any' if limit is None else f'{limit:g}'}" for limit in (scale.low, scale.high)]
    score = Score(title="", kind=scale.kind, low=scale.low, high=scale.high)
    return [
        f"{row.place}: {key} is {value:g}, outside {' to '.join(shown)} (--range LOW HIGH)"
        for row in rows
        for key, value in row.scores.items()
        if not score.holds(value)
    ]


def _documents(rows: Iterable[ScoreRow], numbers: Mapping[str, int]) -> list[Document]:
    """Sources and references in the order of ``doc_id``; empty where no texts were published."""
    found = {
        numbers[row.document]: Document(
            doc_id=numbers[row.document],
            source=row.source,
            references=() if row.reference is None else (row.reference,),
        )
        for row in rows
        if row.source is not None
    }
    return [found[number] for number in sorted(found)]


def _keys(rows: Iterable[ScoreRow]) -> dict[tuple[str, str], str]:
    """(Published key, judge) -> key of the records; the judge is part of it where there are several."""
    pairs = sorted({(key, row.judge) for row in rows for key in row.scores})
    several = len({judge for _, judge in pairs}) > 1
    named = {pair: f"{pair[0]}_{slug(pair[1])}" if several else pair[0] for pair in pairs}
    keys = list(named.values())
    raise_for_rows([f"judges that share the key {key}" for key in sorted(set(keys)) if keys.count(key) > 1])
    return named


def _by_model(rows: Iterable[ScoreRow]) -> dict[str, list[ScoreRow]]:
    """Rows by the name that boards show: without the owner, where that leaves no two models with one name."""
    by_name: dict[str, list[ScoreRow]] = {}
    for row in rows:
        by_name.setdefault(row.model, []).append(row)
    short = [name.rsplit("/", 1)[-1] for name in by_name]
    return {
        (last if short.count(last) == 1 else name): own
        for (name, own), last in zip(by_name.items(), short, strict=True)
    }


def _samples(
    rows: Iterable[ScoreRow], numbers: Mapping[str, int], keys: Mapping[tuple[str, str], str]
) -> tuple[SampleRecord, ...]:
    """All documents of the import, those without a row as failed."""
    own: dict[int, list[ScoreRow]] = {}
    for row in rows:
        own.setdefault(numbers[row.document], []).append(row)
    return tuple(_sample(number, own.get(number, ()), keys) for number in range(len(numbers)))


def _sample(number: int, rows: Sequence[ScoreRow], keys: Mapping[tuple[str, str], str]) -> SampleRecord:
    return SampleRecord(
        doc_id=number,
        response=rows[0].response if rows else "",
        response_sha256=rows[0].response_sha256 if rows else None,
        scores={
            keys[key, row.judge]: rounded(value) for row in rows for key, value in sorted(row.scores.items())
        },
    )


def _headlines(
    samples: Sequence[SampleRecord],
    keys: Mapping[tuple[str, str], str],
    published: Published,
    scale: Scale,
) -> dict[str, dict[str, Any]]:
    found = {}
    for (_, judge), key in keys.items():
        values = np.array([sample.scores[key] for sample in samples if key in sample.scores], np.float64)
        if not len(values):
            continue
        value, interval = headline(values, **asdict(Bootstrap()))
        found[key] = {
            "value": rounded(value),
            "low": interval and rounded(interval.low),
            "high": interval and rounded(interval.high),
            "n": len(values),
            "higher_is_better": scale.higher_is_better,
            "signature": signature(key, judge, published),
        }
    return found


def signature(key: str, judge: str, published: Published) -> str:
    """``<key>|published|judge:<name>|source:<name>|accessed:<date>``; a bar in a name becomes a slash."""
    parts = (
        key,
        "published",
        f"judge:{judge}",
        f"source:{published.source}",
        f"accessed:{published.accessed}",
    )
    return "|".join(part.replace("|", "/") for part in parts)


def _counts(samples: Sequence[SampleRecord]) -> dict[str, int]:
    answered = sum(bool(sample.scores) for sample in samples)
    return {"n": len(samples), "answered": answered, "failed": len(samples) - answered}


def _provenance(
    model: str,
    keys: Mapping[tuple[str, str], str],
    published: Published,
    scale: Scale,
    ids: str,
    documents: str,
) -> dict[str, Any]:
    """What is known; how the responses were made is not."""
    accessed = datetime.fromisoformat(published.accessed).replace(tzinfo=UTC)
    return {
        "measured": "elsewhere",
        "source": published.source,
        "url": published.url,
        "accessed": published.accessed,
        "license": published.license,
        "files": dict(published.files),
        "judges": {key: judge for (_, judge), key in keys.items()},
        "score": {key: scale.describe(key) for key in keys.values()},
        "model": {"name": model},
        "data_source": f"published:{published.source}",
        "document_ids_sha256": ids,
        "documents_sha256": documents,
        "date": int(accessed.timestamp()),
        "software": {},
    }
