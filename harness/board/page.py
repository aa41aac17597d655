"""A board as one HTML file that opens from disk: no network, no library, readable without scripts.

The policy in its head allows its own script, by hash, and nothing else; all texts are escaped, and the samples travel as JSON
in which no tag can be closed.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from typing import Any

from harness.board import plots
from harness.board.browser import browser_data
from harness.board.cited import CitedTable
from harness.board.compare import format_p, interval_text
from harness.board.markdown import scale
from harness.board.svg import Drawing
from harness.board.table import ALWAYS, Board, Compared, Row
from harness.metrics.suite import ScoreSummary


def as_html(board: Board) -> str:
    """The page."""
    css, script = _asset("page.css"), _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    title = escape(board.spec.title)
    data = browser_data(board)
    body = "\n".join(
        part
        for part in (
            _header(board),
            _verdicts(board),
            _table(board) if board.rows else "",
            _notes(board),
            _plots(board),
            _comparisons(board),
            _browser(data) if data["documents"] else "",
            _signatures(board),
            _provenance(board) if board.rows else "",
            *map(_cited, board.cited),
        )
        if part
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{css}</style>
</head>
<body>
<main>
{body}
</main>
<script type="application/json" id="data">{_json(data)}</script>
<script>{script}</script>
</body>
</html>
"""


def _asset(name: str) -> str:
    return (files("harness.board") / "assets" / name).read_text("utf-8")


def _json(data: Any) -> str:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _header(board: Board) -> str:
    lines = [f"<h1>{escape(board.spec.title)}</h1>"]
    if board.rows:
        record = board.rows[0].record
        judges = ", ".join(map(escape, board.judges)) or "none, every score follows a rule"
        lines.append(
            f"<p class=meta>Task <code>{escape(record.task)}</code> {escape(record.task_version)} · "
            f"{board.rows[0].n:,} documents · Judge: {judges}</p>"
        )
    return f"<header>{''.join(lines)}</header>"


def _verdicts(board: Board) -> str:
    percent = bool(board.spec.columns) and scale(board.spec.columns[0]) == 100
    parts = []
    for found in board.comparisons:
        verdict = found.comparison.verdict(found.baseline, found.candidate, percent)
        parts.append(f"<p class=verdict>{escape(verdict)}</p>")
        parts += [f"<p class=warning>{escape(d.sentence())}</p>" for d in found.comparison.disagreements()]
    return "".join(parts)


def _table(board: Board) -> str:
    titles = ["rank", "model", *board.spec.columns, "n", "failed", *ALWAYS]
    heads = "".join(
        f"<th scope=col{' class=text' if title == 'model' else ''}>"
        f'<button type=button title="{escape(board.signatures.get(title, title), quote=True)}">{escape(title)}</button></th>'
        for title in titles
    )
    rows = "\n".join(_table_row(row, board.spec.columns) for row in board.rows)
    return f"""<section aria-labelledby=results>
<h2 id=results>Results</h2>
<div class=scroll tabindex=0 role=region aria-label="Results table"><table class=sortable>
<thead><tr>{heads}</tr></thead>
<tbody>
{rows}
</tbody></table></div>
<p class=meta>Brackets are 95% intervals. Rows share a rank unless a paired test on the ranking score, Holm-corrected over all
pairs of rows, shows a difference. Press a heading to sort.</p>
{_footnotes(board.footnotes)}
</section>"""


def _table_row(row: Row, columns: Sequence[str]) -> str:
    marks = " ".join(f'<sup><a href="#note{i}">{i}</a></sup>' for i in row.footnotes)
    cells = [
        _number(row.rank, "–" if row.rank is None else str(row.rank)),
        f"<th scope=row>{escape(row.label)} {marks}</th>",
        *(_score(key, row.scores[key]) for key in columns),
        _number(row.n, f"{row.n:,}"),
        _number(row.failed, f"{row.failed:,}"),
        *(_score(key, row.scores[key]) for key in ALWAYS),
    ]
    return f'<tr class="{row.kind}">{"".join(cells)}</tr>'


def _number(value: float | None, shown: str) -> str:
    return f'<td data-value="{"" if value is None else value}">{shown}</td>'


def _score(key: str, score: ScoreSummary | None) -> str:
    if score is None:
        return _number(None, "n/a")
    shown = f"<b>{scale(key) * score.value:.1f}</b>"
    if key not in ALWAYS and score.low is not None and score.high is not None:
        shown += f" <small>[{scale(key) * score.low:.1f}, {scale(key) * score.high:.1f}]</small>"
    return _number(score.value, shown)


def _footnotes(texts: Sequence[str]) -> str:
    items = "".join(f"<li id=note{i}>{escape(text)}</li>" for i, text in enumerate(texts, start=1))
    return f"<ol class=notes>{items}</ol>" if items else ""


def _plots(board: Board) -> str:
    tradeoff = plots.tradeoff(board)
    figures = [
        ("Scores with 95% intervals", plots.intervals(board)),
        (
            "From baseline to candidate (blue: better, orange: worse, dashed: not shown)",
            plots.arrows(board),
        ),
        ("Overlap with references against faithfulness", [tradeoff] if tradeoff else []),
    ]
    return "".join(_figure(caption, drawings) for caption, drawings in figures if drawings)


def _figure(caption: str, drawings: Sequence[Drawing]) -> str:
    panels = "".join(f"<div>{drawing.svg()}</div>" for drawing in drawings)
    return f"<figure><figcaption>{escape(caption)}</figcaption><div class=panels>{panels}</div></figure>"


def _browser(data: dict[str, Any]) -> str:
    shown, total = len(data["documents"]), data["total"]
    which = (
        f"{shown:,} of {total:,} documents: those on which the first comparison differs first, wins and losses in turn."
        if shown < total
        else f"All {total:,} documents."
    )
    return f"""<section id=samples aria-labelledby=browse>
<h2 id=browse>Samples</h2>
<p class=meta>{which}</p>
<noscript><p>The sample browser needs JavaScript; the records beside this page hold every sample as JSON Lines.</p></noscript>
<div id=browser hidden>
<div class=controls>
<label>Compare <select id=pair></select></label>
<label>Show <select id=filter></select></label>
<label>Find <input id=find type=search placeholder="word in any text"></label>
<span class=steps><button type=button id=previous aria-label="Previous sample">←</button>
<output id=position aria-live=polite></output>
<button type=button id=next aria-label="Next sample">→</button></span>
</div>
<div id=sample></div>
</div>
</section>"""


def _comparisons(board: Board) -> str:
    return "".join(_comparison(found) for found in board.comparisons)


def _comparison(found: Compared) -> str:
    comparison = found.comparison
    titles = ["score", "difference", "95% interval", "effect size", "test", "p (Holm)", "wins / losses"]
    titles += ["detectable", "at equal style", "like pairs (n)"]
    rows = []
    for index, key in enumerate(comparison.keys):
        difference, factor = comparison.differences[index], scale(key)
        effect, matched = difference.effect_size, comparison.matched[index]
        adjusted = matched and matched.adjusted
        pairs = matched and matched.pairs
        cells = [
            f"<code>{escape(key)}</code>",
            f"{factor * difference.delta:+.1f}",
            interval_text(difference, factor),
            "" if effect is None else f"{effect:+.2f}",
            difference.test,
            escape(format_p(comparison.adjusted_p[index]).removeprefix("= ")),
            "" if difference.wins is None else f"{difference.wins} / {difference.losses}",
            f"{factor * comparison.detectable(index):.1f}",
            f"{factor * adjusted.delta:+.1f}, {interval_text(adjusted, factor)}" if adjusted else "",
            f"{factor * pairs.delta:+.1f}, {interval_text(pairs, factor)} ({pairs.n})" if pairs else "",
        ]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    heads = "".join(f"<th scope=col>{title}</th>" for title in titles)
    return f"""<section>
<h2>{escape(found.candidate)} against {escape(found.baseline)}</h2>
<div class=scroll tabindex=0 role=region aria-label="Comparison"><table><thead><tr>{heads}</tr></thead>
<tbody>{"".join(rows)}</tbody></table></div>
<p class=meta>Detectable: the smallest true difference found in 4 of 5 cases at this n. At equal style: by regression on length
and density over all pairs. Like pairs: documents whose two responses are alike in both.</p>
</section>"""


def _notes(board: Board) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in board.spec.notes)
    return f"<section><h2>Conditions and limits</h2><ul>{items}</ul></section>" if items else ""


def _signatures(board: Board) -> str:
    items = "".join(f"<li><code>{escape(text)}</code></li>" for text in board.signatures.values())
    return (
        f"<section><h2>How each score is made</h2><ul class=signatures>{items}</ul></section>"
        if items
        else ""
    )


def _provenance(board: Board) -> str:
    titles = ("model", "data", "weights", "commit", "lm-eval", "date", "record")
    rows = []
    for row in board.rows:
        origin = row.record.provenance
        software, model = origin["software"], origin["model"]
        name = row.path.rsplit("-", 1)[-1].removesuffix(".jsonl")
        cells = [
            escape(row.label),
            f"{escape(str(origin['data_source']))} ({escape((origin['data_sha256'] or '')[:12])})",
            escape((model.get("weights_sha256") or model.get("revision") or "")[:12]),
            escape(str(software.get("commit") or software.get("harness") or "")),
            escape(str(software.get("lm_eval") or "")),
            datetime.fromtimestamp(origin["date"], UTC).strftime("%Y-%m-%d"),
            f'<a href="{escape(row.path, quote=True)}">{escape(name)}</a>',
        ]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    heads = "".join(f"<th scope=col>{title}</th>" for title in titles)
    return f"""<section><h2>Where each row comes from</h2>
<div class=scroll tabindex=0 role=region aria-label="Provenance"><table><thead><tr>{heads}</tr></thead>
<tbody>{"".join(rows)}</tbody></table></div></section>"""


def _cited(table: CitedTable) -> str:
    heads = "".join(f"<th scope=col>{escape(title)}</th>" for title in ("", *table.columns))
    rows = "".join(
        f"<tr><th scope=row>{escape(row.label)}</th>"
        + "".join(f"<td>{'' if value is None else escape(str(value))}</td>" for value in row.values)
        + "</tr>"
        for row in table.rows
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    return f"""<section class=cited><h2>Not measured here: {escape(table.title)}</h2>
<p class=meta>{escape(table.source)}, <a href="{escape(table.url, quote=True)}">{escape(table.url)}</a>, accessed
{escape(table.accessed)}; {escape(table.how)}.</p>
<div class=scroll tabindex=0 role=region aria-label="Cited results"><table>
<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>
<ul>{notes}</ul></section>"""
