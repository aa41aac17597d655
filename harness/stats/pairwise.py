"""The paired test of every two of many systems, in bounded memory.

For each pair the p-value is the one that `compare_rates`, `compare_means` or `compare_statistics` gives: differences are formed
directly, a block of rows at a time, not from covariances, where they would cancel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.stats.bootstrap import ScoreFunction
from harness.stats.corpus import corpus_p_value, corpus_system
from harness.stats.mcnemar import mcnemar_p_values
from harness.stats.permutation import sign_flip_p_values
from harness.stats.rows import SEED, t_where_enough, zeros_and_ones
from harness.stats.ties import SMALLEST, TIE, FloatArray

_BLOCK_CELLS = 65_536
"""Differences held at once: half a megabyte, a core's own cache."""


def pairwise_p_values(values: FloatArray, *, rates: bool, seed: int = SEED) -> FloatArray:
    """Return the p-value of every two of m systems on the same n documents.

    Args:
        values: Scores, shape [m, n], complete: the caller puts in what a failed sample counts as.
        rates: McNemar's exact test on values 0 and 1; otherwise the test of `compare_means`.
        seed: Seed of the draws of sign-flip tests that are not exact.

    Returns:
        Symmetric, with ones on the diagonal, shape [m, m].

    Raises:
        ValueError: A shape other than [m, n] with n >= 1, a value that is not finite, or a rate other than 0 and 1.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] == 0:
        raise ValueError(f"values must have shape [m, n] with n >= 1, not {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError("scores hold a value that is not finite: fill failed samples in")
    return _rates(zeros_and_ones(table)) if rates else _means(table, seed)


def pairwise_p_statistics(
    tables: Sequence[NDArray[Any]], fn: ScoreFunction, *, seed: int = SEED
) -> FloatArray:
    """Return the p-value of every two of m corpus scores over the same n documents.

    Args:
        tables: Statistics of each system, m arrays of shape [n, k]; of any number type, to save memory.
        fn: Maps summed statistics [b, k] to scores [b].
        seed: Seed of the draws of swap tests that are not exact.

    Returns:
        Symmetric, with ones on the diagonal, shape [m, m].

    Raises:
        ValueError: Unequal shapes, or a score that is not finite.
    """
    if len({table.shape for table in tables}) > 1:
        raise ValueError("need tables of one shape [n, k]")
    systems = [corpus_system(table, fn) for table in tables]
    p_values = np.ones((len(tables), len(tables)))
    for i, before in enumerate(systems):
        for j in range(i + 1, len(systems)):
            p_values[i, j] = corpus_p_value(before, systems[j], fn, seed=seed)
    return _symmetric(p_values)


def _rates(table: FloatArray) -> FloatArray:
    """Whole numbers, so exact whatever order BLAS sums in."""
    successes = table.sum(axis=1)
    wins = np.rint(successes[:, None] - table @ table.T).astype(np.int64)
    return mcnemar_p_values(wins.T, wins)


def _means(table: FloatArray, seed: int) -> FloatArray:
    m, n = table.shape
    p_values = np.ones((m, m))
    sizes = np.abs(table).max(axis=1, initial=SMALLEST)
    height = max(1, _BLOCK_CELLS // n)
    pairs: list[tuple[int, int]] = []
    rows: list[FloatArray] = []
    for i in range(m):
        for start in range(i + 1, m, height):
            block = table[start : start + height] - table[i]
            scales = np.maximum(sizes[start : start + height], sizes[i])
            block *= np.abs(block) > TIE * scales[:, None]
            p_values[i, start : start + height], few = t_where_enough(block, scales)
            pairs += [(i, start + int(j)) for j in few]
            rows += [row[row != 0] for row in block[few]]
    if pairs:
        p_values[tuple(np.array(pairs).T)] = sign_flip_p_values(rows, seed=seed)
    return _symmetric(p_values)


def _symmetric(upper: FloatArray) -> FloatArray:
    """Mirror what stands above the diagonal, and put ones on it."""
    above = np.triu(upper, 1)
    mirrored: FloatArray = above + above.T + np.eye(len(upper))
    return mirrored
