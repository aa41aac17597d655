"""Rows from files, as plain dictionaries: jsonl, json, csv, parquet and `datasets` folders.

A folder may hold more than the wanted data. The file that is read is found by what is in it (the fields the task needs),
then by the split's name; where that leaves a choice, the choice is the user's.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness.data.columns import Row
from harness.errors import HarnessError
from harness.files import iter_jsonl, parse_json, sha256_bytes, sha256_file


def read_local(path: Path, *, split: str, missing: Callable[[Row], list[str]]) -> tuple[list[Row], str, str]:
    """Read the rows of a file, or of the fitting file in a folder.

    Args:
        path: A file, a folder of files, or a folder written by ``datasets.save_to_disk``.
        split: Name of the wanted split, such as ``test``.
        missing: The fields that the task needs and a row lacks; decides between the files of a folder.

    Returns:
        The rows, the name of what was read (without its folder), and its SHA-256.

    Raises:
        HarnessError: If nothing can be read, or several files fit.
    """
    if not path.exists():
        raise HarnessError(f"no data at {path}", "Give data_dir the path of a file or folder that exists.")
    if path.is_file():
        return list(file_rows(path)), path.name, sha256_file(path)
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return _saved_dataset(path, split)
    files = _fitting_files(path, split, missing)
    rows = [row for file in files for row in file_rows(file)]
    digest = (
        sha256_file(files[0]) if len(files) == 1 else sha256_bytes("".join(map(sha256_file, files)).encode())
    )
    return rows, "+".join(file.name for file in files), digest


def _fitting_files(folder: Path, split: str, missing: Callable[[Row], list[str]]) -> list[Path]:
    candidates = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix.lower() in _READERS)
    lacking = {file: _lacking(file, missing) for file in candidates}
    fitting = [file for file in candidates if not lacking[file]]
    named = [file for file in fitting if split in file.stem.lower()]
    chosen = named or fitting
    if not chosen:
        listed = [f"{file.name} lacks {', '.join(lacking[file])}" for file in candidates[:8]]
        raise HarnessError(
            f"{folder}: no file holds what the task needs: {'; '.join(listed) or 'there are no data files'}",
            "Point data_dir at the right file, or name its columns: --metadata source_field=NAME reference_field=NAME.",
        )
    if len(chosen) > 1 and not _are_shards(chosen):
        raise HarnessError(
            f"{folder}: several files fit: {', '.join(p.name for p in chosen[:8])}",
            "Point data_dir at one of them.",
        )
    return chosen


def _lacking(file: Path, missing: Callable[[Row], list[str]]) -> list[str]:
    """The fields that the file's first row lacks; that it cannot be read counts as one."""
    try:
        first = next(file_rows(file), None)
    except HarnessError:
        return ["rows that can be read"]
    return ["rows"] if first is None else missing(first)


def _are_shards(files: list[Path]) -> bool:
    """Whether the names differ only in a shard number, as ``test-00000-of-00003.parquet`` does."""
    return len({"".join("#" if c.isdigit() else c for c in file.name) for file in files}) == 1 and all(
        "-of-" in file.name for file in files
    )


def file_rows(path: Path) -> Iterator[Row]:
    """The rows of one file.

    Raises:
        HarnessError: If its kind is unknown, or it cannot be read.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise HarnessError(f"{path}: unknown kind of file", f"Convert it to one of: {', '.join(_READERS)}.")
    try:
        yield from reader(path)
    except (
        OSError,
        ValueError,
        RecursionError,
        csv.Error,
    ) as error:  # JSONDecodeError, UnicodeDecodeError and ArrowInvalid are ValueErrors
        raise HarnessError(
            f"{path}: cannot be read: {error}", f"It must be a valid {path.suffix} file."
        ) from error


def _read_json(path: Path) -> Iterator[Row]:
    """A list of objects, or an object of objects, whose keys become the rows' ``id``."""
    content = parse_json(path.read_text(encoding="utf-8-sig"))
    if isinstance(content, dict) and content and all(isinstance(row, dict) for row in content.values()):
        content = [{"id": key, **row} for key, row in content.items()]
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise ValueError("expected a list of objects, or an object of objects")
    yield from content


def _read_csv(path: Path) -> Iterator[Row]:
    csv.field_size_limit(2**30)  # the default, 128 KiB, is less than a long article
    with open(path, encoding="utf-8-sig", newline="") as file:
        header, *rows = _cells(csv.reader(file, strict=True)) or [[]]
    problems = [f"column {name!r} stands twice" for name in dict.fromkeys(header) if header.count(name) > 1]
    problems += [
        f"row {number}: {len(cells)} cells for {len(header)} columns"
        for number, cells in enumerate(rows, start=1)
        if len(cells) != len(header)
    ]
    if problems:
        raise ValueError("; ".join(problems[:5]))
    yield from (dict(zip(header, cells, strict=True)) for cells in rows)


def _cells(reader: Any) -> list[list[str]]:
    """The lines of a `csv.reader` that are not blank.

    Raises:
        ValueError: Naming the row that cannot be read. One whose quote is never closed would swallow all rows after it.
    """
    found: list[list[str]] = []
    while True:
        first_line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return found
        except csv.Error as error:
            where = f"row {len(found)}" if found else "the header"
            raise ValueError(
                f"{where}, which begins in line {first_line}: a quote is not closed, or not doubled inside of quotes ({error})"
            ) from error
        if cells:
            found.append(cells)


def _read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow.parquet

    for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=1000):
        yield from batch.to_pylist()


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": iter_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}


def _saved_dataset(path: Path, split: str) -> tuple[list[Row], str, str]:
    import datasets

    loaded = datasets.load_from_disk(str(path))
    if isinstance(loaded, datasets.DatasetDict):
        if split not in loaded:
            raise HarnessError(
                f"{path}: no split {split!r} (it has: {', '.join(loaded)})", "Save the split under that name."
            )
        loaded = loaded[split]
    files = sorted(Path(entry["filename"]) for entry in loaded.cache_files)
    return list(loaded), path.name, sha256_bytes("".join(map(sha256_file, files)).encode())
