"""The records behind a board, read and checked, several at a time where there are many."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from threadpoolctl import threadpool_limits
from tqdm import tqdm

from harness.errors import HarnessError
from harness.records.check import problems
from harness.records.documents import Document, documents_path, load_documents
from harness.records.reading import load_scored
from harness.records.record import Header, Scored

_WORTH_PROCESSES = 64 << 20
"""Bytes of records from which a second process pays for its start."""


def load_rows(paths: Sequence[Path], keys: frozenset[str] | None = None, *, workers: int = 1) -> list[Scored]:
    """Read records, and check each against its own samples and documents.

    Args:
        paths: Of the records.
        keys: Scores to keep, by default all; the others are checked and dropped, so that many records fit in memory.
        workers: Processes to read with, where the records are large.

    Raises:
        HarnessError: If one is missing, damaged or edited, or states what does not follow from it; all problems at once.
    """
    size = sum(path.stat().st_size for path in paths if path.is_file())
    read = partial(_read, keys=keys)
    if workers > 1 and size > _WORTH_PROCESSES:
        # one thread each: two processes whose BLAS takes all cores wait for each other
        limits = partial(threadpool_limits, 1)
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=limits) as pool:
            results = list(tqdm(pool.map(read, paths), total=len(paths), desc="records", disable=None))
    else:
        results = [read(path) for path in paths]
    found = [result for result in results if isinstance(result, Scored)]
    wrong = [problem for result in results if isinstance(result, HarnessError) for problem in [result]]
    if len(wrong) == 1:
        raise wrong[0]
    HarnessError.raise_for([error.problem for error in wrong], wrong[0].remedy if wrong else "")
    return found


def _read(path: Path, keys: frozenset[str] | None) -> Scored | HarnessError:
    try:
        record = load_scored(path)
        wrong = problems(record, _documents(record, path))
        HarnessError.raise_for(
            [f"{path}: {problem}" for problem in wrong], "Restore the files, or run the evaluation again."
        )
    except HarnessError as error:
        return error
    if keys is None:
        return record
    return replace(
        record,
        values={key: column for key, column in record.values.items() if key in keys},
        statistics={key: table for key, table in record.statistics.items() if key in keys},
    )


def _documents(record: Header, path: Path) -> dict[int, Document] | None:
    """Read once for all models that were given them."""
    file = documents_path(record, path)
    return _cached(file, record, path) if file is not None and file.is_file() else None


class _Last:
    """The documents read last: the records of one task come one after the other."""

    path: Path | None = None
    documents: dict[int, Document] | None = None


def _cached(file: Path, record: Header, path: Path) -> dict[int, Document] | None:
    if _Last.path != file:
        _Last.documents, _Last.path = load_documents(record, path), file
    return _Last.documents
