"""A task's documents: from the hub, from a local folder or file, or from the news world.

Whatever they come from, documents have the columns ``id``, ``source`` and ``references``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from harness.errors import HarnessError
from harness.files import canonical_json, iter_jsonl

NEWSWORLD = "newsworld"
_MAX_REPORTED = 10


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where documents come from and which columns hold what; the first column that a row has is taken."""

    path: str
    """Data set on the hub, or ``newsworld``."""
    name: str | None = None
    """Configuration of the hub data set."""
    split: str = "test"
    revision: str | None = None
    """Commit of the hub data set."""
    local: str | None = None
    """Folder or file to read instead of the hub."""
    source: Sequence[str] = ("source",)
    """Columns that may hold the text to be faithful to."""
    references: Sequence[str] = ("references", "reference")
    """Columns that may hold a reference, or a list of them."""
    sentence_mark: str | None = None
    """Mark around sentences in the references, removed ("<t>" in some copies of CNN/DailyMail)."""
    n_documents: int = 1000
    """News world only: number of stories."""
    seed: int = 0
    """News world only: which stories."""


@dataclass(frozen=True)
class Documents:
    """Documents and the account of how they were read."""

    dataset: datasets.Dataset
    account: Mapping[str, Any]
    """``data_source``, ``data_sha256`` over the documents, ``rows_read``, ``rows_dropped`` (repeated documents)."""


def load(origin: Origin) -> Documents:
    """Read documents.

    Raises:
        HarnessError: If the source is missing or empty, or rows lack a column; it names the first rows at fault.
    """
    if origin.local:
        source = f"local:{Path(origin.local).name}"
        rows = list(_local_rows(Path(origin.local), origin.split))
    elif origin.path == NEWSWORLD:
        source = f"newsworld:{origin.split}?n={origin.n_documents}&seed={origin.seed}"
        rows = list(_newsworld_rows(origin))
    else:
        source = f"hub:{origin.path}@{origin.revision or 'main'}:{origin.name}:{origin.split}"
        rows = list(_hub_rows(origin))
    documents = _map_columns(rows, origin, source)
    # A copy that lists each document once per system (REALSumm's) is the same set of documents
    distinct = list({canonical_json([d["source"], d["references"]]): d for d in documents}.values())
    digest = hashlib.sha256(canonical_json(distinct).encode()).hexdigest()
    account = {
        "data_source": source,
        "data_sha256": digest,
        "rows_read": len(rows),
        "rows_dropped": len(rows) - len(distinct),
    }
    return Documents(datasets.Dataset.from_list(distinct), account)


def _newsworld_rows(origin: Origin) -> Iterator[Mapping[str, Any]]:
    from harness import newsworld

    for row in newsworld.rows(origin.split, origin.n_documents, seed=origin.seed):
        yield {"id": row["id"], "source": row["article"], "references": row["references"]}


def _local_rows(path: Path, split: str) -> Iterator[Mapping[str, Any]]:
    if not path.exists():
        raise HarnessError(
            f"{path}: no such file or folder", "Give data_dir the path of a data file or folder."
        )
    if path.is_file() and path.suffix == ".jsonl":
        yield from iter_jsonl(path)
        return
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else []
    if len(files) == 1:
        yield from iter_jsonl(files[0])
        return
    try:
        if path.is_dir() and (path / "dataset_info.json").is_file():
            loaded = datasets.load_from_disk(str(path))
        elif path.is_dir():
            loaded = datasets.load_dataset(str(path))
        else:
            kind = {".json": "json", ".csv": "csv", ".parquet": "parquet"}[path.suffix]
            loaded = datasets.load_dataset(kind, data_files=str(path))
    except (KeyError, ValueError, FileNotFoundError, datasets.exceptions.DatasetGenerationError) as error:
        raise HarnessError(
            f"{path}: cannot be read as data ({str(error).splitlines()[0]})",
            "Give a jsonl, json, csv or parquet file, a folder with one of them, or a folder by save_to_disk.",
        ) from error
    if isinstance(loaded, datasets.DatasetDict):
        loaded = loaded[split] if split in loaded else next(iter(loaded.values()))
    yield from loaded


def _hub_rows(origin: Origin) -> Iterator[Mapping[str, Any]]:
    try:
        yield from datasets.load_dataset(
            origin.path, origin.name, split=origin.split, revision=origin.revision
        )
    except (ConnectionError, OSError, datasets.exceptions.DatasetNotFoundError) as error:
        raise HarnessError(
            f"{origin.path}: not to be had from the hub ({str(error).splitlines()[0]})",
            'Give a local copy: --metadata \'{"data_dir": "PATH"}\' (jsonl, json, csv, parquet or save_to_disk).',
        ) from error


def _map_columns(rows: list[Mapping[str, Any]], origin: Origin, source: str) -> list[dict[str, Any]]:
    if not rows:
        raise HarnessError(f"{source}: holds no rows", "Give data with at least one row.")
    problems: list[str] = []
    documents = []
    for number, row in enumerate(rows, start=1):
        text = _first_text(row, origin.source)
        references = _references(row, origin)
        if text is None:
            problems.append(f"{source}, row {number}: no text in {' or '.join(origin.source)}")
        if not references:
            problems.append(f"{source}, row {number}: no text in {' or '.join(origin.references)}")
        if len(problems) >= _MAX_REPORTED:
            break
        identity = row.get("id", row.get("doc_id", number - 1))
        documents.append({"id": str(identity), "source": text, "references": references})
    HarnessError.raise_for(
        problems, f"Each row needs a source and a reference; this one has: {', '.join(rows[0])}."
    )
    return documents


def _first_text(row: Mapping[str, Any], columns: Sequence[str]) -> str | None:
    found = (row.get(column) for column in columns)
    return next((text for text in found if isinstance(text, str) and text.strip()), None)


def _references(row: Mapping[str, Any], origin: Origin) -> list[str]:
    for column in origin.references:
        value = row.get(column)
        texts = [value] if isinstance(value, str) else list(value) if isinstance(value, list) else []
        cleaned = [
            _clean(text, origin.sentence_mark) for text in texts if isinstance(text, str) and text.strip()
        ]
        if cleaned:
            return cleaned
    return []


def _clean(text: str, mark: str | None) -> str:
    """The text, with sentence marks turned into line ends."""
    if not mark:
        return text.strip()
    closing = mark.replace("<", "</")
    sentences = (part.replace(mark, "").strip() for part in text.split(closing))
    return "\n".join(sentence for sentence in sentences if sentence)
