"""Windows over a response: the unit that the classifier scores.

Sliding windows are of 8 tokens with stride 1; a response of fewer tokens is one window. A window is factual if all its tokens are.

Source: arXiv 2407.07071, section 2.2; voidism/Lookback-Lens @ f2846ef.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Span = tuple[int, int]
"""(start, end): characters of the stripped response, or tokens; the end is not in it."""

SIZE = 8
"""Tokens of a sliding window."""


def sliding(n_tokens: int, size: int = SIZE) -> list[Span]:
    """Token spans of all windows of a response with at least one token."""
    return [(start, start + size) for start in range(n_tokens - size + 1)] or [(0, n_tokens)]


def features(ratios: NDArray[Any], windows: Sequence[Span]) -> NDArray[np.float64]:
    """Mean ratio of each window, float64 [W, L * H], layer by layer (index l * H + h).

    Args:
        ratios: [R, L, H], see `harness.lookback.extraction`.
        windows: Token spans, none of them empty.
    """
    flat = ratios.reshape(len(ratios), -1).astype(np.float64)
    sums = np.concatenate([np.zeros((1, flat.shape[1])), flat.cumsum(0)])
    starts, ends = np.array(windows).T
    means: NDArray[np.float64] = (sums[ends] - sums[starts]) / (ends - starts)[:, None]
    return means


def characters(offsets: Sequence[Span], windows: Sequence[Span]) -> list[Span]:
    """Character span of each window: from its first token's start to its last token's end."""
    return [(offsets[start][0], offsets[end - 1][1]) for start, end in windows]


def token_labels(offsets: Sequence[Span], hallucinated: Sequence[Span]) -> NDArray[np.int64]:
    """1 for each factual token, 0 for each that shares a character with a hallucinated span; int64 [R]."""
    return np.array(
        [int(not any(start < e and s < end for s, e in hallucinated)) for start, end in offsets],
        dtype=np.int64,
    )


def window_labels(labels: NDArray[np.int64], windows: Sequence[Span]) -> NDArray[np.int64]:
    """Label of each window: 0 if any token in it is hallucinated; int64 [W]."""
    return np.array([labels[start:end].min() for start, end in windows], dtype=np.int64)


def predefined(labels: NDArray[np.int64]) -> list[Span]:
    """Token spans of the maximal runs of equal labels: the annotated spans, and the stretches between them."""
    edges = np.flatnonzero(np.diff(labels)) + 1
    bounds = [0, *edges.tolist(), len(labels)]
    return list(itertools.pairwise(bounds))
