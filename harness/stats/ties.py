"""True ties stay ties: comparisons that last bits cannot turn.

Two sums of the same scores in another order differ by some 1e-16 of their size for each step, and no two scores that anybody
means to tell apart differ by less than a millionth. `TIE` lies between. Every comparison in this package that decides something
(who won a document, whether a permuted difference reaches the observed one, whether anything varies at all) goes through it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

TIE = 1e-10
"""Relative difference up to which two numbers are taken as equal."""
SMALLEST = 1e-300
"""No score is smaller, but for 0 and what is left of it."""


def settled(value: float, scale: float) -> float:
    """Return 0.0 where `value` is rounding noise beside numbers of size `scale`, else `value`."""
    return 0.0 if abs(value) <= TIE * max(scale, SMALLEST) else value


def size_of(*values: FloatArray) -> float:
    """Return the largest absolute value, the scale of the rounding errors; at least `SMALLEST`."""
    return max([SMALLEST, *(float(np.abs(array).max()) for array in values if array.size)])


def varies(values: FloatArray, scale: float) -> bool:
    """Whether `values` differ by more than rounding noise beside numbers of size `scale`."""
    return bool(values.size and float(values.max() - values.min()) > 2 * TIE * scale)


def differences(baseline: FloatArray, candidate: FloatArray) -> FloatArray:
    """Return candidate minus baseline, elementwise, with 0.0 where they are equal but for rounding."""
    found = candidate - baseline
    found[np.abs(found) <= TIE * size_of(baseline, candidate)] = 0.0
    return found
