"""The documents behind records: sources and references, stored once for all models that were given them.

One JSON Lines file for each set of documents, ``<task>/documents-<SHA-256 of its bytes>.jsonl``, beside the records that name it.
A board is verified without it; the page's sample browser reads it, and `harness verify --deep` scores its texts again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.files import canonical_json, sha256_bytes, write_atomic
from harness.records.reading import checked_lines
from harness.records.record import Header, slug


@dataclass(frozen=True, kw_only=True)
class Document:
    """One document of a task."""

    doc_id: int
    source: str
    """What a response must be faithful to; empty for a closed-book question and for a task that is not ours."""
    references: tuple[str, ...]


def encode_documents(documents: Iterable[Document]) -> bytes:
    """The bytes of a documents file."""
    return "".join(canonical_json(vars(document)) + "\n" for document in documents).encode()


def save_documents(documents: Iterable[Document], task: str, folder: Path) -> Path:
    """Write documents under their content-addressed name; writing them again changes nothing."""
    data = encode_documents(documents)
    path = folder / slug(task) / f"documents-{sha256_bytes(data)}.jsonl"
    if not path.exists():
        write_atomic(path, data)
    return path


def documents_path(record: Header, record_path: Path) -> Path | None:
    """Where a record's documents stand, if they were kept; None for a record without documents."""
    return None if record.documents is None else record_path.parent / f"documents-{record.documents}.jsonl"


def load_documents(record: Header, record_path: Path) -> dict[int, Document] | None:
    """The documents of a record by ``doc_id``; None where they were not kept.

    Raises:
        HarnessError: If the file was edited, or holds a document twice.
    """
    path = documents_path(record, record_path)
    if path is None or not path.is_file():
        return None
    return documents_of(checked_lines(path, "documents file"), path)


def documents_of(lines: Iterable[Mapping[str, Any]], path: Path) -> dict[int, Document]:
    """The documents on the lines of a file, by ``doc_id``.

    Raises:
        HarnessError: If a line is no document, or one stands twice.
    """
    found: dict[int, Document] = {}
    for number, fields in enumerate(lines, start=1):
        if not _is_document(fields) or fields["doc_id"] in found:
            what = (
                "a document that occurs twice" if _is_document(fields) else "no doc_id, source and references"
            )
            raise HarnessError(f"{path}, line {number}: {what}", "Import the results again.")
        found[fields["doc_id"]] = Document(**{**fields, "references": tuple(fields["references"])})
    return found


def _is_document(fields: Mapping[str, Any]) -> bool:
    return (
        fields.keys() == {"doc_id", "source", "references"}
        and type(fields["doc_id"]) is int
        and isinstance(fields["source"], str)
        and isinstance(fields["references"], list)
        and all(isinstance(text, str) for text in fields["references"])
    )
