"""A board as markdown: a pure function of its records."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from harness.board.cited import CitedTable
from harness.board.compare import Comparison, Matched, format_p, interval_text
from harness.board.table import ALWAYS, Board, Row
from harness.metrics.suite import ScoreSummary
from harness.stats.matched import CALIPER, Estimate

_OF_100 = {"chrf", "chrf++"}  # scores that their authors define in 0..100
_PLAIN = {"length", "density"}  # scores in words


def render(board: Board, pictures: Sequence[str] = ()) -> str:
    """Everything between the markers, ending in a newline.

    Args:
        board: What to show.
        pictures: File names of its plots, beside the markdown file.
    """
    parts = []
    if board.rows:
        parts = [_header(board), _table(board), *_comparisons(board), _footnotes(board)]
        parts += [f"![{_picture_title(name)}]({quote(name)})" for name in pictures]
    parts.append("\n".join(f"- {escape(note)}" for note in board.spec.notes))
    if board.rows:
        parts += [_how_to_read(board), _provenance(board)]
    parts += [_cited(table) for table in board.cited]
    return "\n\n".join(part for part in parts if part) + "\n"


def _picture_title(name: str) -> str:
    return {
        "intervals": "scores with 95% intervals",
        "arrows": "from baseline to candidate",
        "tradeoff": "overlap with references against faithfulness",
    }[name.split(".")[-2]]


def escape(text: str) -> str:
    """Text that neither markdown nor HTML takes for its own."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for character, entity in (("`", "&#96;"), ("*", "&#42;"), ("[", "&#91;"), ("]", "&#93;")):
        text = text.replace(character, entity)
    text = re.sub(r"\b_|_\b", "&#95;", text)  # inside a word it marks nothing
    return text.replace("\\", "&#92;").replace("|", "\\|")


def code(text: str) -> str:
    """Text of one line as code, also inside a table."""
    return "`" + " ".join(text.split()).replace("`", "'").replace("|", "\\|") + "`"


def scale(key: str) -> float:
    """What a score is multiplied by when printed: shares become percent."""
    return 1.0 if key in _OF_100 or key in _PLAIN else 100.0


def _header(board: Board) -> str:
    judges = ", ".join(f"`{judge}`" for judge in board.judges) or "none, every score follows a rule"
    record = board.rows[0].record
    return f"Task: {code(record.task)} {escape(record.task_version)}, {board.rows[0].n} documents. Judge: {judges}."


def _cell(key: str, score: ScoreSummary | None) -> str:
    if score is None:
        return "n/a"
    factor = scale(key)
    if key in ALWAYS or score.low is None or score.high is None:
        return f"{factor * score.value:.1f}"
    return f"{factor * score.value:.1f} [{factor * score.low:.1f}, {factor * score.high:.1f}]"


def _table(board: Board) -> str:
    columns = board.spec.columns
    titles = [
        "rank",
        "model",
        *map(code, columns),
        "n",
        "failed",
        *(f"`{key}`" for key in ALWAYS),
    ]
    lines = ["| " + " | ".join(titles) + " |", "|---:|---|" + "---:|" * (len(titles) - 2)]
    lines += ["| " + " | ".join(_cells(row, columns)) + " |" for row in board.rows]
    return "\n".join(lines)


def _cells(row: Row, columns: list[str]) -> list[str]:
    notes = f" <sup>{', '.join(map(str, row.footnotes))}</sup>" if row.footnotes else ""
    return [
        "-" if row.rank is None else str(row.rank),
        escape(row.label) + notes,
        *(_cell(key, row.scores[key]) for key in columns),
        str(row.n),
        str(row.failed),
        *(_cell(key, row.scores[key]) for key in ALWAYS),
    ]


def _footnotes(board: Board) -> str:
    return "\n".join(
        f"<sup>{number}</sup> {escape(text)}<br>" for number, text in enumerate(board.footnotes, start=1)
    )


def _comparisons(board: Board) -> list[str]:
    blocks = []
    for found in board.comparisons:
        percent = scale(board.spec.columns[0]) == 100
        comparison = found.comparison
        blocks.append(f"**{comparison.verdict(escape(found.baseline), escape(found.candidate), percent)}**")
        blocks += [f"**{disagreement.sentence()}**" for disagreement in comparison.disagreements()]
        blocks.append(comparison_table(comparison))
    return blocks


def comparison_table(comparison: Comparison) -> str:
    """One line per score, and what its columns mean."""
    titles = [
        "score",
        "difference",
        "95% interval",
        "effect size",
        "test",
        "p (Holm)",
        "wins / losses",
        "detectable",
    ]
    titles += ["at equal style", "like pairs (n)"]
    lines = ["| " + " | ".join(titles) + " |", "|---|---:|---|---:|---|---:|---:|---:|---|---|"]
    for index, key in enumerate(comparison.keys):
        found, factor = comparison.differences[index], scale(key)
        effect, interval = found.effect_size, found.effect_interval
        cells = [
            code(key),
            f"{factor * found.delta:+.1f}",
            interval_text(found, factor),
            ""
            if effect is None or interval is None
            else f"{effect:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]",
            found.test,
            format_p(comparison.adjusted_p[index]).removeprefix("= "),
            "" if found.wins is None else f"{found.wins} / {found.losses}",
            f"{factor * comparison.detectable(index):.1f}",
            *_matched_cells(comparison.matched[index], factor),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\n" + _legend(comparison)


def _matched_cells(matched: Matched | None, factor: float) -> tuple[str, str]:
    if matched is None:
        return "", ""
    pairs = "too few" if matched.pairs is None else f"{_estimate(matched.pairs, factor)} ({matched.pairs.n})"
    return "" if matched.adjusted is None else _estimate(matched.adjusted, factor), pairs


def _estimate(estimate: Estimate, factor: float) -> str:
    return f"{factor * estimate.delta:+.1f}, {interval_text(estimate, factor)}"


def _legend(comparison: Comparison) -> str:
    parts = [
        "Detectable: the smallest true difference found in 4 of 5 cases at this n and the level of Holm's first step."
    ]
    covariates = next((matched.covariates for matched in comparison.matched if matched), ())
    if covariates:
        style = " and ".join(covariates)
        parts.append(
            f"At equal style: the difference at equal {style}, by regression over all pairs. "
            f"Like pairs: over the documents whose two responses are within {CALIPER} standard deviations in {style}."
        )
    if comparison.left_out:
        parts.append(f"{comparison.left_out} documents without both answers are left out.")
    return " ".join(parts)


def _how_to_read(board: Board) -> str:
    signatures = ", ".join(
        f"`{board.signatures[key]}`" for key in board.spec.columns if key in board.signatures
    )
    return (
        "Brackets are 95% intervals: Wilson for rates, bootstrap otherwise. Rows share a rank unless a paired test on the ranking "
        f"score, Holm-corrected over all pairs of rows, shows a difference. Signatures: {signatures}."
    )


def _provenance(board: Board) -> str:
    lines = [
        "| model | task | data | weights | commit | lm-eval | date | record |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in board.rows:
        origin = row.record.provenance
        software, model = origin["software"], origin["model"]
        weights = (model.get("weights_sha256") or model.get("revision") or "")[:12]
        cells = [
            escape(row.label),
            f"{code(row.record.task)} {escape(row.record.task_version)}",
            f"{escape(origin['data_source'])} ({(origin['data_sha256'] or '')[:12]})",
            escape(weights),
            escape(str(software.get("commit") or software.get("harness") or "")),
            escape(str(software.get("lm_eval") or "")),
            datetime.fromtimestamp(origin["date"], UTC).strftime("%Y-%m-%d"),
            f"[{row.path.rsplit('-', 1)[-1].removesuffix('.jsonl')}]({row.path})",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cited(table: CitedTable) -> str:
    lines = [
        f"**Not measured here: {escape(table.title)}.** {escape(table.source)}, <{table.url}>, accessed {table.accessed}; "
        f"{escape(table.how)}.",
        "",
        "| | " + " | ".join(map(escape, table.columns)) + " |",
        "|---|" + "---:|" * len(table.columns),
    ]
    for row in table.rows:
        values = ("" if value is None else escape(str(value)) for value in row.values)
        lines.append(f"| {escape(row.label)} | " + " | ".join(values) + " |")
    lines += ["", *(f"- {escape(note)}" for note in table.notes)] if table.notes else []
    return "\n".join(lines)
