"""A board as markdown: a pure function of its records."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

from harness.board.cited import CitedTable
from harness.board.columns import Column
from harness.board.table import Board, Row
from harness.metrics.suite import ScoreSummary
from harness.records.compare import Comparison, Matched, ScoreComparison
from harness.records.verdict import fixed, format_p, interval_text, least_text, signed, verdict
from harness.stats import FEWEST_FOR_VERDICT, Difference
from harness.stats.matched import CALIPER, Estimate

_NO_FAITHFULNESS = (
    "**No faithfulness score was measured on this board: nothing here says whether the responses are true to their "
    "sources.**"
)

_NO_EVIDENCE = (
    "**No faithfulness score here is evidence: each is from a model that nothing shows to be better than chance. Nothing on this "
    "board says whether the responses are true to their sources.**"
)


def render(board: Board, pictures: Sequence[str] = ()) -> str:
    """Everything between the markers, ending in a newline.

    Args:
        board: What to show.
        pictures: File names of its plots, beside the markdown file.
    """
    parts = []
    if board.rows:
        parts = [_header(board), _banner(board), *_tables(board)]
        parts += [*_comparisons(board), _footnotes(board)]
        parts += [f"![{_picture_title(name)}]({quote(name)})" for name in pictures]
    parts.append("\n".join(f"- {escape(note)}" for note in board.spec.notes))
    if board.rows:
        parts += [_how_to_read(board), _provenance(board)]
    parts += [_cited(table) for table in board.cited]
    return "\n\n".join(part for part in parts if part) + "\n"


def _banner(board: Board) -> str:
    if board.only_chance:
        return _NO_EVIDENCE
    return "" if board.faithfulness else _NO_FAITHFULNESS


def _picture_title(name: str) -> str:
    return {
        "intervals": "scores with 95% intervals",
        "arrows": "from baseline to candidate",
        "tradeoff": "overlap with references against faithfulness",
    }[name.split(".")[-2]]


def escape(text: str) -> str:
    """Text that neither markdown nor HTML takes for its own."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for character, entity in (
        ("`", "&#96;"),
        ("*", "&#42;"),
        ("[", "&#91;"),
        ("]", "&#93;"),
        ("~", "&#126;"),
    ):
        text = text.replace(character, entity)
    text = re.sub(r"\b_|_\b", "&#95;", text)  # inside a word it marks nothing
    return text.replace("\\", "&#92;").replace("|", "\\|")


def code(text: str) -> str:
    """Text of one line as code, also inside a table."""
    return "`" + " ".join(text.split()).replace("`", "'").replace("|", "\\|") + "`"


def table(titles: Sequence[str], lines: Sequence[Sequence[str]], align: str) -> str:
    """A table; ``align`` has l or r for each column, and its last letter holds for the rest."""
    marks = [align[min(i, len(align) - 1)] for i in range(len(titles))]
    rule = "|" + "".join("---:|" if mark == "r" else "---|" for mark in marks)
    return "\n".join(
        ["| " + " | ".join(titles) + " |", rule, *("| " + " | ".join(line) + " |" for line in lines)]
    )


def _header(board: Board) -> str:
    tasks = "; ".join(
        f"{code(task)} {escape(board.version(task))}, {board.documents(task)} documents"
        for task in board.tasks
    )
    readers = [
        f"{kind[:1].upper()}{kind[1:]}: {', '.join(map(code, names))}."
        for kind, names in board.readers.items()
    ]
    by_rule = " No model scores: every score follows a rule." if board.by_rule_alone else ""
    return " ".join([f"{'Task' if len(board.tasks) == 1 else 'Tasks'}: {tasks}.{by_rule}", *readers])


def _cell(score: ScoreSummary | None, column: Column, *, interval: bool) -> str:
    if score is None:
        return "–"
    factor = column.score.scale
    value = fixed(factor * score.value)
    if not interval or score.low is None or score.high is None:
        return value
    return f"{value} [{fixed(factor * score.low)}, {fixed(factor * score.high)}]"


def _tables(board: Board) -> list[str]:
    """Models by scores; what stands beside the scores in the same table, or in its own where there are several tasks."""
    if len(board.tasks) == 1:
        return [_table(board, board.columns, board.beside, counts=True)]
    first = _table(board, board.columns, (), counts=False)
    beside = [
        f"Answers in {code(task)}:\n\n"
        + _table(
            board, (), [column for column in board.beside if column.task == task], counts=True, task=task
        )
        for task in board.tasks
    ]
    return [first, *beside]


def _table(
    board: Board,
    columns: Sequence[Column],
    beside: Sequence[Column],
    *,
    counts: bool,
    task: str | None = None,
) -> str:
    several = len(board.tasks) > 1
    titles = ["rank", "model"] if task is None else ["model"]
    titles += [code(column.name) for column in columns]
    titles += ["n", "failed"] if counts else []
    titles += [code(column.key if several else column.name) for column in beside]
    place = task or board.tasks[0]
    rows = [row for row in board.rows if task is None or task in row.entries]
    lines = [_cells(row, columns, beside, counts=counts, place=place, ranked=task is None) for row in rows]
    return table(titles, lines, "rlr" if task is None else "lr")


def _cells(
    row: Row, columns: Sequence[Column], beside: Sequence[Column], *, counts: bool, place: str, ranked: bool
) -> list[str]:
    notes = f" <sup>{', '.join(map(str, row.footnotes))}</sup>" if row.footnotes and ranked else ""
    cells = ["-" if row.rank is None else str(row.rank)] if ranked else []
    cells.append(escape(row.label) + notes)
    cells += [_cell(row.scores[column.name], column, interval=True) for column in columns]
    if counts:
        entry = row.entries[place]
        cells += [str(entry.record.n), str(entry.failed)]
    return cells + [_cell(row.scores[column.name], column, interval=False) for column in beside]


def _footnotes(board: Board) -> str:
    return "\n".join(
        f"<sup>{number}</sup> {escape(text)}<br>" for number, text in enumerate(board.footnotes, start=1)
    )


def _comparisons(board: Board) -> list[str]:
    blocks = []
    for found in board.comparisons:
        comparison = found.comparison
        blocks.append(f"**{verdict(comparison, escape(found.baseline), escape(found.candidate))}**")
        blocks += [f"**{disagreement.sentence()}**" for disagreement in comparison.disagreements()]
        if comparison.scores:
            blocks.append(comparison_table(comparison))
    return blocks


def comparison_table(comparison: Comparison) -> str:
    """One line per score, one more where failures are counted, and what the columns mean."""
    several = len({found.task for found in comparison.scores}) > 1
    titles = ["score", "difference", "95% interval", "effect size", "test", "p (Holm)", "n", "wins / losses"]
    titles += ["detectable", "at equal style", "like pairs (n)"]
    lines = []
    for found in comparison.scores:
        name = code(f"{found.task}/{found.key}" if several else found.key)
        if found.difference is not None:
            cells = _difference_cells(found.difference, found.p_holm, found.score.scale)
            lines.append(
                [name, *cells, _detectable(found), *_matched_cells(found.matched, found.score.scale)]
            )
        if found.failures is not None and found.failures.difference is not None:
            cells = _difference_cells(found.failures.difference, found.failures.p_holm, found.score.scale)
            lines.append([f"{name}, failures counted", *cells, "", "", ""])
    return table(titles, lines, "lrlllrrrrll") + "\n\n" + _legend(comparison)


def _difference_cells(found: Difference, p: float, factor: float) -> list[str]:
    effect, interval = found.effect_size, found.effect_interval
    size = "" if effect is None else signed(effect, 2)
    if effect is not None and interval is not None:
        size += f" [{signed(interval.low, 2)}, {signed(interval.high, 2)}]"
    return [
        signed(factor * found.delta),
        interval_text(found.interval, factor),
        size,
        found.test,
        format_p(p).removeprefix("= "),
        str(found.n),
        "" if found.wins is None else f"{found.wins} / {found.losses}",
    ]


def _detectable(found: ScoreComparison) -> str:
    least = found.detectable
    return "n/a" if least is None else least_text(found.score.scale * least)


def _matched_cells(matched: Matched | None, factor: float) -> tuple[str, str]:
    if matched is None:
        return "", ""
    pairs = "too few" if matched.pairs is None else f"{_estimate(matched.pairs, factor)} ({matched.pairs.n})"
    return "" if matched.adjusted is None else _estimate(matched.adjusted, factor), pairs


def _estimate(estimate: Estimate, factor: float) -> str:
    return f"{signed(factor * estimate.delta)}, {interval_text(estimate.interval, factor)}"


def _legend(comparison: Comparison) -> str:
    parts = [
        "Detectable: the smallest true difference found in 4 of 5 cases at this n and the level of Holm's first step."
    ]
    covariates = next((found.matched.covariates for found in comparison.scores if found.matched), ())
    if covariates:
        style = " and ".join(covariates)
        parts.append(
            f"At equal style: the difference at equal {style}, by regression over all pairs. "
            f"Like pairs: over the documents whose two responses are within {CALIPER} standard deviations in {style}."
        )
    if any(found.failures for found in comparison.scores):
        parts.append(
            "n: the documents that both answered. Failures counted: on all documents, a failed sample as the worst score."
        )
    if comparison.absent:
        absent = ", ".join(code(key) for _, key in comparison.absent)
        parts.append(f"Not compared, since one of the two has no such score: {absent}.")
    return " ".join(parts)


def _how_to_read(board: Board) -> str:
    signatures = ", ".join(code(column.signature) for column in board.columns if column.signature)
    ranks = "Rows share a rank unless a paired test on the first score, Holm-corrected over all pairs of rows, shows a difference"
    ranks += "; a failed sample counts as the worst score there." if board.ranks_failures else "."
    if not any(row.rank for row in board.rows):
        ranks = f"No ranks: they need a score with a better direction and at least {FEWEST_FOR_VERDICT} documents."
    return f"Brackets are 95% intervals: Wilson for rates, bootstrap otherwise. {ranks} Signatures: {signatures}."


def _provenance(board: Board) -> str:
    titles = ["model", "task", "data", "weights", "commit", "lm-eval", "date", "record"]
    lines = [
        [
            escape(row.label),
            f"{code(task)} {escape(entry.record.task_version)}",
            *map(escape, entry.origin.values()),
            f"[{entry.digest}]({quote(entry.path)})",
        ]
        for row in board.rows
        for task, entry in row.entries.items()
    ]
    return table(titles, lines, "l")


def _cited(cited: CitedTable) -> str:
    lines = [
        f"**Not measured here: {escape(cited.title)}.** {escape(cited.source)}, <{cited.url}>, accessed {cited.accessed}; "
        f"{escape(cited.how)}.",
        "",
        "| | " + " | ".join(map(escape, cited.columns)) + " |",
        "|---|" + "---:|" * len(cited.columns),
    ]
    for row in cited.rows:
        values = ("" if value is None else escape(str(value)) for value in row.values)
        lines.append(f"| {escape(row.label)} | " + " | ".join(values) + " |")
    lines += ["", *(f"- {escape(note)}" for note in cited.notes)] if cited.notes else []
    return "\n".join(lines)
