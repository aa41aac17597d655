"""A board as data: CSV for spreadsheets, JSON for programs. Scores keep the metric's own unit.

Both are written rounded and verified as numbers (`harness.stats.rounding`): what stands in the file must be what this machine
computes, up to half a unit of the last written digit and a thousandth of it for the last bits in which processors differ. All
else must be equal.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from harness.board.columns import Column
from harness.board.table import Board, Compared, Row
from harness.records.compare import Comparison, Matched, ScoreComparison
from harness.records.verdict import verdict
from harness.stats import Difference
from harness.stats.matched import Estimate
from harness.stats.rounding import agrees, rounded_tree

Cell = str | int | float | None


def csv_cells(board: Board) -> list[list[Cell]]:
    """A header, then one line for each row and task: value, low, high and n of each score; then where it came from."""
    keys = list(dict.fromkeys(column.key for column in (*board.columns, *board.beside)))
    header = ["rank", "label", "kind", "task"]
    header += [f"{key}{part}" for key in keys for part in ("", "_low", "_high", "_n")]
    header += ["n", "failed", "task_version", "data_sha256", "weights_sha256", "commit", "date", "record"]
    lines: list[list[Cell]] = [list(header)]
    for row in board.rows:
        for task, entry in row.entries.items():
            cells: list[Cell] = [row.rank, no_formula(row.label), row.kind, task]
            for key in keys:
                score = next(
                    (row.scores[c.name] for c in _all(board) if (c.task, c.key) == (task, key)), None
                )
                cells += [None] * 4 if score is None else [score.value, score.low, score.high, score.n]
            record, origin = entry.record, entry.record.provenance
            cells += [record.n, entry.failed, record.task_version, origin.get("data_sha256")]
            cells += [origin["model"].get("weights_sha256"), origin["software"].get("commit")]
            lines.append([*cells, origin["date"], entry.path])
    return lines


def _all(board: Board) -> tuple[Column, ...]:
    return (*board.columns, *board.beside)


def no_formula(text: str) -> str:
    """A spreadsheet runs a cell that begins like this."""
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def as_csv(cells: list[list[Cell]]) -> str:
    """Rounded cells as CSV."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rounded_tree(cells))
    return buffer.getvalue()


def content(board: Board) -> dict[str, Any]:
    """Rows, comparisons, footnotes, readers and cited tables, with every digit."""
    return {
        "title": board.spec.title,
        "tasks": {task: board.documents(task) for task in board.tasks},
        "columns": {column.name: _column(column) for column in _all(board)},
        "readers": {kind: list(names) for kind, names in board.readers.items()},
        "rows": [_row(row) for row in board.rows],
        "comparisons": [_compared(found) for found in board.comparisons],
        "footnotes": list(board.footnotes),
        "notes": board.spec.notes,
        "not_measured_here": [asdict(table) for table in board.cited],
    }


def as_json(value: Any) -> str:
    """Rounded content as JSON."""
    return json.dumps(rounded_tree(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _column(column: Column) -> dict[str, Any]:
    return {
        "task": column.task,
        "key": column.key,
        "kind": column.score.kind,
        "unit": column.score.unit,
        "higher_is_better": column.score.higher_is_better,
        "signature": column.signature,
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "rank": row.rank,
        "label": row.label,
        "kind": row.kind,
        "scores": {name: asdict(score) if score else None for name, score in row.scores.items()},
        "tasks": {
            task: {
                "n": entry.record.n,
                "failed": entry.failed,
                "counts": entry.record.counts,
                "record": entry.path,
                "task_version": entry.record.task_version,
                "provenance": entry.record.provenance,
            }
            for task, entry in row.entries.items()
        },
        "footnotes": list(row.footnotes),
    }


def _compared(found: Compared) -> dict[str, Any]:
    return {
        "baseline": found.baseline,
        "candidate": found.candidate,
        "verdict": verdict(found.comparison, found.baseline, found.candidate),
        **comparison_data(found.comparison),
    }


def comparison_data(comparison: Comparison) -> dict[str, Any]:
    """A comparison as plain data, in the metrics' own units, with every digit."""
    return {
        "scores": [_score(found) for found in comparison.scores],
        "not_compared": [list(column) for column in comparison.absent],
        "metric_disagreements": [{**asdict(d), "sentence": d.sentence()} for d in comparison.disagreements()],
    }


def _score(found: ScoreComparison) -> dict[str, Any]:
    failures = found.failures
    return {
        "task": found.task,
        "score": found.key,
        "n": found.n,
        "difference": _difference(found.difference, found.p_holm),
        "shown": found.shown(),
        "detectable": found.detectable,
        "failed": None if failures is None else list(failures.failed),
        "failures_as_failures": None
        if failures is None
        else _difference(failures.difference, failures.p_holm),
        "matched": _matched(found.matched),
    }


def _difference(difference: Difference | None, p_holm: float) -> dict[str, Any] | None:
    if difference is None:
        return None
    return {**asdict(difference), "delta": difference.delta, "p_holm": p_holm}


def _matched(matched: Matched | None) -> dict[str, Any] | None:
    if matched is None:
        return None
    return {
        "covariates": list(matched.covariates),
        "adjusted": _estimate(matched.adjusted),
        "like_pairs": _estimate(matched.pairs),
    }


def _estimate(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else asdict(estimate)


def json_differences(text: str, expected: Any) -> Iterator[str]:
    """Where a published JSON file is not what the records give."""
    try:
        stated = json.loads(text)
        canonical = json.dumps(stated, indent=1, ensure_ascii=False, allow_nan=False) + "\n" == text
    except (ValueError, RecursionError) as error:
        yield f"not JSON ({error})"
        return
    yield from _tree_differences(stated, json.loads(json.dumps(expected)), "")
    if not canonical:
        yield "not written as harness publish writes it"


def _tree_differences(stated: Any, exact: Any, place: str) -> Iterator[str]:
    if isinstance(exact, dict) and isinstance(stated, dict):
        if list(stated) != list(exact):
            yield f"{place or 'top'}: has {list(stated)}, the records give {list(exact)}"
            return
        for key in exact:
            yield from _tree_differences(stated[key], exact[key], f"{place}.{key}".lstrip("."))
    elif isinstance(exact, list) and isinstance(stated, list):
        if len(stated) != len(exact):
            yield f"{place}: has {len(stated)} items, the records give {len(exact)}"
            return
        for index, pair in enumerate(zip(stated, exact, strict=True)):
            yield from _tree_differences(*pair, f"{place}[{index}]")
    elif not _same(stated, exact):
        yield f"{place}: {stated!r}, the records give {exact!r}"


def _same(stated: Any, exact: Any) -> bool:
    if isinstance(exact, float) and isinstance(stated, float):
        return agrees(stated, exact)
    return type(stated) is type(exact) and stated == exact


def csv_differences(text: str, expected: list[list[Cell]]) -> Iterator[str]:
    """Where a published CSV file is not what the records give."""
    stated = list(csv.reader(io.StringIO(text, newline="")))
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(stated)
    if len(stated) != len(expected):
        yield f"has {len(stated)} lines, the records give {len(expected)}"
        return
    for number, (line, exact) in enumerate(zip(stated, expected, strict=True), start=1):
        if len(line) != len(exact) or not all(map(_same_cell, line, exact)):
            yield f"line {number}: {','.join(line)}"
    if buffer.getvalue() != text:
        yield "not written as harness publish writes it"


def _same_cell(stated: str, exact: Cell) -> bool:
    if not isinstance(exact, float):
        return stated == ("" if exact is None else str(exact))
    try:
        return repr(float(stated)) == stated and agrees(float(stated), exact)
    except ValueError:
        return False


def text_differences(text: str, expected: str) -> Iterator[str]:
    """Where markdown, a page or a plot is not what the records give: its numbers are rounded far above last bits."""
    if text == expected:
        return
    ours, theirs = text.splitlines(), expected.splitlines()
    for number, (line, wanted) in enumerate(zip(ours, theirs, strict=False), start=1):
        if line != wanted:
            yield f"line {number}: {line:.300}\n  the records give: {wanted:.300}"
    if len(ours) != len(theirs):
        yield f"has {len(ours)} lines, the records give {len(theirs)}"
    elif ours == theirs:
        yield "line ends differ"
