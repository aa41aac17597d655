"""Article and response as an HTML page, with the response coloured by its windows: one file, no script, nothing loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

Window = tuple[int, int, float]
"""Start, end (characters of the response), probability of being factual."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One sample on the page."""

    doc_id: int
    source: str
    response: str
    """Stripped."""
    windows: Sequence[Window]


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a }
article { display: grid; grid-template-columns: 1fr 1fr; gap: 1.5rem; border-top: 1px solid #ccc; padding: 1rem 0 }
h2 { grid-column: 1 / -1; font-size: 1rem; margin: 0 }
.source { white-space: pre-wrap; max-height: 24rem; overflow: auto; color: #444 }
.response { white-space: pre-wrap }
.response span, .scale span { padding: .1em 0; border-bottom: 2px solid #0003 }
table { border-collapse: collapse; font-size: .85rem } td { padding: .1rem .6rem .1rem 0; vertical-align: top }
.scale { display: flex; gap: .3rem; align-items: center; font-size: .85rem } .scale span { width: 2rem; height: 1rem }
"""


def page(title: str, samples: Sequence[Shown]) -> str:
    """The page; each character is coloured by the mean probability of the windows that hold it."""
    scale = "".join(f'<span style="background:{colour(p / 10)}"></span>' for p in range(0, 11, 2))
    body = "\n".join(_sample(sample) for sample in samples)
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>
<style>{_STYLE}</style></head>
<body>
<h1>{escape(title)}</h1>
<p>Left the document, right the response. A character's colour is the mean probability of being factual over the windows that hold
it; point at it for the numbers. A window with p below 0.5 counts against the factual rate.</p>
<p class="scale">hallucinated {scale} factual</p>
{body}
</body>
</html>
"""


def _sample(sample: Shown) -> str:
    factual = sum(p >= 0.5 for _, _, p in sample.windows)
    rate = f"{factual} of {len(sample.windows)} windows factual" if sample.windows else "no windows"
    rows = "".join(
        f'<tr><td style="background:{colour(p)}">{p:.3f}</td><td>{escape(sample.response[start:end])}</td></tr>'
        for start, end, p in sample.windows
    )
    return f"""<article id="doc{sample.doc_id}">
<h2>document {sample.doc_id}: {rate}</h2>
<div class="source">{escape(sample.source)}</div>
<div><div class="response">{coloured(sample.response, sample.windows)}</div>
<details><summary>windows</summary><table>{rows}</table></details></div>
</article>"""


def coloured(response: str, windows: Sequence[Window]) -> str:
    """The response as HTML, cut where the set of windows over it changes."""
    edges = {edge for start, end, _ in windows for edge in (start, end) if 0 <= edge <= len(response)}
    parts = []
    for start, end in pairwise(sorted({0, len(response), *edges})):
        text = escape(response[start:end])
        over = [p for a, b, p in windows if a <= start and end <= b]
        if over:
            mean = sum(over) / len(over)
            note = f"mean p {mean:.3f} over {len(over)} windows, lowest {min(over):.3f}"
            text = f'<span style="background:{colour(mean)}" title="{note}">{text}</span>'
        parts.append(text)
    return "".join(parts)


def colour(p: float) -> str:
    """Red at 0, white at 0.5, green at 1; light enough for black text."""
    hue, distance = (0, 0.5 - p) if p < 0.5 else (130, p - 0.5)
    return f"hsl({hue} 70% {100 - 70 * min(distance, 0.5):.0f}%)"
