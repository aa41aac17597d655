"""Results of others, shown beside ours as they published them, and never measured here.

A file is JSON: ``title``, ``source`` (who and where), ``url``, ``accessed`` (date), ``how`` (a table, read off a chart, ...),
``columns``, ``rows`` (``label`` and ``values``, one for each column, null where there is none), ``notes``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, fields
from datetime import date
from pathlib import Path

from harness.errors import HarnessError


@dataclass(frozen=True, kw_only=True)
class CitedRow:
    """One row as published."""

    label: str
    values: list[float | str | None]


@dataclass(frozen=True, kw_only=True)
class CitedTable:
    """A table as published."""

    title: str
    source: str
    url: str
    accessed: str
    """ISO date."""
    how: str
    """How the numbers were taken from the source."""
    columns: list[str]
    rows: list[CitedRow]
    notes: list[str] = field(default_factory=list)


def read_cited(path: Path) -> CitedTable:
    """Read a file of cited results.

    Raises:
        HarnessError: If it is missing, lacks its source or date, or a row has another number of values than there are columns.
    """
    remedy = f"It needs: {', '.join(item.name for item in fields(CitedTable))}."
    if not path.is_file():
        raise HarnessError(f"{path}: no such file of cited results", remedy)
    try:
        content = json.loads(path.read_text("utf-8"))
        table = CitedTable(**{**content, "rows": [CitedRow(**row) for row in content["rows"]]})
        date.fromisoformat(table.accessed)
    except (ValueError, TypeError, KeyError) as error:
        raise HarnessError(f"{path}: not a file of cited results ({error})", remedy) from error
    problems = [
        f"{path}: {row.label!r} has {len(row.values)} values for {len(table.columns)} columns"
        for row in table.rows
        if len(row.values) != len(table.columns)
    ]
    if not re.fullmatch(r"https?://[^\s<>\"']+", table.url):
        problems.append(f"{path}: {table.url!r} is no web address")
    problems += [
        f"{path}: {name} is empty" for name in ("source", "url", "how") if not getattr(table, name).strip()
    ]
    HarnessError.raise_for(problems, remedy)
    return table
