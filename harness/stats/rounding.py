"""Numbers as they are published: rounded where they are written, compared as numbers where they are verified.

The last bits of a double differ between processors: BLAS picks its kernels, and libm its variants, by what the machine has. What is
published therefore keeps fewer digits than all machines agree on, and `agrees` says whether a published number is what some machine
would have written, whichever way a tie fell.

Nine significant digits and at most eight decimals are kept: noise of 1e-12 of a value is at most a thousandth of the last digit, so
`agrees` lets that noise through and still finds a last digit altered by one, except where the exact value lies within a thousandth
of the last digit of a tie. Numbers below 1e-4 (p-values) keep six significant digits instead of vanishing.

A number that is zero but for rounding errors must be made zero by whoever computes it (`harness.stats.ties.settled`): here 1e-17
may be a p-value.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

DECIMALS = 8
"""Most decimals kept of a number of at least `_SMALL`."""
_DIGITS = 9
"""Most significant digits kept of a number of at least 1."""
_SMALL = 1e-4
_SMALL_DIGITS = 6
"""Significant digits kept below `_SMALL`."""
_SLACK = 1e-3
"""Noise let through, in units of the last kept digit: 1e-11 for a share."""


def rounded(value: float) -> float:
    """Return `value` as published; never -0.0. Whole numbers are exact and stay as they are.

    Raises:
        ValueError: `value` is not finite.
    """
    value = float(value)
    if not math.isfinite(value):
        raise ValueError(f"only a finite number can be published, not {value}")
    if value.is_integer():
        return value + 0.0  # -0.0 + 0.0 is 0.0
    size = abs(float(value))
    if size < _SMALL:
        return float(f"{value:.{_SMALL_DIGITS - 1}e}")
    if size < 1:
        return round(value, DECIMALS)
    return float(f"{value:.{_DIGITS - 1}e}")


def agrees(stated: float, exact: float) -> bool:
    """Whether `stated` is what `rounded(exact)` gives, here or on a machine with other last bits.

    Args:
        stated: A number read from a published file.
        exact: The same number computed here, not rounded.

    Returns:
        True if `stated` is a rounded number within half a unit of the last kept digit of `exact`, plus a thousandth of that unit.
        False if either is not finite.
    """
    if not (math.isfinite(stated) and math.isfinite(exact)) or stated != rounded(stated):
        return False
    unit = min(_unit(stated), _unit(exact))  # they differ at a power of ten alone, where the finer one holds
    return abs(stated - exact) <= (0.5 + _SLACK) * unit


def rounded_tree(value: Any) -> Any:
    """Plain data with every float rounded, at any depth; NaN and infinities become None, tuples become lists, the rest stays."""
    if isinstance(value, float):  # also numpy's float64; bool and int are none
        return rounded(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: rounded_tree(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rounded_tree(inner) for inner in value]
    return value


def _unit(value: float) -> float:
    """The unit of the last digit that `rounded` keeps of `value`."""
    size = abs(float(value))
    if size == 0 or _SMALL <= size < 1:
        return 10.0**-DECIMALS
    exponent = Decimal(
        repr(size)
    ).adjusted()  # of the shortest text: a double "1e-6" is a little less than that
    kept = _SMALL_DIGITS if size < _SMALL else _DIGITS
    return float(f"1e{exponent + 1 - kept}")
