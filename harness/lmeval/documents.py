"""Documents of a task: rows of any layout become one form, and every row that does not is reported.

A document has ``id``, ``references``, ``reference`` (the first of them) and the text fields that the task's YAML maps,
usually ``source``:

    metadata:
      fields:
        source: [article, document]       # the first of these columns that the data has
        references: [highlights, [summary1, summary2, summary3]]   # an inner list: all of these together

A dotted name reaches into a nested column (``context.contexts``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.files import canonical_json, sha256_bytes
from harness.lmeval.sources import Row, read_hub, read_local

Candidate = str | Sequence[str]
NEWS_WORLD = "newsworld"
LOCAL = "local"
_SHOWN = 5


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
    data_dir: str | None = None
    """A local file or folder to read in its place."""
    fields: Mapping[str, Sequence[Candidate]] = field(default_factory=dict)
    """Document field -> columns that may hold it."""
    separator: str | None = None
    """Splits a reference cell that is one string into several references."""
    sentence_marks: tuple[str, str] | None = None
    """Marks around each sentence, such as ``<t>`` and ``</t>``; sentences then get their own lines."""
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
    """Of the documents after mapping, so that the same data from the hub and from a file have the same hash."""
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
    digest = sha256_bytes("\n".join(map(canonical_json, documents)).encode())
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
        needed = [name for name in spec.fields if name != "id"]

        def suits(row: Row) -> bool:
            return all(_find(row, spec.fields[name]) is not None for name in needed)

        rows, name, digest = read_local(Path(spec.data_dir).expanduser(), split=spec.split, suits=suits)
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
    rows = read_hub(spec.path, spec.name, split=spec.split, revision=spec.revision)
    where = (
        spec.path + (f"/{spec.name}" if spec.name else "") + (f"@{spec.revision}" if spec.revision else "")
    )
    return rows, f"hub:{where}:{spec.split}", None


def _map_rows(rows: Iterable[Row], spec: DataSpec, source: str) -> tuple[list[dict[str, Any]], Counter[str]]:
    documents: list[dict[str, Any]] = []
    dropped: Counter[str] = Counter()
    problems: list[str] = []
    for number, row in enumerate(rows, start=1):
        missing = [name for name in spec.fields if name != "id" and _find(row, spec.fields[name]) is None]
        if missing:
            wanted = "; ".join(f"{name}: one of {_spell(spec.fields[name])}" for name in missing)
            problems.append(f"{source}, row {number}: no field for {wanted} (it has: {', '.join(row)})")
            continue
        document = _document(row, number, spec)
        empty = [name for name, value in document.items() if not value]
        if empty:
            dropped[f"empty {empty[0]}"] += 1
        else:
            documents.append(document)
    if problems:
        shown = "\n  - ".join([f"{len(problems)} rows lack a field; the first:", *problems[:_SHOWN]])
        remedy = "Rename the column, or name it: --metadata source_field=NAME reference_field=NAME."
        raise HarnessError(problems[0] if len(problems) == 1 else shown, remedy)
    return documents, dropped


def _document(row: Row, number: int, spec: DataSpec) -> dict[str, Any]:
    identifier = _find(row, spec.fields.get("id", ("id",)))
    document: dict[str, Any] = {"id": str(number if identifier is None else identifier)}
    for name, candidates in spec.fields.items():
        if name not in ("id", "references"):
            document[name] = _clean(as_text(_find(row, candidates)), spec)
    references = _as_references(_find(row, spec.fields["references"]), spec.separator)
    document["references"] = [text for reference in references if (text := _clean(reference, spec))]
    document["reference"] = document["references"][0] if document["references"] else ""
    return document


def _find(row: Row, candidates: Sequence[Candidate]) -> Any:
    """The value of the first candidate that the row has; None if it has none."""
    for candidate in candidates:
        if isinstance(candidate, str):
            value = _reach(row, candidate)
        else:
            values = [value for name in candidate if (value := _reach(row, name)) is not None]
            value = values or None
        if value is not None:
            return value
    return None


def _reach(row: Row, path: str) -> Any:
    if path in row:
        return row[path]
    value: Any = row
    for step in path.split("."):
        if not isinstance(value, Mapping) or step not in value:
            return None
        value = value[step]
    return value


def as_text(value: Any) -> str:
    """One text of a cell: a string, a list of paragraphs, or titled paragraphs in either of HotpotQA's two layouts."""
    if isinstance(value, Mapping) and {"title", "sentences"} <= value.keys():
        value = list(zip(value["title"], value["sentences"], strict=True))
    if isinstance(value, list | tuple):
        return "\n".join(_paragraph(item) for item in value)
    return str(value)


def _paragraph(item: Any) -> str:
    if isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[1], list | tuple):
        title, sentences = item
        return f"{title}: {''.join(sentences).strip()}"
    return as_text(item)


def _as_references(value: Any, separator: str | None) -> list[str]:
    if isinstance(value, list | tuple):
        return [as_text(item) for item in value]
    text = as_text(value)
    return text.split(separator) if separator else [text]


def _clean(text: str, spec: DataSpec) -> str:
    if spec.sentence_marks and spec.sentence_marks[0] in text:
        start, end = map(re.escape, spec.sentence_marks)
        sentences = re.findall(rf"{start}(.*?){end}", text, re.DOTALL)
        text = "\n".join(sentence.strip() for sentence in sentences)
    return text.strip()


def _spell(candidates: Sequence[Candidate]) -> str:
    return ", ".join(c if isinstance(c, str) else "+".join(c) for c in candidates)
