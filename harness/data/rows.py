"""Rows of a JSON Lines file, each made into what its reader works with; all that is wrong with them is said at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import TypeVar

from harness.data.columns import Row, require_characters
from harness.errors import HarnessError
from harness.files import iter_jsonl

T = TypeVar("T")
_SHOWN = 5


def read_rows(
    path: Path, parse: Callable[[Row], T], remedy: str, *, limit: int | None = None, allow_nan: bool = False
) -> list[T]:
    """What ``parse`` makes of each row of a file.

    Args:
        path: JSON Lines file.
        parse: Raises a ValueError that says what is wrong with a row.
        remedy: What each row needs.
        limit: Read only the first rows.
        allow_nan: See `harness.files.iter_jsonl`.

    Raises:
        HarnessError: If the file cannot be read or holds no row, or naming the first rows that are wrong.
    """
    return parse_rows(islice(iter_jsonl(path, allow_nan=allow_nan), limit), str(path), parse, remedy)


def parse_rows(rows: Iterable[Row], source: str, parse: Callable[[Row], T], remedy: str) -> list[T]:
    """The same for rows from anywhere.

    Args:
        rows: Numbered from 1 in errors.
        source: Where they are from, for errors.
        parse: See `read_rows`.
        remedy: See `read_rows`.

    Raises:
        HarnessError: See `read_rows`.
    """
    found, problems = [], []
    for number, row in enumerate(rows, start=1):
        try:
            require_characters(json.dumps(row, ensure_ascii=False, default=str))
            found.append(parse(row))
        except ValueError as error:
            problems.append(f"{source}, row {number}: {error}")
    more = len(problems) - _SHOWN
    HarnessError.raise_for([*problems[:_SHOWN], *([f"and {more} more rows"] if more > 0 else [])], remedy)
    if not found:
        raise HarnessError(f"{source}: holds no rows", "Give a file with at least one row.")
    return found
