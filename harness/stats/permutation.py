"""Paired permutation tests (approximate randomisation): exact where few documents differ, else by seeded draws.

If two systems are equal, which of the two wrote which response of a document is a toss of a coin. For a mean, a swap flips the sign
of the document's difference; for a corpus score, the documents' statistics are swapped and both sums scored again. The p-value is
the share of assignments whose difference is at least the observed one in size. It holds at any number of documents: with three, it
cannot be below 1/4.

Documents on which the systems do not differ change nothing and are left out by the caller. Sums that are equal in exact arithmetic
count as equal: see `harness.stats.ties`.

Sources: Fisher (1935), "The Design of Experiments", section 21; Noreen (1989); Riezler and Maxwell (2005), ACL workshop on
intrinsic and extrinsic evaluation measures; Dror et al. (2018), ACL, sections 3.2 and 5; Phipson and Smyth (2010), SAGMB 9(1), for
the 1 added to both counts of draws. Exact sums of signs follow Horowitz and Sahni (1974), JACM 21(2): two halves, one sorted.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from harness.stats.bootstrap import ScoreFunction
from harness.stats.ties import TIE, FloatArray

MOST_DOCUMENTS = 64
"""Columns of the matrix of draws, more than any test here asks for."""
N_DRAWS = 100_000
EXACT_SIGNS = 24
"""Most differences whose 2^n sums of signs are counted exactly: half a millisecond."""
EXACT_SWAPS = 16
"""Most documents whose 2^(n - 1) swaps are scored exactly."""
_BLOCK = 4096


def sign_flip_p_values(rows: Sequence[FloatArray], *, seed: int) -> FloatArray:
    """Return the two-sided p-value of each row of differences, none of which is 0 (an empty row gives 1).

    Args:
        rows: Differences of one pair of systems each, at most `MOST_DOCUMENTS` of them.
        seed: Seed of the draws, which are the same for all rows.
    """
    p_values = np.ones(len(rows))
    drawn = []
    for index, row in enumerate(rows):
        if len(row) <= EXACT_SIGNS:
            p_values[index] = _exact_sign_flip(row)
        else:
            drawn.append(index)
    for start in range(0, len(drawn), 256):  # bounds the memory: 8 MB of sums
        some = drawn[start : start + 256]
        p_values[some] = _drawn_sign_flip([rows[index] for index in some], seed)
    return p_values


def swap_p_value(
    baseline: FloatArray,
    candidate: FloatArray,
    sums: tuple[FloatArray, FloatArray],
    fn: ScoreFunction,
    *,
    seed: int,
) -> float:
    """Return the two-sided p-value of a difference of corpus scores.

    Args:
        baseline: Statistics of the documents that differ, shape [n, k], at most `MOST_DOCUMENTS`.
        candidate: The same for the candidate.
        sums: Both systems' statistics summed over all documents, shape [k] each.
        fn: Summed statistics [b, k] to scores [b].
        seed: Seed of the draws.
    """
    n = len(baseline)
    if n == 0:
        return 1.0
    change = candidate - baseline
    scores = fn(np.stack(sums))
    least = abs(float(scores[1] - scores[0])) - TIE * float(np.abs(scores).max())
    exact = n <= EXACT_SWAPS
    swaps = _all_swaps(n) if exact else _draws(seed)[:, :n]
    extreme = 0
    for start in range(0, len(swaps), _BLOCK):
        moved = swaps[start : start + _BLOCK].astype(np.float64) @ change
        found = np.abs(fn(sums[1] - moved) - fn(sums[0] + moved))
        extreme += int(np.count_nonzero(~(found < least)))
    return extreme / len(swaps) if exact else (1 + extreme) / (1 + len(swaps))


def _exact_sign_flip(row: FloatArray) -> float:
    """Over all 2^n assignments; the first half's sums are sorted, and each of the second's asks how many reach the rest."""
    total = float(np.abs(row).sum())
    observed = abs(float(row.sum()))
    if observed <= 2 * TIE * total:
        return 1.0
    first, second = (_sums_of_signs(half) for half in (row[: len(row) // 2], row[len(row) // 2 :]))
    first.sort()
    reached = len(first) - np.searchsorted(first, observed - TIE * total - second)
    return min(1.0, 2 * float(reached.sum()) / 2.0 ** len(row))


def _sums_of_signs(values: FloatArray) -> FloatArray:
    """All 2^n sums of +-values, shape [2^n]."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def _drawn_sign_flip(rows: Sequence[FloatArray], seed: int) -> FloatArray:
    width = max(len(row) for row in rows)
    table = np.zeros((width, len(rows)))
    for column, row in enumerate(rows):
        table[: len(row), column] = row
    total = table.sum(axis=0)
    least = np.abs(total) - TIE * np.abs(table).sum(axis=0)
    extreme = np.zeros(len(rows), dtype=np.int64)
    draws = _draws(seed)[:, :width]
    block = min(_BLOCK, 2**16 // len(rows))  # what follows stays in a core's own cache
    for start in range(0, N_DRAWS, block):
        flipped = draws[start : start + block].astype(np.float64) @ table
        extreme += np.count_nonzero(np.abs(total - 2 * flipped) >= least, axis=0)
    p_values: FloatArray = (1 + extreme) / (1 + N_DRAWS)
    return p_values


@lru_cache(maxsize=2)
def _draws(seed: int) -> NDArray[np.int8]:
    """Tosses of a coin, int8 [N_DRAWS, MOST_DOCUMENTS]: 6 MB."""
    return np.random.default_rng(seed).integers(0, 2, size=(N_DRAWS, MOST_DOCUMENTS), dtype=np.int8)


def _all_swaps(n: int) -> NDArray[np.int8]:
    """Every assignment with the first document in place, int8 [2^(n - 1), n]; the others mirror these."""
    bits = (np.arange(2 ** (n - 1))[:, None] >> np.arange(n - 1)) & 1
    return np.column_stack([np.zeros(len(bits), dtype=np.int8), bits.astype(np.int8)])
