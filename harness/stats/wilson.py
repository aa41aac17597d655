"""The Wilson score interval for a rate.

A bootstrap of a rate that was observed as 0 or 1 has no width, and claims certainty from ten samples;
Wilson's interval does not, and keeps its coverage at small n.

Source: Wilson (1927), JASA 22(158); Brown, Cai and DasGupta (2001), Statistical Science 16(2), eq. 4.
"""

from statistics import NormalDist

from harness.stats.bootstrap import Interval


def wilson_interval(successes: int, n: int, *, confidence: float = 0.95) -> Interval:
    """Return the Wilson score interval of a rate, in [0, 1].

    Args:
        successes: Number of samples that succeeded, 0 to n.
        n: Number of samples, at least 1.
        confidence: Nominal coverage, in (0, 1).

    Raises:
        ValueError: An argument out of range.
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"need 0 <= successes <= n and n >= 1, not successes={successes}, n={n}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), not {confidence}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate = successes / n
    center = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (rate * (1 - rate) / n + z * z / (4 * n * n)) ** 0.5
    # at 0 and n a limit is exactly 0 or 1, and must not be 1e-18 instead
    return Interval(0.0 if successes == 0 else center - half, 1.0 if successes == n else center + half)
