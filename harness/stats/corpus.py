"""Two corpus scores, functions of summed per-document statistics, tested against each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.stats.bootstrap import ScoreFunction
from harness.stats.jackknife import pseudo_values
from harness.stats.permutation import swap_p_value
from harness.stats.rows import FEWEST_FOR_T, row_t_p_values
from harness.stats.ties import SMALLEST, TIE, FloatArray, size_of

_FIRST = 1024
"""Documents looked at first: where `FEWEST_FOR_T` of them differ, the others need no look."""


@dataclass(frozen=True, kw_only=True)
class CorpusSystem:
    """What the tests of one system against others share."""

    statistics: NDArray[Any]
    """Per document, shape [n, k], of any number type."""
    sizes: FloatArray
    """Size of each statistic, shape [k]."""
    sums: FloatArray
    """Over all documents, shape [k]."""
    values: FloatArray
    """Pseudo-values, shape [n]."""
    value_size: float
    """Their size."""


def corpus_system(statistics: NDArray[Any], fn: ScoreFunction) -> CorpusSystem:
    """Prepare a system.

    Args:
        statistics: Per document, shape [n, k], n >= 1.
        fn: Maps summed statistics [b, k] to scores [b].

    Raises:
        ValueError: A shape other than [n, k], or a statistic or score that is not finite.
    """
    table = np.asarray(statistics)
    if table.ndim != 2 or len(table) == 0:
        raise ValueError(f"statistics must have shape [n, k] with n >= 1, not {table.shape}")
    sums = table.sum(axis=0, dtype=np.float64)
    if not np.isfinite(sums).all():
        raise ValueError("statistics hold a value that is not finite: leave failed samples out")
    values = pseudo_values(table, fn)
    sizes = np.abs(table).max(axis=0, initial=SMALLEST).astype(np.float64)
    return CorpusSystem(statistics=table, sizes=sizes, sums=sums, values=values, value_size=size_of(values))


def corpus_p_value(baseline: CorpusSystem, candidate: CorpusSystem, fn: ScoreFunction, *, seed: int) -> float:
    """Return the two-sided p-value of no difference, by t where enough documents differ, else by swaps."""
    first = differing_documents(baseline, candidate, _FIRST)
    if first.sum() < FEWEST_FOR_T:
        differ = differing_documents(baseline, candidate)
        if differ.sum() < FEWEST_FOR_T:
            rows = [system.statistics[differ].astype(np.float64) for system in (baseline, candidate)]
            return swap_p_value(rows[0], rows[1], (baseline.sums, candidate.sums), fn, seed=seed)
    scale = np.array([max(baseline.value_size, candidate.value_size)])
    return float(row_t_p_values((candidate.values - baseline.values)[None, :], scale)[0])


def differing_documents(
    baseline: CorpusSystem, candidate: CorpusSystem, first: int | None = None
) -> NDArray[np.bool_]:
    """Which of the (first) documents differ in a statistic, shape [n]."""
    before, after = (s.statistics[:first].astype(np.float64, copy=False) for s in (baseline, candidate))
    noise = TIE * np.maximum(baseline.sizes, candidate.sizes)
    return np.asarray((np.abs(after - before) > noise).any(axis=1))
