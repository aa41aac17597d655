"""Documents of a task: rows of any layout become one form, and every row that does not is reported.

A document has ``id``, ``references``, ``reference`` (the first of them) and the text fields that the task's YAML maps,
usually ``source``; `harness.data.columns` says how a field is mapped. Where documents have a source, they may all lack references.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.data.columns import (
    Candidate,
    Row,
    as_references,
    as_text,
    find,
    require_characters,
    spell,
    strip_marks,
)
from harness.data.hub import read_hub
from harness.data.sources import read_local
from harness.errors import HarnessError
from harness.files import canonical_json, sha256_bytes

log = logging.getLogger(__name__)

NEWS_WORLD = "newsworld"
LOCAL = "local"
PROMPT = "prompt"
"""The field of a document that brings its own prompt."""
_SHOWN = 5
_REFERENCES = frozenset({"references", "reference"})


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Where a task's rows come from and how they become documents; the data part of a task's YAML."""

    path: str
    """Data set on the hub, ``newsworld`` for the embedded generator, or ``local`` for the user's own file alone."""
    name: str | None = None
    """Its configuration."""
    revision: str | None = None
    """Its pinned commit."""
    split: str = "test"
    fewshot_split: str | None = None
    """The split that few-shot examples are from; None: all documents are evaluated."""
    fewshot_data: str | None = None
    """A local file or folder to read them from in its place."""
    data_dir: str | None = None
    """A local file or folder to read in its place."""
    fields: Mapping[str, Sequence[Candidate]] = field(default_factory=dict)
    """Document field -> columns that may hold it."""
    references_named: bool = False
    """Whether the user named the column of the references, so that they may not be missing."""
    separator: str | None = None
    """Splits a reference cell that is one string into several references."""
    sentence_marks: tuple[str, str] | None = None
    """Marks around each sentence, such as ``<t>`` and ``</t>``; sentences then get their own lines."""
    merge: bool = False
    """Rows that differ in the reference alone are one document."""
    n_documents: int = 1000
    """Size of the generated news-world data."""
    seed: int = 0
    """Seed of the generated news-world data."""


@dataclass(frozen=True, kw_only=True)
class Documents:
    """The documents of a task and their provenance."""

    rows: list[dict[str, Any]]
    source: str
    """``hub:path/name@revision:split``, ``local:file name`` or ``newsworld:...``; never a path of this machine."""
    file_sha256: str | None
    """Of the local file, where there is one."""
    sha256: str
    """Of the documents' texts, so that the same data from the hub and from a file have the same hash."""
    rows_read: int
    dropped: dict[str, int]
    """Reason -> number of rows left out."""

    def provenance(self) -> dict[str, Any]:
        """What the results file says about the data."""
        return {
            "data_source": self.source,
            "data_sha256": self.sha256,
            "data_file_sha256": self.file_sha256,
            "rows_read": self.rows_read,
            "rows_dropped": self.dropped,
        }


def load(spec: DataSpec) -> Documents:
    """Read and map the documents of a task.

    Raises:
        HarnessError: If the data cannot be read, lacks a field, or holds no usable row. Up to five bad rows are named.
    """
    rows, source, file_sha256 = _read(spec)
    documents, dropped = _map_rows(rows, spec, source)
    if not documents:
        raise HarnessError(
            f"{source}: no usable document in {len(rows)} rows", "Give data with non-empty texts."
        )
    texts = ({name: value for name, value in document.items() if name != "id"} for document in documents)
    digest = sha256_bytes("\n".join(map(canonical_json, texts)).encode())
    return Documents(
        rows=documents,
        source=source,
        file_sha256=file_sha256,
        sha256=digest,
        rows_read=len(rows),
        dropped=dict(sorted(dropped.items())),
    )


def _read(spec: DataSpec) -> tuple[Sequence[Row], str, str | None]:
    if spec.data_dir:
        folder = Path(spec.data_dir).expanduser()
        rows, name, digest = read_local(folder, split=spec.split, missing=lambda row: _missing(row, spec))
        return rows, f"local:{name}", digest
    if spec.path == NEWS_WORLD:
        from harness.newsworld import rows as make_rows

        made = make_rows(spec.split, spec.n_documents, seed=spec.seed)
        return (
            [dict(row) for row in made],
            f"{NEWS_WORLD}:{spec.split}:n={spec.n_documents}:seed={spec.seed}",
            None,
        )
    if spec.path == LOCAL:
        raise HarnessError(
            "no data given", "Name the file: --metadata data_dir=FILE, or harness eval --data FILE."
        )
    rows, commit = read_hub(spec.path, spec.name, split=spec.split, revision=spec.revision)
    where = spec.path + (f"/{spec.name}" if spec.name else "")
    return rows, f"hub:{where}@{commit}:{spec.split}", None


def _map_rows(rows: Sequence[Row], spec: DataSpec, source: str) -> tuple[list[dict[str, Any]], Counter[str]]:
    documents: list[dict[str, Any]] = []
    dropped: Counter[str] = Counter()
    lacking: list[str] = []
    no_texts: list[str] = []
    referenced = _has_references(rows, spec)
    if not referenced:
        log.warning("%s: no row has a reference, so there are no scores of overlap with one", source)
        spec = replace(spec, fields={**spec.fields, "references": ()})
    optional = frozenset[str]() if referenced else _REFERENCES
    for number, row in enumerate(rows, start=1):
        if missing := _missing(row, spec, optional):
            lacking.append(
                f"{source}, row {number}: no field for {', '.join(missing)}; it has: {', '.join(row)}"
            )
            continue
        try:
            document = _document(row, number, spec)
        except ValueError as error:
            no_texts.append(f"{source}, row {number}: {error}")
            continue
        empty = [name for name, value in document.items() if not value and name not in optional]
        if empty:
            dropped[f"empty {empty[0]}"] += 1
        else:
            documents.append(document)
    kinds = (
        (
            lacking,
            "lack a field",
            "Rename the column, or name it: --metadata source_field=NAME reference_field=NAME.",
        ),
        (no_texts, "hold no text", "Write the value in quotes, or leave the row out."),
    )
    if found := [(_summed_up(problems, what), remedy) for problems, what, remedy in kinds if problems]:
        raise HarnessError(*map("\n".join, zip(*found, strict=True)))
    return (_merged(documents) if spec.merge else documents), dropped


def _summed_up(problems: Sequence[str], what: str) -> str:
    if len(problems) == 1:
        return problems[0]
    return "\n  - ".join([f"{len(problems)} rows {what}; the first:", *problems[:_SHOWN]])


def _has_references(rows: Sequence[Row], spec: DataSpec) -> bool:
    """Whether the data have references; without a source, or where their column was named, they must."""
    if "source" not in spec.fields or spec.references_named:
        return True
    found = (find(row, spec.fields["references"]) for row in rows)
    return any(_is_reference(cell, spec.separator) for cell in found if cell is not None)


def _is_reference(cell: Any, separator: str | None) -> bool:
    """Whether a cell is meant for a reference: also one that cannot be read, of which its row's error tells."""
    try:
        return any(as_references(cell, separator))
    except ValueError:
        return True


def _missing(row: Row, spec: DataSpec, optional: frozenset[str] = frozenset()) -> list[str]:
    """The fields that the row lacks, with the columns that may hold them."""
    wanted = [name for name in spec.fields if name != "id" and name not in optional]
    lacking = [name for name in wanted if find(row, spec.fields[name]) is None]
    return [f"{name} ({spell(spec.fields[name])})" for name in lacking]


def _document(row: Row, number: int, spec: DataSpec) -> dict[str, Any]:
    identifier = find(row, spec.fields.get("id", ("id",)))
    document: dict[str, Any] = {"id": str(number if identifier is None else identifier)}
    require_characters(document["id"])
    for name in spec.fields:
        if name == PROMPT:
            document[name] = _text(row, name, spec)  # to the letter: it may end in a space or a new line
        elif name not in ("id", "references"):
            document[name] = strip_marks(_text(row, name, spec), spec.sentence_marks)
    if document.get(PROMPT) and document.get("source") == "":  # a row without a text apart from its prompt
        document["source"] = document[PROMPT].strip()
    references = _references(row, spec)
    document["references"] = [
        text for reference in references if (text := strip_marks(reference, spec.sentence_marks))
    ]
    document["reference"] = document["references"][0] if document["references"] else ""
    return document


def _text(row: Row, name: str, spec: DataSpec) -> str:
    """The text of a field.

    Raises:
        ValueError: Naming the field, if it holds none.
    """
    try:
        return as_text(find(row, spec.fields[name]))
    except ValueError as error:
        raise ValueError(f"its {name} is {error}") from None


def _references(row: Row, spec: DataSpec) -> list[str]:
    """The references of a row; errors as in `_text`."""
    cell = find(row, spec.fields["references"])
    try:
        return [] if cell is None else as_references(cell, spec.separator)
    except ValueError as error:
        raise ValueError(f"its reference is {error}") from None


def _merged(documents: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Documents that differ in their references alone become one with all of them."""
    merged: dict[tuple[str, ...], dict[str, Any]] = {}
    for document in documents:
        texts = tuple(
            value for name, value in document.items() if name not in ("id", "reference", "references")
        )
        first = merged.setdefault(texts, document)
        first["references"] = list(dict.fromkeys([*first["references"], *document["references"]]))
    return list(merged.values())
