"""A board as markdown: a pure function of its specification and records."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harness.board.compare import Comparison, compare, format_p, interval_text, overlaps
from harness.metrics.suite import ScoreSummary
from harness.records import Record

if TYPE_CHECKING:
    from harness.board.spec import BoardSpec

_OF_100 = {"chrf", "chrf++"}  # scores that their authors define in 0..100
_PLAIN = {"length", "density"}  # scores in words
_ALWAYS = ("answer_rate", "length", "coverage", "density")


def render(spec: BoardSpec, records: Mapping[str, Record]) -> str:
    """Everything between the markers, ending in a newline."""
    found = {
        label: {key: record.summary(key) for key in (*spec.columns, *_ALWAYS)}
        for label, record in records.items()
    }
    parts = [_table(spec, records, found), _comparisons(spec, records)]
    parts += ["\n".join(f"- {escape(note)}" for note in spec.notes)] if spec.notes else []
    parts.append(_provenance(spec, records))
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(text: str) -> str:
    """Text that neither markdown tables nor HTML take for their own."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("|", "\\|").replace("`", "&#96;")


def scale(key: str) -> float:
    """What a score is multiplied by when printed: shares become percent."""
    return 1.0 if key in _OF_100 or key in _PLAIN else 100.0


def _cell(key: str, score: ScoreSummary | None) -> str:
    if score is None:
        return "n/a"
    factor = scale(key)
    if key in _ALWAYS or score.low is None or score.high is None:
        return f"{factor * score.value:.1f}"
    return f"{factor * score.value:.1f} [{factor * score.low:.1f}, {factor * score.high:.1f}]"


def _order(score: ScoreSummary | None) -> float:
    """Sorts the best first and a row without a score last."""
    if score is None:
        return float("inf")
    return score.value if score.higher_is_better is False else -score.value


def _table(
    spec: BoardSpec, records: Mapping[str, Record], found: Mapping[str, Mapping[str, ScoreSummary | None]]
) -> str:
    ranking = spec.columns[0]
    ordered = sorted(records, key=lambda label: _order(found[label][ranking]))
    titles = ["rank", "model", *spec.columns, "n", "failed", *_ALWAYS]
    lines = ["| " + " | ".join(f"`{t}`" if t in found[ordered[0]] else t for t in titles) + " |"]
    lines.append("|" + "---:|" + "---|" + "---:|" * (len(titles) - 2))
    for label in ordered:
        scored = found[label][ranking]
        total = len(records[label].samples)
        cells = [
            _rank(label, ordered, found, ranking),
            escape(label),
            *(_cell(key, found[label][key]) for key in spec.columns),
            str(total),
            str(total - (scored.n if scored else 0)),
            *(_cell(key, found[label][key]) for key in _ALWAYS),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _rank(
    label: str, ordered: list[str], found: Mapping[str, Mapping[str, ScoreSummary | None]], key: str
) -> str:
    """Best rank that the intervals allow: one more than the number of rows that are clearly above."""
    own = found[label][key]
    if own is None:
        return "-"
    above = ordered[: ordered.index(label)]
    return str(
        1
        + sum(1 for other in above if (theirs := found[other][key]) is not None and not overlaps(theirs, own))
    )


def _comparisons(spec: BoardSpec, records: Mapping[str, Record]) -> str:
    blocks = []
    for baseline, candidate in spec.comparisons:
        comparison = compare(records[baseline], records[candidate], spec.columns)
        percent = scale(spec.columns[0]) == 100
        sentence = comparison.verdict(escape(baseline), escape(candidate), percent)
        blocks.append(f"**{sentence}**\n\n" + comparison_table(comparison))
    return "\n\n".join(blocks)


def comparison_table(comparison: Comparison) -> str:
    """One line per score."""
    lines = ["| score | difference | 95% interval | test | p (Holm) | wins / losses | detectable at this n |"]
    lines.append("|---|---:|---|---|---:|---:|---:|")
    for key, found, p in zip(comparison.keys, comparison.differences, comparison.adjusted_p, strict=True):
        factor = scale(key)
        tally = "" if found.wins is None else f"{found.wins} / {found.losses}"
        lines.append(
            f"| `{key}` | {factor * found.delta:+.1f} | {interval_text(found, factor)} | {found.test} "
            f"| {format_p(p).removeprefix('= ')} | {tally} | {factor * found.detectable():.1f} |"
        )
    return "\n".join(lines)


def _provenance(spec: BoardSpec, records: Mapping[str, Record]) -> str:
    lines = [
        "Brackets are 95% intervals: Wilson for rates, bootstrap otherwise. Rows share a rank where intervals overlap."
    ]
    first = next(iter(records.values()))
    signatures = [score for key in spec.columns if (score := first.scores.get(key))]
    lines.append("Signatures: " + ", ".join(f"`{score['signature']}`" for score in signatures) + ".")
    lines.append(
        "\n| model | task | data | weights | commit | lm-eval | date | record |\n|---|---|---|---|---|---|---|---|"
    )
    files = {row["label"]: row["record"] for row in spec.rows}
    for label, record in records.items():
        origin = record.provenance
        software = origin["software"]
        date = datetime.fromtimestamp(origin["date"], UTC).strftime("%Y-%m-%d")
        weights = (origin["model"].get("weights_sha256") or origin["model"].get("revision") or "")[:12]
        cells = [
            escape(label),
            f"`{record.task}` {record.task_version}",
            f"{escape(origin['data_source'])} ({(origin['data_sha256'] or '')[:12]})",
            weights,
            software["commit"] or software["harness"],
            software["lm_eval"],
            date,
            f"[{files[label].rsplit('-', 1)[-1].removesuffix('.jsonl')}]({files[label]})",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([lines[0] + " " + lines[1], *lines[2:]])
