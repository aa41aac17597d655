"""Published numbers: what is kept, which noise passes and which alteration does not."""

import json
import math
import random

import numpy as np
import pytest

from harness.stats.rounding import agrees, rounded, rounded_tree


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (0.1 + 0.2, "0.3"),
        (1 / 3, "0.33333333"),
        (2 / 3 * 100, "66.6666667"),
        (12345.678901234, "12345.6789"),
        (3.123456789e-21, "3.12346e-21"),
        (1e-300 / 3, "3.33333e-301"),
        (-0.0, "0.0"),
        (-1 / 3, "-0.33333333"),
        (1753000001.0, "1753000001.0"),
        (0.99999999999, "1.0"),
        (9.9999996e-5, "0.0001"),
        (5e-324, "5e-324"),
    ],
)
def test_what_is_kept(value: float, kept: str) -> None:
    assert json.dumps(rounded(value)) == kept
    assert math.copysign(1, rounded(value)) > 0 or value < 0


def numbers(count: int) -> list[float]:
    """Shares, percentages, p-values of any size, and neighbours of powers of ten."""
    generator = random.Random(0)
    found = [generator.choice([1, -1]) * 10 ** generator.uniform(-30, 7) for _ in range(count)]
    found += [generator.random() * generator.choice([1, 100]) for _ in range(count)]
    found += [
        10.0 ** generator.randint(-9, 6) * (1 + generator.uniform(-3, 3) * 10 ** -generator.uniform(5, 15))
        for _ in range(count)
    ]
    return found


def altered(value: float) -> float:
    """The last written digit, one higher or lower."""
    mantissa, _, exponent = json.dumps(value).partition("e")
    place = max(i for i, character in enumerate(mantissa) if character.isdigit())
    if mantissa.endswith(".0"):
        place -= 2
    digit = int(mantissa[place])
    digit += 1 if digit < 9 else -1
    return float(f"{mantissa[:place]}{digit}{mantissa[place + 1 :]}" + (f"e{exponent}" if exponent else ""))


def test_noise_passes_and_an_altered_last_digit_does_not() -> None:
    generator = random.Random(1)
    values = numbers(20_000)
    missed = 0
    for value in values:
        stated = rounded(value)
        assert rounded(stated) == stated
        assert agrees(stated, value)
        assert agrees(stated, value * (1 + generator.uniform(-1e-12, 1e-12)))
        assert abs(stated - value) <= 5e-9 * max(1.0, abs(value))
        missed += agrees(altered(stated), value)
    assert missed / len(values) < 2e-3  # beside a tie the two cannot be told apart


def test_a_number_with_more_digits_than_are_published_is_refused() -> None:
    assert agrees(0.33333333, 1 / 3)
    assert not agrees(0.333333331, 1 / 3)
    assert not agrees(0.3333333, 1 / 3)


@pytest.mark.parametrize(
    ("stated", "exact"), [(0.0, 3e-21), (3e-21, 0.0), (3.1e-21, 3e-21), (1e-4, 9.99999e-5)]
)
def test_small_p_values_are_compared_by_their_own_digits(stated: float, exact: float) -> None:
    assert not agrees(stated, exact)
    assert agrees(rounded(exact), exact)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_neither_published_nor_agreed_with(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        rounded(value)
    assert not agrees(value, value)
    assert not agrees(0.5, value)


def test_a_tree_is_rounded_in_its_floats_alone() -> None:
    tree = {"a": [0.1 + 0.2, 7, True, None, "0.1"], "b": {"c": (math.nan, -math.inf, np.float64(1 / 3))}}
    assert rounded_tree(tree) == {"a": [0.3, 7, True, None, "0.1"], "b": {"c": [None, None, 0.33333333]}}
    assert rounded_tree(tree)["a"][2] is True
    assert isinstance(rounded_tree(tree)["a"][1], int)
