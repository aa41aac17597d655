"""Compact soft labels of one example, and their exact use at every stored temperature.

Shapes: N response tokens, E kept entries of all tokens together, G temperatures, U = ceil(V / 65,536) id
ranges.

Stored per kept entry are 2 bytes of id and 2 of log-probability. A token's entries are sorted by id, so the
id bits above the 16th follow from how many entries fall into each range of 65,536 ids: ``counts`` [N, U], 1
or 2 bytes each. At K = 64 and V = 151,936 that is 128 + 128 + 3 bytes, plus the tail mass per temperature (2
bytes each) and the log-normaliser (4).

Temperatures: the full softmax at T restricted to the kept set S is proportional to p^(1/T), so with the tail
mass t_T stored,

    p_T(k) = (1 - t_T) p(k)^(1/T) / sum_S p^(1/T)

is exact; the log-normaliser at T follows as log Z_T = log Z / T + logsumexp_S(log p / T) - log(1 - t_T).
Top-K log-probabilities alone cannot give it: they say nothing about how much of the tail a higher temperature
lifts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RANGE = 1 << 16


@dataclass(frozen=True, kw_only=True)
class SoftLabels:
    """Soft labels of one example's response tokens."""

    ids: NDArray[np.uint16]
    """uint16 [E], low 16 bits of the kept ids, ascending by whole id within a token."""
    log_probs: NDArray[np.floating]
    """float16 or float32 [E], nats, full-softmax log-probabilities at T = 1."""
    counts: NDArray[np.unsignedinteger]
    """uint8 or uint16 [N, U], entries per token and id range."""
    log_tail: NDArray[np.float16]
    """float16 [N, G], nats, log of the mass outside the kept entries at each temperature of the grid; -inf
    for none."""
    log_normalizer: NDArray[np.float32]
    """float32 [N], nats, log-normaliser of the raw logits at T = 1."""

    def entries_per_token(self) -> NDArray[np.int64]:
        """int64 [N], at least 1 each."""
        return np.asarray(self.counts.sum(1), dtype=np.int64)

    def full_ids(self) -> NDArray[np.int64]:
        """int64 [E], the kept token ids."""
        tokens, ranges = self.counts.shape
        if ranges == 1:
            return self.ids.astype(np.int64)
        high = np.repeat(np.tile(np.arange(ranges, dtype=np.int64) * RANGE, tokens), self.counts.reshape(-1))
        return self.ids.astype(np.int64) + high

    def at_temperature(
        self, index: int, temperature: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Log-probabilities [E] and log tail mass [N] at the grid's ``index``-th temperature, float32,
        nats.
        """
        per_token = self.entries_per_token()
        starts = np.concatenate([[0], per_token.cumsum()[:-1]])
        scaled = self.log_probs.astype(np.float32) / np.float32(temperature)
        peak = np.maximum.reduceat(scaled, starts)
        total = np.add.reduceat(np.exp(scaled - np.repeat(peak, per_token)), starts)
        log_tail = self.log_tail[:, index].astype(np.float32)
        # renormalising to the stored kept mass also takes out the rounding of float16 entries
        shift = np.log1p(-np.minimum(np.exp(log_tail), np.float32(1 - 1e-7))) - peak - np.log(total)
        return (scaled + np.repeat(shift, per_token)).astype(np.float32), log_tail


def pack(
    ids: NDArray[np.int64],
    log_probs: NDArray[np.float32],
    keep: NDArray[np.bool_],
    log_tail: NDArray[np.float32],
    log_normalizer: NDArray[np.float32],
    *,
    vocabulary_size: int,
    dtype: str,
) -> SoftLabels:
    """Pack one example's entries.

    Args:
        ids: int64 [N, K], kept ids in any order.
        log_probs: float32 [N, K], nats.
        keep: bool [N, K], False for entries that an adaptive K leaves out.
        log_tail: float32 [N, G].
        log_normalizer: float32 [N].
        dtype: ``float16`` or ``float32`` for the log-probabilities.
    """
    order = np.argsort(np.where(keep, ids, vocabulary_size), axis=1, kind="stable")
    ids = np.take_along_axis(ids, order, 1)
    log_probs = np.take_along_axis(log_probs, order, 1)
    keep = np.take_along_axis(keep, order, 1)
    ranges = -(-vocabulary_size // RANGE)
    counts = np.stack([((ids // RANGE == index) & keep).sum(1) for index in range(ranges)], 1)
    return SoftLabels(
        ids=(ids[keep] % RANGE).astype(np.uint16),
        log_probs=log_probs[keep].astype(dtype),
        counts=counts.astype(np.uint8 if ids.shape[1] < 256 else np.uint16),
        log_tail=log_tail.astype(np.float16),
        log_normalizer=log_normalizer.astype(np.float32),
    )
