"""Resampling with replacement as a product of matrices.

A resample of n documents is a row of n counts, how often each was drawn, and the sums over many resamples are one product of the
count matrix and the table of statistics. The counts depend on n, the number of resamples and the seed alone, so the next score over
as many documents, or the next record, finds them made. They are kept as bytes, an eighth of what the product needs, and are
widened a block at a time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from harness.stats.ties import FloatArray

Counts = NDArray[np.uint8]

_BLOCK_CELLS = 160_000
"""Counts widened at once: 1.3 MB, in a core's own cache, and a product too small for BLAS to wait for other threads."""
_KEPT_BYTES = 128_000_000
"""Most that the kept counts may take: a dozen numbers of documents at n = 10,000 and 1,000 resamples."""
_kept: OrderedDict[tuple[int, int, int], Counts] = OrderedDict()


def resampled_sums(statistics: FloatArray, *, n_resamples: int, seed: int) -> FloatArray:
    """Return the statistics summed over each resample with replacement, shape [n_resamples, k].

    The draws depend on n, n_resamples and seed alone, never on the values: columns of several scores over the same documents may
    be stacked, and are resampled alike.

    Args:
        statistics: Statistics per document, shape [n, k].
        n_resamples: Number of resamples.
        seed: Seed of the generator.
    """
    n, k = statistics.shape
    table = np.ascontiguousarray(statistics, dtype=np.float64)
    sums = np.empty((n_resamples, k))
    start = 0
    for counts in _blocks(n, n_resamples, seed):
        stop = start + len(counts)
        np.matmul(counts.astype(np.float64), table, out=sums[start:stop])
        start = stop
    return sums


def _blocks(n: int, n_resamples: int, seed: int) -> Iterator[Counts]:
    """Yield counts [rows, n]: kept ones, or new ones, which are kept if they are small enough."""
    rows = max(1, _BLOCK_CELLS // n)
    key = (n, n_resamples, seed)
    if n * n_resamples > _KEPT_BYTES:
        yield from _drawn(n, n_resamples, seed, rows)
        return
    counts = _kept.pop(key, None)
    if counts is None:
        counts = np.concatenate(list(_drawn(n, n_resamples, seed, rows)))
    _kept[key] = counts  # the last in line to be dropped
    while sum(kept.nbytes for kept in list(_kept.values())) > _KEPT_BYTES:
        _kept.popitem(last=False)
    yield from (counts[start : start + rows] for start in range(0, n_resamples, rows))


def _drawn(n: int, n_resamples: int, seed: int, rows: int) -> Iterator[Counts]:
    """Yield new counts; the stream of draws does not depend on the number of rows in a block."""
    generator = np.random.default_rng(seed)
    for start in range(0, n_resamples, rows):
        counts = np.empty((min(rows, n_resamples - start), n), dtype=np.uint8)
        for row in counts:
            # one call per resample: integers() buffers 32-bit halves within a call, so the block size would leak otherwise
            # a byte holds the counts: n of at most 255, or more with a chance of a document's 256th draw below 1e-500
            row[:] = np.bincount(generator.integers(0, n, size=n, dtype=np.int32), minlength=n)
        yield counts
