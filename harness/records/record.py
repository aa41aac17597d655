"""The record of one model on one task, and its file.

The file is JSON Lines: the header on the first line, then one sample a line in the order of ``doc_id``. Its name is
``<task>/<model>-<first 12 hex digits of the SHA-256 of its bytes>.jsonl``.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.files import canonical_json, iter_jsonl, sha256_bytes, write_atomic

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class SampleRecord:
    """One document and what the model made of it."""

    doc_id: int
    references: tuple[str, ...]
    response: str
    scores: dict[str, float]
    """Score by key; a failed sample lacks the key."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One model on one task."""

    task: str
    task_version: str
    model: str
    """A name without any path."""
    metrics: tuple[str, ...]
    """Metric families, as in the task's ``metadata.metrics``; needed to compute corpus scores again."""
    scores: dict[str, dict[str, Any]]
    """Headline by key: value, low, high, n, higher_is_better, signature."""
    provenance: dict[str, Any]
    """Where it came from: weights, data, prompt, decoding, libraries, machine, date."""
    samples: tuple[SampleRecord, ...]

    def column(self, key: str) -> dict[int, float]:
        """One score by ``doc_id``, of the samples that carry it."""
        return {sample.doc_id: sample.scores[key] for sample in self.samples if key in sample.scores}


def encode(record: Record) -> bytes:
    """The bytes of a record's file."""
    fields = asdict(record)
    samples = fields.pop("samples")
    lines = [canonical_json({"record": VERSION, **fields}), *map(canonical_json, samples)]
    return ("\n".join(lines) + "\n").encode()


def save_record(record: Record, folder: Path) -> Path:
    """Write a record under its content-addressed name; writing it again changes nothing."""
    data = encode(record)
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", record.model).strip("-.") or "model"
    path = folder / record.task / f"{slug}-{sha256_bytes(data)[:12]}.jsonl"
    if not path.exists():
        write_atomic(path, data)
    return path


def load_record(path: Path) -> Record:
    """Read a record and check that its content is what its name says.

    Raises:
        HarnessError: If it is missing, damaged, edited, or of another version.
    """
    if not path.is_file():
        raise HarnessError(
            f"{path}: no such record", "Restore it from version control, or run the evaluation again."
        )
    digest = sha256_bytes(path.read_bytes())[:12]
    if not path.stem.endswith(digest):
        raise HarnessError(
            f"{path}: the content does not match the name (it hashes to {digest})",
            "Records are never edited: restore the file from version control.",
        )
    header, *samples = iter_jsonl(path)
    if header.pop("record", None) != VERSION:
        raise HarnessError(f"{path}: not a record of version {VERSION}", "Import the results folder again.")
    return Record(
        **{**header, "metrics": tuple(header["metrics"])},
        samples=tuple(SampleRecord(**{**s, "references": tuple(s["references"])}) for s in samples),
    )
