"""The record of one model on one task, and its file.

The file is JSON Lines in one canonical form: the header on the first line, then one sample a line in the order of ``doc_id``. Its
name is ``<task>/<model>-<SHA-256 of its bytes>.jsonl``. Articles and references, which all models share, stand once in a documents
file beside the records (`harness.records.documents`). `harness.records.reading` reads both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.files import canonical_json, sha256_bytes, write_atomic
from harness.metrics.suite import ScoreSummary
from harness.stats.rounding import rounded
from harness.stats.ties import FloatArray

VERSION = 3

SOURCE = "{source}"
"""Stands for the document's source in a stored prompt."""

_LONGEST_SLUG = 120  # file systems allow 255 bytes, of which the hash takes 70


@dataclass(frozen=True, kw_only=True)
class SampleRecord:
    """What the model made of one document."""

    doc_id: int
    response: str | None
    """None where the text was not passed on; then ``response_sha256`` stands for it."""
    scores: dict[str, float]
    """Score by key; a failed sample lacks the key."""
    statistics: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Counts behind each corpus score, such as chrF's n-grams: the headline is a function of their sums."""
    lookback_windows: tuple[tuple[int, int, float], ...] | None = None
    """Start and end (characters of ``response``) and probability of being factual, of each window; None without a lens."""
    unsupported_spans: tuple[tuple[int, int, str], ...] | None = None
    """Start and end (characters of the stripped ``response``) and kind of each item that the source lacks; None without any."""
    prompt: str | None = None
    """The prompt with ``{source}`` for the source, where it is not the record's."""
    source_chars: int | None = None
    """How much of the source the model saw, where the source was cut to fit its context."""
    response_sha256: str | None = None
    """SHA-256 of a response whose text was not passed on."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a record says of its run as a whole."""

    task: str
    task_version: str
    model: str
    """The name that boards show; without any path."""
    metrics: tuple[str, ...]
    """Metric families, as in the task's ``metadata.metrics``; empty for a task that is not ours."""
    metric_options: dict[str, Any]
    """What the families were given beyond their defaults."""
    bootstrap: dict[str, Any]
    """``n_resamples``, ``confidence`` and ``seed`` of the intervals."""
    scores: dict[str, dict[str, Any]]
    """Headline by key: value, low, high, n, higher_is_better, signature."""
    stated: dict[str, float]
    """Headlines of a task that is not ours which its samples alone do not give again; never on a board."""
    counts: dict[str, int]
    """``n``, ``answered``, ``failed`` and its kinds, ``shortened``; only ``n`` for a task that is not ours."""
    prompt: str | None
    """The prompt of most samples with ``{source}`` for the source."""
    documents: str | None
    """SHA-256 of the documents file; None for scores that came without documents."""
    provenance: dict[str, Any]
    """Where it came from: weights, data, prompt, decoding, libraries, machine, date."""

    def summary(self, key: str) -> ScoreSummary | None:
        """One headline as the record states it; None where it has none."""
        return ScoreSummary(**self.scores[key]) if key in self.scores else None

    def prompt_of(self, sample: SampleRecord, source: str) -> str:
        """The prompt that the model saw."""
        shown = source if sample.source_chars is None else source[: sample.source_chars]
        return (sample.prompt or self.prompt or "").replace(SOURCE, shown)

    @property
    def measured_elsewhere(self) -> bool:
        """Whether the scores were published by others and imported, not computed by us."""
        return self.provenance.get("measured") == "elsewhere"


HEADER_FIELDS = tuple(item.name for item in fields(Header))


@dataclass(frozen=True, kw_only=True)
class Record(Header):
    """One model on one task, with every sample."""

    samples: tuple[SampleRecord, ...]

    def column(self, key: str) -> dict[int, float]:
        """One score by ``doc_id``, of the samples that carry it."""
        return {sample.doc_id: sample.scores[key] for sample in self.samples if key in sample.scores}


@dataclass(frozen=True, kw_only=True)
class Scored(Header):
    """One model on one task as columns, without texts: what boards compute with, 200 models at a time."""

    doc_ids: NDArray[np.int64]
    """Int [n], ascending."""
    values: Mapping[str, FloatArray]
    """By key, float [n]; NaN where the sample failed."""
    statistics: Mapping[str, FloatArray]
    """By key of a corpus score, float [n, k]; NaN where the sample failed."""
    responses_sha256: str
    """Over all responses: two records with one hash are one run."""

    @property
    def n(self) -> int:
        """Documents."""
        return len(self.doc_ids)

    def answered(self, key: str) -> NDArray[np.bool_]:
        """Which samples carry a score, bool [n]."""
        column = self.values.get(key)
        present: NDArray[np.bool_] = np.zeros(self.n, bool) if column is None else ~np.isnan(column)
        return present


def scored(record: Record) -> Scored:
    """The columns of a record."""
    rows = record.samples
    keys = sorted({key for sample in rows for key in sample.scores})
    corpus = {key: len(counts) for sample in rows for key, counts in sample.statistics.items()}
    values = {key: np.array([sample.scores.get(key, np.nan) for sample in rows], np.float64) for key in keys}
    statistics = {
        key: np.array([sample.statistics.get(key, (np.nan,) * width) for sample in rows], np.float64)
        for key, width in corpus.items()
    }
    responses = [sample.response_sha256 or sha256_bytes(_utf8(sample.response or "")) for sample in rows]
    return Scored(
        **{name: getattr(record, name) for name in HEADER_FIELDS},
        doc_ids=np.array([sample.doc_id for sample in rows], np.int64),
        values=values,
        statistics=statistics,
        responses_sha256=sha256_bytes("\n".join(responses).encode()),
    )


def encode(record: Record) -> bytes:
    """The bytes of a record's file. Numbers are rounded here, to `harness.stats.rounding.DECIMALS`."""
    header = {name: getattr(record, name) for name in HEADER_FIELDS}
    lines = [{"record": VERSION, **header}, *map(_compact, record.samples)]
    return "".join(canonical_json(line) + "\n" for line in lines).encode()


def _compact(sample: SampleRecord) -> dict[str, Any]:
    """Without what is not there: boards keep thousands of these lines in git."""
    plain = dict(vars(sample))  # `asdict` copies every count: most of an import's time
    plain["scores"] = {key: rounded(score) for key, score in sample.scores.items()}
    plain["statistics"] = {key: _short(counts) for key, counts in sample.statistics.items()}
    optional = (
        "statistics",
        "lookback_windows",
        "unsupported_spans",
        "prompt",
        "source_chars",
        "response_sha256",
    )
    return {name: value for name, value in plain.items() if name not in optional or value not in (None, {})}


def _short(counts: Sequence[float]) -> list[float]:
    return [int(count) if float(count).is_integer() else rounded(count) for count in counts]


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def record_path(record: Header, data: bytes) -> Path:
    """Where a record of these bytes stands below the folder of the records."""
    return Path(slug(record.task)) / f"{slug(record.model)}-{sha256_bytes(data)}.jsonl"


def save_record(record: Record, folder: Path) -> Path:
    """Write a record under its content-addressed name; writing it again changes nothing."""
    data = encode(record)
    path = folder / record_path(record, data)
    if not path.exists():
        write_atomic(path, data)
    return path


def slug(name: str) -> str:
    """A name as part of a path; results of others may hold any text."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:_LONGEST_SLUG].strip("-.") or "unnamed"
