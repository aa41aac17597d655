"""A board as data: CSV for spreadsheets, JSON for programs. Scores keep the metric's own unit and every digit."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict
from typing import Any

from harness.board.compare import Matched
from harness.board.table import ALWAYS, Board, Compared, Row
from harness.stats.matched import Estimate


def as_csv(board: Board) -> str:
    """One line for each row; value, low, high and n of each score; then where it came from."""
    keys = (*board.spec.columns, *ALWAYS)
    header = ["rank", "label", "kind"]
    header += [f"{key}{part}" for key in keys for part in ("", "_low", "_high", "_n")]
    header += [
        "n",
        "failed",
        "task",
        "task_version",
        "data_sha256",
        "weights_sha256",
        "commit",
        "date",
        "record",
    ]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for row in board.rows:
        cells: list[Any] = [row.rank, _no_formula(row.label), row.kind]
        for key in keys:
            score = row.scores[key]
            cells += [None] * 4 if score is None else [score.value, score.low, score.high, score.n]
        origin = row.record.provenance
        cells += [row.n, row.failed, row.record.task, row.record.task_version, origin.get("data_sha256")]
        cells += [
            origin["model"].get("weights_sha256"),
            origin["software"].get("commit"),
            origin["date"],
            row.path,
        ]
        writer.writerow(cells)
    return buffer.getvalue()


def _no_formula(text: str) -> str:
    """A spreadsheet runs a cell that begins like this."""
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def as_json(board: Board) -> str:
    """Rows, comparisons, footnotes, judges and cited tables."""
    content = {
        "title": board.spec.title,
        "judges": list(board.judges),
        "signatures": dict(board.signatures),
        "rows": [_row(row) for row in board.rows],
        "comparisons": [_compared(found) for found in board.comparisons],
        "footnotes": list(board.footnotes),
        "notes": board.spec.notes,
        "not_measured_here": [asdict(table) for table in board.cited],
    }
    return json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _row(row: Row) -> dict[str, Any]:
    return {
        "rank": row.rank,
        "label": row.label,
        "kind": row.kind,
        "scores": {key: asdict(score) if score else None for key, score in row.scores.items()},
        "n": row.n,
        "failed": row.failed,
        "counts": row.record.counts,
        "footnotes": list(row.footnotes),
        "record": row.path,
        "task": row.record.task,
        "task_version": row.record.task_version,
        "provenance": row.record.provenance,
    }


def _compared(found: Compared) -> dict[str, Any]:
    return {
        "baseline": found.baseline,
        "candidate": found.candidate,
        "verdict": found.comparison.verdict(found.baseline, found.candidate, percent=False),
        **comparison_data(found.comparison),
    }


def comparison_data(comparison: Any) -> dict[str, Any]:
    """A comparison as plain data, in the metrics' own units."""
    scores = {}
    for index, key in enumerate(comparison.keys):
        found = comparison.differences[index]
        scores[key] = {
            **asdict(found),
            "delta": found.delta,
            "p_holm": comparison.adjusted_p[index],
            "detectable": comparison.detectable(index),
            "matched": _matched(comparison.matched[index]),
        }
    disagreements = [{**asdict(d), "sentence": d.sentence()} for d in comparison.disagreements()]
    plain = {"scores": scores, "left_out": comparison.left_out, "metric_disagreements": disagreements}
    return dict(_plain(plain))


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


def _plain(value: Any) -> Any:
    """Without NaN, which is not JSON."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
