"""Which rows of a board share a rank."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from harness.board.footnotes import is_gold
from harness.metrics.base import Score
from harness.records.compare import ALPHA
from harness.records.failures import answered_nothing, ranking
from harness.records.record import Scored
from harness.stats import FEWEST_FOR_VERDICT, holm
from harness.stats.bootstrap import FloatArray
from harness.stats.rounding import rounded


def ranked(records: Mapping[str, Scored], key: str, score: Score) -> tuple[dict[str, int], dict[str, float]]:
    """Ranks by label, and what rows are ordered by (smaller is better, rounded).

    Rows share a rank unless a paired test over all documents, failures counted as failures and Holm-corrected over all pairs,
    shows a difference. References and rows that never had the score are ordered but not ranked; below `FEWEST_FOR_VERDICT`
    documents nobody is.
    """
    having = {label: r for label, r in records.items() if key in r.scores or answered_nothing(r)}
    found = ranking(list(having.values()), key, score) if having else None
    if found is None:  # a score without a better direction, or one that nobody has
        return {}, {label: _headline(record, key) for label, record in records.items()}
    sign = 1.0 if score.higher_is_better is False else -1.0
    order = {label: rounded(sign * float(mean)) for label, mean in zip(having, found.order, strict=True)}
    chosen = [i for i, record in enumerate(having.values()) if not is_gold(record)]
    if found.n < FEWEST_FOR_VERDICT or not chosen:
        return {}, order
    names = [list(having)[i] for i in chosen]
    return _from_tests(names, found.p_values[np.ix_(chosen, chosen)], order), order


def _from_tests(names: list[str], p_values: FloatArray, order: Mapping[str, float]) -> dict[str, int]:
    pairs = np.triu_indices(len(names), k=1)
    worse = dict.fromkeys(names, 0)
    for i, j, p in zip(*pairs, holm(p_values[pairs].tolist()), strict=True):
        if p <= ALPHA:
            worse[names[i] if order[names[i]] > order[names[j]] else names[j]] += 1
    ranks: dict[str, int] = {}
    reached = 1
    for name in sorted(names, key=lambda name: (order[name], name)):
        # pairs have different spreads: a row never ranks above one that stands above it
        reached = ranks[name] = max(reached, 1 + worse[name])
    return ranks


def _headline(record: Scored, key: str) -> float:
    """Orders rows that cannot be ranked; one without the score comes last."""
    summary = record.summary(key)
    if summary is None:
        return float("inf")
    return summary.value if summary.higher_is_better is False else -summary.value
