"""The record of one model on one task, and its file.

The file is JSON Lines: the header on the first line, then one sample a line in the order of ``doc_id``. Its name is
``<task>/<model>-<first 12 hex digits of the SHA-256 of its bytes>.jsonl``. Articles and references, which all models share,
stand once in a documents file beside the records (`harness.records.documents`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.files import canonical_json, iter_jsonl, sha256_bytes, write_atomic
from harness.metrics.suite import ScoreSummary

VERSION = 2

SOURCE = "{source}"
"""Stands for the document's source in a stored prompt."""


@dataclass(frozen=True, kw_only=True)
class SampleRecord:
    """What the model made of one document."""

    doc_id: int
    response: str
    scores: dict[str, float]
    """Score by key; a failed sample lacks the key."""
    statistics: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Counts behind each corpus score, such as chrF's n-grams: the headline is a function of their sums."""
    lookback_windows: tuple[tuple[int, int, float], ...] | None = None
    """Start and end (characters of ``response``) and probability of being factual, of each window; None without a lens."""
    prompt: str | None = None
    """The prompt with ``{source}`` for the source, where it is not the record's."""
    source_chars: int | None = None
    """How much of the source the model saw, where the source was cut to fit its context."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One model on one task."""

    task: str
    task_version: str
    model: str
    """A name without any path."""
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
    documents: str
    """SHA-256 of the documents file."""
    provenance: dict[str, Any]
    """Where it came from: weights, data, prompt, decoding, libraries, machine, date."""
    samples: tuple[SampleRecord, ...]

    def column(self, key: str) -> dict[int, float]:
        """One score by ``doc_id``, of the samples that carry it."""
        return {sample.doc_id: sample.scores[key] for sample in self.samples if key in sample.scores}

    def summary(self, key: str) -> ScoreSummary | None:
        """One headline as the record states it; None where it has none."""
        return ScoreSummary(**self.scores[key]) if key in self.scores else None

    def prompt_of(self, sample: SampleRecord, source: str) -> str:
        """The prompt that the model saw."""
        shown = source if sample.source_chars is None else source[: sample.source_chars]
        return (sample.prompt or self.prompt or "").replace(SOURCE, shown)


def encode(record: Record) -> bytes:
    """The bytes of a record's file."""
    fields = asdict(record)
    samples = [_compact(sample) for sample in fields.pop("samples")]
    lines = [canonical_json({"record": VERSION, **fields}), *map(canonical_json, samples)]
    return ("\n".join(lines) + "\n").encode()


def _compact(sample: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not there: boards keep thousands of these lines in git."""
    optional = ("statistics", "lookback_windows", "prompt", "source_chars")
    sample = {**sample, "statistics": {key: _short(counts) for key, counts in sample["statistics"].items()}}
    return {name: value for name, value in sample.items() if name not in optional or value not in (None, {})}


def _short(counts: Sequence[float]) -> list[float]:
    return [int(count) if float(count).is_integer() else count for count in counts]


def save_record(record: Record, folder: Path) -> Path:
    """Write a record under its content-addressed name; writing it again changes nothing."""
    data = encode(record)
    path = folder / slug(record.task) / f"{slug(record.model)}-{sha256_bytes(data)[:12]}.jsonl"
    if not path.exists():
        write_atomic(path, data)
    return path


def slug(name: str) -> str:
    """A name as part of a path; results of others may hold any text."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "unnamed"


def load_record(path: Path) -> Record:
    """Read a record and check that its content is what its name says.

    Raises:
        HarnessError: If it is missing, damaged, edited, or of another version.
    """
    header, *samples = checked_lines(path, "record")
    if header.pop("record", None) != VERSION:
        raise HarnessError(f"{path}: not a record of version {VERSION}", "Import the results folder again.")
    try:
        return Record(**{**header, "metrics": tuple(header["metrics"])}, samples=tuple(map(_sample, samples)))
    except (TypeError, KeyError) as error:
        raise HarnessError(
            f"{path}: not a record of version {VERSION} ({error})", "Import the results folder again."
        ) from error


def _sample(fields: Mapping[str, Any]) -> SampleRecord:
    statistics = {key: tuple(counts) for key, counts in fields.get("statistics", {}).items()}
    windows = fields.get("lookback_windows")
    return SampleRecord(
        **{
            **fields,
            "statistics": statistics,
            "lookback_windows": None if windows is None else tuple((a, b, p) for a, b, p in windows),
        }
    )


def checked_lines(path: Path, what: str) -> list[dict[str, Any]]:
    """The lines of a file whose name ends in a hash of its content.

    Raises:
        HarnessError: If it is missing, or its content is another.
    """
    if not path.is_file():
        raise HarnessError(
            f"{path}: no such {what}", "Restore it from version control, or run the evaluation again."
        )
    digest = sha256_bytes(path.read_bytes())[:12]
    if not path.stem.endswith(f"-{digest}"):
        raise HarnessError(
            f"{path}: the content does not match the name (it hashes to {digest})",
            "Records are never edited: restore the file from version control.",
        )
    return list(iter_jsonl(path))
