"""Correction for several tests at once. Source: Holm (1979), Scand. J. Statistics 6(2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.stats.ties import FloatArray


def holm(p_values: Sequence[float] | FloatArray) -> list[float]:
    """Return Holm's adjusted p-values in the order given: reject where one is at most alpha."""
    raw = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(raw, kind="stable")
    steps = np.minimum(1.0, (len(raw) - np.arange(len(raw))) * raw[order])
    adjusted = np.empty(len(raw))
    adjusted[order] = np.maximum.accumulate(steps) if len(raw) else steps
    return [float(p) for p in adjusted]
