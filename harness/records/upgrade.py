"""Records of version 2, turned into those of version 3 beside their boards.

Version 2 had names with 12 digits of the hash, which two files can be made to share, numbers with every digit of the machine that
computed them, and rows on boards under another name than the record's. What is converted is first held against its old name and its
old headlines: an upgrade changes how a record is written, and nothing that it says.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.files import sha256_bytes, write_atomic
from harness.records.check import wrong_samples, wrong_settings
from harness.records.documents import Document, documents_of
from harness.records.lm_eval_headlines import counts_of, recomputed
from harness.records.reading import canonical_lines, decode, load_record, sample_of
from harness.records.record import Record, SampleRecord, encode, record_path, scored
from harness.stats.rounding import rounded

_OLD_VERSION = 2
_OLD_NAME = re.compile(r"-([0-9a-f]{12})$")
_RESTORE = "Restore the files from version control, then run the command again; nothing was changed."


@dataclass(frozen=True, kw_only=True)
class Upgraded:
    """What an upgrade did."""

    files: list[tuple[Path, Path]]
    """Former and new name of each record and documents file."""
    specs: list[Path]
    """Board specifications that name the new files; their boards are to be published again."""


@dataclass(frozen=True)
class _Old:
    """A file of version 2."""

    path: Path
    data: bytes
    lines: list[dict[str, Any]]

    @property
    def is_record(self) -> bool:
        return "record" in self.lines[0]


def upgrade(folder: Path) -> Upgraded:
    """Convert all records below a folder, and the board specifications in it that name them.

    A row's label becomes its record's model name, since boards show no other. Former files go only after all new ones are written;
    where nothing is left to convert, nothing is done.

    Raises:
        HarnessError: If a file is damaged, or is said to be what it is not; all problems at once, and nothing is changed.
    """
    if not folder.is_dir():
        raise HarnessError(
            f"{folder}: no such folder", "Give the folder that holds the board and its records."
        )
    old, problems = _read_all(folder)
    specs = _read_specs(folder)
    labels = _labels(specs)
    problems += [f"{path}: is on a board, and missing" for path in labels if not path.is_file()]
    problems += [
        f"{path}: is called {' and '.join(map(repr, sorted(names)))} by boards; it can have one name"
        for path, names in labels.items()
        if len(names) > 1
    ]
    HarnessError.raise_for(problems, _RESTORE)
    files: dict[Path, tuple[Path, bytes]] = {}
    for file in old:
        try:
            names = labels.get(file.path.resolve())
            files[file.path] = _converted(file, old, next(iter(names)) if names else None)
        except HarnessError as error:
            problems.append(error.problem)
    HarnessError.raise_for(problems, _RESTORE)
    for target, data in files.values():
        if not target.exists():
            write_atomic(target, data)
    moved = {path.resolve(): target for path, (target, _) in files.items()}
    changed = [path for path, spec in specs.items() if _write_spec(path, spec, moved)]
    for path in files:
        path.unlink()
    return Upgraded(files=[(path, target) for path, (target, _) in files.items()], specs=changed)


def _read_all(folder: Path) -> tuple[list[_Old], list[str]]:
    """Every file of version 2 below a folder, and what is wrong with those that are damaged."""
    found, problems = [], []
    for path in sorted(folder.rglob("*.jsonl")):
        if not (digits := _OLD_NAME.search(path.stem)):
            continue
        data = path.read_bytes()
        try:
            if not sha256_bytes(data).startswith(digits[1]):
                raise HarnessError(f"{path}: the content does not match the name", _RESTORE)
            file = _Old(path, data, canonical_lines(data, path, "record"))
            if file.is_record and file.lines[0]["record"] != _OLD_VERSION:
                raise HarnessError(
                    f"{path}: of version {file.lines[0]['record']!r}, not {_OLD_VERSION}", _RESTORE
                )
            found.append(file)
        except HarnessError as error:
            problems.append(error.problem)
    return found, problems


def _read_specs(folder: Path) -> dict[Path, dict[str, Any]]:
    """The board specifications in a folder; other JSON files there are left alone."""
    specs = {}
    for path in sorted(folder.glob("*.json")):
        try:
            content = json.loads(path.read_text("utf-8"))
        except (ValueError, RecursionError):
            continue
        if isinstance(content, dict) and isinstance(content.get("rows"), list) and "columns" in content:
            rows = content["rows"]
            if all(isinstance(row, dict) and {"label", "record"} <= row.keys() for row in rows):
                specs[path] = content
    return specs


def _labels(specs: Mapping[Path, Mapping[str, Any]]) -> dict[Path, set[str]]:
    """What boards call each record of version 2."""
    labels: defaultdict[Path, set[str]] = defaultdict(set)
    for path, spec in specs.items():
        for row in spec["rows"]:
            record = (path.parent / str(row["record"])).resolve()
            if _OLD_NAME.search(record.stem):
                labels[record].add(str(row["label"]))
    return dict(labels)


def _converted(file: _Old, others: Sequence[_Old], label: str | None) -> tuple[Path, bytes]:
    """New path and content of a file."""
    if not file.is_record:
        documents_of(file.lines, file.path)
        return file.path.with_name(f"documents-{sha256_bytes(file.data)}.jsonl"), file.data
    header = file.lines[0]
    documents = next(
        (
            documents_of(other.lines, other.path)
            for other in others
            if other.path.parent == file.path.parent and sha256_bytes(other.data) == header.get("documents")
        ),
        None,
    )
    try:
        record = decode(encode(_record(file, label)), file.path)  # every field of its type
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise HarnessError(
            f"{file.path}: not a record of version {_OLD_VERSION} ({error})", _RESTORE
        ) from error
    record = _checked(record, documents, file.path)
    if label is None and (twin := _already_converted(record, file.path.parent)) is not None:
        return twin, twin.read_bytes()
    data = encode(record)
    return file.path.parent / record_path(record, data).name, data


def _record(file: _Old, label: str | None) -> Record:
    """The record as version 3 writes it, with the headlines that it stated."""
    header = {name: value for name, value in file.lines[0].items() if name != "record"}
    samples = tuple(_rounded(sample_of(row)) for row in file.lines[1:])
    return Record(
        **{
            **header,
            "model": label or header["model"],
            "metrics": tuple(header["metrics"]),
            "counts": counts_of(header["counts"], len(samples)),
            "samples": samples,
        }
    )


def _rounded(sample: SampleRecord) -> SampleRecord:
    return replace(
        sample,
        scores={key: rounded(score) for key, score in sample.scores.items()},
        statistics={key: tuple(map(rounded, counts)) for key, counts in sample.statistics.items()},
    )


def _checked(draft: Record, documents: Mapping[int, Document] | None, path: Path) -> Record:
    """The record with headlines computed again, which must be those it stated, as far as they were rounded.

    Raises:
        HarnessError: Naming whatever differs or cannot be true.
    """
    columns = scored(draft)
    problems = wrong_settings(columns)
    if not problems:
        scores, problems = recomputed(columns)
        columns, draft = replace(columns, scores=scores), replace(draft, scores=scores)
    problems += wrong_samples(columns, documents)
    HarnessError.raise_for([f"{path}: {problem}" for problem in problems], _RESTORE)
    return draft


def _already_converted(record: Record, folder: Path) -> Path | None:
    """The record of version 3 that an interrupted upgrade made of this one, under the name that a board gave it."""
    for path in sorted(folder.glob("*.jsonl")):
        if re.search("-[0-9a-f]{64}$", path.stem) and not path.stem.startswith("documents-"):
            other = load_record(path)
            if encode(replace(other, model=record.model)) == encode(record):
                return path
    return None


def _write_spec(path: Path, spec: Mapping[str, Any], moved: Mapping[Path, Path]) -> bool:
    """Name the new records in a specification; whether there was one to name."""
    rows, changed = [], False
    for row in spec["rows"]:
        target = moved.get((path.parent / str(row["record"])).resolve())
        if target is not None:
            row = {**row, "record": target.resolve().relative_to(path.parent.resolve()).as_posix()}
            changed = True
        rows.append(row)
    if changed:
        write_atomic(path, json.dumps({**spec, "rows": rows}, indent=2, ensure_ascii=False) + "\n")
    return changed
