"""One file is the data of one data set: a folder that holds XSUM alone must not be scored as CNN/DailyMail as well.

Columns cannot tell them apart: both are articles with summaries, and people rename columns. So no two tasks of different data
sets may read the same file in one run. ``harness eval`` says so before a model is loaded; under stock ``lm_eval`` our tasks do
when they are handed the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

from harness.data.documents import LOCAL
from harness.errors import HarnessError

_Read = dict[str, tuple[str, str, str]]
"""SHA-256 of a file -> the data set it was read as, the task, and the file's name."""
_read_for: WeakKeyDictionary[Any, _Read] = WeakKeyDictionary()


def require_own_files(tasks: Iterable[Any]) -> None:
    """Refuse tasks of different data sets that read the same file. Tasks of one's own data (`LOCAL`) may read any.

    Args:
        tasks: lm-eval's; those that are not ours are passed over.

    Raises:
        HarnessError: Naming both tasks and the file, for each such pair.
    """
    _require(tasks, {})


def require_own_file(task: Any, lm: Any) -> None:
    """The same for one task, beside those that were asked before of the same model; errors as in `require_own_files`."""
    _require([task], _read_for.setdefault(lm, {}))


def _require(tasks: Iterable[Any], read: _Read) -> None:
    problems = []
    for task in tasks:
        documents = getattr(task, "documents", None)
        if documents is None or documents.file_sha256 is None or task.options.data.path == LOCAL:
            continue
        name, data_set = str(task.config.task), task.options.data.path
        first = read.setdefault(documents.file_sha256, (data_set, name, documents.source))
        if first[0] != data_set:
            problems.append(
                f"{name} ({data_set}) and {first[1]} ({first[0]}) would both be scored on {documents.source}"
            )
    HarnessError.raise_for(
        problems,
        "Name each task's data after it (PATH/TASK.jsonl, or a folder PATH/TASK), or name the one task that the data are of: "
        "--tasks TASK.",
    )
