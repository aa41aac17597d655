"""What the page's template is filled with: plain texts and lists. Every number in them is rounded, every link relative."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from harness.board.cited import CitedTable
from harness.board.columns import Column
from harness.board.table import Board, Row
from harness.board.units import UNITS
from harness.metrics.suite import ScoreSummary
from harness.records.verdict import fixed
from harness.stats import FEWEST_FOR_VERDICT

View = dict[str, Any]

KINDS = {
    "faithfulness": "Faithfulness",
    "overlap": "Overlap with references",
    "style": "Style",
    "answers": "Answers",
    "other": "Other scores",
}
BESIDE = "Answers, length and copying"
_ARROWS = {True: "↑", False: "↓", None: ""}
_MANY_ROWS = 20
"""Above this the table scrolls in its own box, under headings that stay."""


def one_line(text: str) -> str:
    """Text without line breaks."""
    return " ".join(text.split())


def header(board: Board) -> View:
    """What was evaluated, by which scores, and which models stand behind them."""
    measured = [column for column in board.columns if column.signature]
    return {
        "tasks": [
            {"name": task, "version": board.version(task), "documents": f"{board.documents(task):,}"}
            for task in board.tasks
        ],
        "kinds": [
            {"name": name, "scores": list(dict.fromkeys(c.key for c in measured if c.score.kind == kind))}
            for kind, name in KINDS.items()
            if any(column.score.kind == kind for column in measured)
        ],
        "readers": [
            {"kind": kind[:1].upper() + kind[1:], "names": list(names)}
            for kind, names in board.readers.items()
        ],
        "by_rule": board.by_rule_alone,
        "unfaithful": bool(board.rows) and not board.faithfulness,
        "only_chance": board.only_chance,
    }


def tables(board: Board) -> list[View]:
    """Models by scores; what stands beside the scores follows in the same table, or in its own for several tasks."""
    if not board.rows:
        return []
    if len(board.tasks) == 1:
        heads = [
            *_heads(board.columns, "kind"),
            *_counts(board.tasks[0], BESIDE),
            *_heads(board.beside, "kind"),
        ]
        return [_table(board, "results", "Results", heads)]
    answers = [
        head
        for task in board.tasks
        for head in (
            *_counts(task, task),
            *_heads([column for column in board.beside if column.task == task], "task"),
        )
    ]
    by_task = sorted(board.columns, key=lambda column: board.tasks.index(column.task))
    return [
        _table(board, "results", "Results", _heads(by_task, "task")),
        _table(board, "answers", BESIDE, answers),
    ]


def _heads(columns: Sequence[Column], by: str) -> list[View]:
    """A heading for each column, and how its cells are made."""
    return [
        {
            "group": column.task if by == "task" else _group(column),
            "name": column.name,
            "key": column.key,
            "unit": f"{UNITS[column.score.unit]} {_ARROWS[column.score.higher_is_better]}".strip(),
            "about": one_line(f"{column.score.title}. {column.signature or 'No row has it.'}"),
            "column": column,
        }
        for column in columns
    ]


def _group(column: Column) -> str:
    return BESIDE if column.score.kind in ("style", "answers") else KINDS[column.score.kind]


def _counts(task: str, group: str) -> list[View]:
    about = {"n": "documents", "failed": "documents without the first score"}
    return [
        {"group": group, "name": f"{task}/{key}", "key": key, "unit": "", "about": text, "count": task}
        for key, text in about.items()
    ]


def _table(board: Board, name: str, title: str, heads: Sequence[View]) -> View:
    groups = [(group, list(found)) for group, found in groupby(heads, key=lambda head: str(head["group"]))]
    ranked = name == "results"
    return {
        "id": name,
        "title": title,
        "ranked": ranked,
        "tall": len(board.rows) > _MANY_ROWS,
        "groups": [{"title": group, "span": len(found)} for group, found in groups],
        "starts": [position for _, found in groups for position in (True, *[False] * (len(found) - 1))],
        "heads": heads,
        "rows": [
            {
                "label": one_line(row.label),
                "kind": row.kind,
                "rank": row.rank,
                "footnotes": row.footnotes if ranked else (),
                "cells": [_cell(row, head) for head in heads],
            }
            for row in board.rows
        ],
    }


def _cell(row: Row, head: View) -> View:
    """What is shown, what it is sorted by, and its interval."""
    if "count" in head:
        entry = row.entries.get(head["count"])
        if entry is None:
            return {"shown": "–", "value": "", "interval": ""}
        number = entry.record.n if head["key"] == "n" else entry.failed
        return {"shown": f"{number:,}", "value": str(number), "interval": ""}
    column: Column = head["column"]
    score = row.scores[column.name]
    if score is None:
        return {"shown": "–", "value": "", "interval": ""}
    beside = column.score.kind in ("style", "answers")
    return {
        "shown": fixed(column.score.scale * score.value),
        "value": fixed(column.score.scale * score.value, 4),
        "interval": "" if beside else _interval(column, score),
    }


def _interval(column: Column, score: ScoreSummary) -> str:
    if score.low is None or score.high is None:
        return ""
    return f"{fixed(column.score.scale * score.low)}–{fixed(column.score.scale * score.high)}"


def legend(board: Board) -> list[str]:
    """How to read the tables, in sentences."""
    if not board.rows:
        return []
    found = ["Small numbers are 95% intervals.", "↑ higher is better, ↓ lower is better."]
    if any(row.rank for row in board.rows):
        counted = "; a failed document counts as the worst score there" if board.ranks_failures else ""
        found.append(
            f"Rows share a rank unless a paired test on {board.columns[0].name}, Holm-corrected over all pairs of rows, shows "
            f"a difference{counted}."
        )
        if not all(row.rank for row in board.rows):
            found.append("References are not ranked, nor is a row without that score.")
    else:
        found.append(
            f"No ranks: they need a score with a better direction and at least {FEWEST_FOR_VERDICT} documents."
        )
    if any(row.kind == "elsewhere" for row in board.rows):
        found.append("“Published elsewhere”: scores that others published, not measured here.")
    return found


def scores(board: Board) -> list[View]:
    """What each score is and how it is made."""
    return [
        {
            "name": column.name,
            "title": column.score.title,
            "kind": KINDS[column.score.kind],
            "unit": UNITS[column.score.unit],
            "direction": {True: "higher is better", False: "lower is better", None: "no better direction"}[
                column.score.higher_is_better
            ],
            "signature": column.signature,
        }
        for column in (*board.columns, *board.beside)
        if column.signature
    ]


def provenance(board: Board) -> list[View]:
    """Where each row comes from, one line for each task."""
    return [
        {
            "label": one_line(row.label),
            "task": f"{task} {entry.record.task_version}",
            **entry.origin,
            "record": entry.digest,
            "link": relative_link(entry.path),
        }
        for row in board.rows
        for task, entry in row.entries.items()
    ]


def relative_link(path: str) -> str:
    """A link to a file beside the page; empty where the path leads elsewhere. Percent-encoded, so it never has a scheme."""
    parts = PurePosixPath(path).parts
    return "" if not parts or parts[0] == "/" or parts[0] == "//" or ".." in parts else quote("/".join(parts))


def samples(data: View) -> list[str]:
    """What the sample browser holds, in sentences; empty without samples."""
    several = len(data["tasks"]) > 1
    found = [
        f"{task['name']}: {_which(task, data)}." if several else f"{_which(task, data)}."
        for task in data["tasks"]
    ]
    if found and len(data["rows"]) < data["models"]:
        found.append(f"Responses of {len(data['rows'])} of {data['models']} models.")
    return found


def _which(task: View, data: View) -> str:
    shown, total = len(task["documents"]), task["total"]
    if shown == total:
        return f"All {total:,} documents"
    if data["comparisons"]:
        return f"{shown:,} of {total:,} documents, those on which the first comparison differs first"
    return f"The first {shown:,} of {total:,} documents"


def cited(board: Board) -> list[View]:
    """Tables of others; their addresses are links only where they are of the web."""
    return [_cited(table) for table in board.cited]


def _cited(table: CitedTable) -> View:
    return {
        "title": table.title,
        "source": table.source,
        "url": table.url,
        "web": table.url.startswith(("https://", "http://")),
        "accessed": table.accessed,
        "how": table.how,
        "columns": table.columns,
        "rows": [
            {"label": row.label, "values": ["–" if value is None else str(value) for value in row.values]}
            for row in table.rows
        ],
        "notes": table.notes,
    }
