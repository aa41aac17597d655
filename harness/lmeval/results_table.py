"""The table that ``harness eval`` prints."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.records.lm_eval_log import newest_results

_ARROWS = {True: "↑", False: "↓", None: ""}


def summary_table(folder: Path) -> str:
    """The newest results of a folder as text: each score with its interval and n, then the counts of each task.

    Raises:
        HarnessError: If the folder holds no results.
    """
    results = json.loads(newest_results(folder).read_text("utf-8"))
    rows: list[Sequence[str]] = [("task", "score", "", "value", "95% interval", "n")]
    notes: list[str] = []
    for task, config in results["configs"].items():
        metadata = config.get("metadata") or {}
        if scores := metadata.get("scores"):
            rows += [(task, key, *_score_cells(score)) for key, score in scores.items()]
            notes.append(f"{task}: {_counts(metadata)}")
        else:
            rows += _stock_rows(task, results)
    return "\n".join([*_aligned(rows), "", *notes]) + "\n"


def _score_cells(score: Mapping[str, Any]) -> tuple[str, str, str, str]:
    interval = "" if score["low"] is None else f"[{_number(score['low'])}, {_number(score['high'])}]"
    return _ARROWS[score["higher_is_better"]], _number(score["value"]), interval, str(score["n"])


def _stock_rows(task: str, results: Mapping[str, Any]) -> list[Sequence[str]]:
    """A task of lm-eval's own has a standard error; its normal interval is shown."""
    found = results["results"][task]
    n = str(results["n-samples"][task]["effective"])
    rows: list[Sequence[str]] = []
    for name, value in found.items():
        metric, _, filter_name = name.partition(",")
        if not isinstance(value, int | float) or not filter_name or metric.endswith("_stderr"):
            continue
        error = found.get(f"{metric}_stderr,{filter_name}")
        interval = ""
        if isinstance(error, int | float):
            interval = f"[{_number(value - 1.96 * error)}, {_number(value + 1.96 * error)}]"
        arrow = _ARROWS[results.get("higher_is_better", {}).get(task, {}).get(metric)]
        rows.append((task, metric, arrow, _number(value), interval, n))
    return rows


def _counts(metadata: Mapping[str, Any]) -> str:
    counts = metadata["counts"]
    failed = ", ".join(
        f"{counts[kind]} {kind}" for kind in ("empty", "error", "short", "refused") if counts[kind]
    )
    parts = [f"{counts['answered']} of {counts['n']} answered" + (f" ({failed})" if failed else "")]
    scores = metadata.get("scores") or {}
    for key, words in (("truncated", "cut at the token limit"), ("looping", "end in a loop")):
        if key in scores and (number := round(scores[key]["value"] * scores[key]["n"])):
            parts.append(f"{number} {words}")
    if counts.get("shortened"):
        parts.append(f"{counts['shortened']} sources cut to fit the model's context")
    parts += [f"{n} {key.replace('_', ' ')}" for key, n in counts.items() if key.startswith("judge_") and n]
    if metadata.get("rows_dropped"):
        dropped = ", ".join(f"{number} {reason}" for reason, number in metadata["rows_dropped"].items())
        parts.append(f"rows dropped from the data: {dropped}")
    return "; ".join(parts)


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 2 else f"{value:.2f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]
