"""The documents behind records: sources and references, stored once for all models that were given them.

One JSON Lines file for each set of documents, ``<task>/documents-<first 12 hex digits of the SHA-256 of its bytes>.jsonl``,
beside the records that name it. A board is verified without it; the page's sample browser reads it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.files import canonical_json, sha256_bytes, write_atomic
from harness.records.record import Record, checked_lines, slug


@dataclass(frozen=True, kw_only=True)
class Document:
    """One document of a task."""

    doc_id: int
    source: str
    """What a response must be faithful to; empty for a closed-book question and for a task that is not ours."""
    references: tuple[str, ...]


def encode_documents(documents: Iterable[Document]) -> bytes:
    """The bytes of a documents file."""
    return "".join(canonical_json(asdict(document)) + "\n" for document in documents).encode()


def save_documents(documents: Iterable[Document], task: str, folder: Path) -> Path:
    """Write documents under their content-addressed name; writing them again changes nothing."""
    data = encode_documents(documents)
    path = folder / slug(task) / f"documents-{sha256_bytes(data)[:12]}.jsonl"
    if not path.exists():
        write_atomic(path, data)
    return path


def documents_path(record: Record, record_path: Path) -> Path:
    """Where a record's documents stand, if they were kept."""
    return record_path.parent / f"documents-{record.documents[:12]}.jsonl"


def load_documents(record: Record, record_path: Path) -> dict[int, Document] | None:
    """The documents of a record by ``doc_id``; None where they were not kept.

    Raises:
        HarnessError: If the file was edited.
    """
    path = documents_path(record, record_path)
    if not path.is_file():
        return None
    return {
        fields["doc_id"]: Document(**{**fields, "references": tuple(fields["references"])})
        for fields in checked_lines(path, "documents file")
    }
