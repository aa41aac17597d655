"""Paired comparisons against scipy and statsmodels, against closed forms, and on the edges."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from harness.stats import (
    FEWEST_FOR_VERDICT,
    Difference,
    compare_means,
    compare_rates,
    compare_statistics,
    holm,
    mcnemar,
    pseudo_values,
)


def mean_of(sums: np.ndarray) -> np.ndarray:
    return sums[:, 1] / sums[:, 0]


def as_table(scores: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(scores)), scores])


def test_compare_rates_reads_the_discordant_documents() -> None:
    before = [1, 1, 0, 0, 0, 0, 1, 0]
    after = [1, 0, 1, 1, 1, 0, 1, 1]
    result = compare_rates(before, after)
    assert (result.wins, result.losses, result.differing, result.n) == (4, 1, 5, 8)
    assert result.delta == pytest.approx(3 / 8)
    assert (result.p_value, result.mid_p) == mcnemar(1, 4)
    # Bonett and Price 2012, eq. 3, by hand: gained 5/10, lost 2/10.
    half = scipy_stats.norm.ppf(0.975) * ((0.7 - 0.09) / 10) ** 0.5
    assert result.interval is not None
    assert result.interval.low == pytest.approx(0.3 - half)
    assert result.interval.high == pytest.approx(0.3 + half)


@pytest.mark.parametrize("n", [50, 300, 2000])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_compare_means_is_the_paired_t_test(n: int, confidence: float) -> None:
    generator = np.random.default_rng(n)
    before = generator.beta(2, 3, n)
    after = before + generator.normal(0.01, 0.1, n)
    result = compare_means(before, after, confidence=confidence)
    reference = scipy_stats.ttest_rel(after, before)
    limits = reference.confidence_interval(confidence)
    assert result.test == "paired t"
    assert result.p_value == pytest.approx(reference.pvalue, rel=1e-10)
    assert result.interval is not None
    assert (result.interval.low, result.interval.high) == pytest.approx((limits.low, limits.high), rel=1e-9)
    assert result.standard_error == pytest.approx(scipy_stats.sem(after - before), rel=1e-12)


@pytest.mark.parametrize("n", [60, 1000])
def test_p_and_interval_agree_where_t_gives_both(n: int) -> None:
    generator = np.random.default_rng(n)
    for effect in np.linspace(0.1, 0.3, 30) / (n / 60) ** 0.5:
        result = compare_means(np.zeros(n), generator.normal(effect, 1, n))
        assert result.interval is not None
        assert (0.0 in result.interval) == (result.p_value > 0.05)


def test_a_far_tail_is_a_number_and_no_0() -> None:
    difference = np.random.default_rng(0).normal(1, 0.2, 5000)
    result = compare_means(np.zeros(5000), difference)
    assert 0 < result.p_value < 1e-300
    small = compare_means(np.zeros(400), difference[:400] * 0.4)
    expected = scipy_stats.ttest_1samp(difference[:400] * 0.4, 0).pvalue
    assert expected < 1e-200
    assert small.p_value == pytest.approx(expected, rel=1e-10, abs=0)


def test_the_interval_below_the_threshold_is_students_too() -> None:
    difference = np.random.default_rng(1).normal(0.1, 0.2, 12)
    result = compare_means(np.zeros(12), difference)
    limits = scipy_stats.ttest_1samp(difference, 0).confidence_interval()
    assert result.interval is not None
    assert (result.interval.low, result.interval.high) == pytest.approx((limits.low, limits.high))


@pytest.mark.parametrize("n", [8, 16, 60, 300])
def test_a_corpus_mean_is_compared_like_a_mean(n: int) -> None:
    generator = np.random.default_rng(5)
    before, after = generator.random(n), generator.random(n)
    corpus = compare_statistics(as_table(before), as_table(after), mean_of)
    mean = compare_means(before, after)
    assert corpus.test == mean.test.replace("sign-flip", "swap")
    for name in ("baseline", "candidate", "delta", "p_value", "standard_error"):
        assert getattr(corpus, name) == pytest.approx(getattr(mean, name), rel=1e-9)
    assert corpus.interval is not None
    assert mean.interval is not None
    assert corpus.interval.low == pytest.approx(mean.interval.low, abs=1e-9)
    assert (corpus.wins, corpus.losses, corpus.effect_size) == (None, None, None)


def test_pseudo_values_of_a_mean_are_its_scores_and_of_a_ratio_the_delta_method() -> None:
    generator = np.random.default_rng(6)
    scores = generator.random(40)
    assert pseudo_values(as_table(scores), mean_of) == pytest.approx(scores, rel=1e-10)
    table = generator.integers(5, 50, (4000, 2)).astype(float)
    values = pseudo_values(table, mean_of)
    ratio = table[:, 1].sum() / table[:, 0].sum()
    linear = ratio + (table[:, 1] - ratio * table[:, 0]) / table[:, 0].mean()
    assert values.mean() == pytest.approx(ratio, rel=1e-12)
    assert values == pytest.approx(linear, abs=2e-3)
    assert pseudo_values(table[:1], mean_of).tolist() == [table[0, 1] / table[0, 0]]
    with pytest.raises(ValueError, match="not finite"), np.errstate(invalid="ignore"):
        pseudo_values(np.array([[0.0, 0.0], [0.0, 0.0]]), mean_of)


def results_at(n: int) -> list[Difference]:
    """Every kind of comparison, of systems that differ, that are equal, and that differ by one number."""
    generator = np.random.default_rng(n)
    before, after = np.round(generator.random((2, n)), 3)
    rates = (before > 0.5).astype(float), (after > 0.5).astype(float)
    found = [compare_rates(*rates), compare_rates(rates[0], rates[0])]
    for pair in ((before, after), (before, before), (before, before + 0.1)):
        found.append(compare_means(*pair))
        found.append(compare_statistics(as_table(pair[0]), as_table(pair[1]), mean_of))
    return found


@pytest.mark.parametrize("n", [1, 2, 3, 5, 10, 17, 30, 49, 50, 51, 200])
def test_no_number_is_ever_nan(n: int) -> None:
    for result in results_at(n):
        numbers = [result.baseline, result.candidate, result.delta, result.p_value, result.detectable()]
        numbers += [result.standard_error, result.effect_size, result.mid_p]
        for interval in (result.interval, result.effect_interval):
            numbers += [interval.low, interval.high] if interval else []
        assert all(math.isfinite(number) for number in numbers if number is not None)
        assert 0 < result.p_value <= 1
        assert result.detectable() is None or result.detectable() > 1e-6
        assert result.standard_error is None or result.standard_error > 1e-6


def test_few_documents_say_little() -> None:
    for result in results_at(3):
        assert result.p_value >= 0.25
        assert result.detectable() is None
    for result in results_at(1):
        assert result.p_value == 1.0
        assert result.test == "McNemar exact" or result.interval is None
    assert FEWEST_FOR_VERDICT == 10


def test_identical_systems_do_not_differ() -> None:
    scores = np.random.default_rng(6).random(80)
    for result in (
        compare_means(scores, scores),
        compare_rates(scores > 0.5, scores > 0.5),
        compare_statistics(scores[:, None], scores[:, None], lambda sums: sums[:, 0]),
    ):
        assert result.p_value == 1.0
        assert (result.delta, result.differing) == (0.0, 0)
        assert result.effect_size is None
    assert compare_means(scores, scores).interval is None


def test_the_same_gain_on_every_document_is_tested_by_its_signs() -> None:
    scores = np.random.default_rng(7).random(80)
    result = compare_means(scores, scores + 0.1)
    assert (result.p_value, result.test, result.wins) == (2.0**-79, "sign-flip exact", 80)
    assert (result.interval, result.standard_error, result.detectable()) == (None, None, None)


def test_few_differing_documents_of_many_are_not_tested_by_t() -> None:
    before = np.random.default_rng(8).random(10_000)
    after = before.copy()
    after[:4] += 0.1
    assert scipy_stats.ttest_rel(after, before).pvalue < 0.05
    result = compare_means(before, after)
    assert (result.p_value, result.differing, result.test) == (0.125, 4, "sign-flip exact")
    assert compare_statistics(as_table(before), as_table(after), mean_of).p_value == 0.125


def test_swapping_the_systems_mirrors_the_result() -> None:
    for n in (9, 30, 80):
        before, after = np.random.default_rng(7).random((2, n))
        pairs = [
            (compare_means(before, after), compare_means(after, before)),
            (
                compare_statistics(as_table(before), as_table(after), mean_of),
                compare_statistics(as_table(after), as_table(before), mean_of),
            ),
        ]
        for forward, backward in pairs:
            assert forward.p_value == pytest.approx(backward.p_value, rel=1e-9)
            assert forward.interval is not None
            assert backward.interval is not None
            assert forward.interval.low == pytest.approx(-backward.interval.high)
            assert (forward.wins, forward.losses) == (backward.losses, backward.wins)


@pytest.mark.parametrize(("n", "tolerance"), [(12, 0.03), (60, 0.005), (900, 0.001)])
def test_detectable_effect_agrees_with_statsmodels_power(n: int, tolerance: float) -> None:
    difference = np.random.default_rng(8).normal(0, 0.3, n)
    result = compare_means(np.zeros(n), difference)
    d_z = TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8)
    assert result.detectable() == pytest.approx(d_z * difference.std(ddof=1), rel=tolerance)
    assert result.detectable(alpha=0.05 / 6) > result.detectable()


def test_nothing_is_detectable_where_no_outcome_is_significant() -> None:
    result = compare_means(np.zeros(10), np.arange(1, 11))
    assert result.detectable(alpha=0.05 / 13) is not None  # 2 / 2^10 is less
    assert result.detectable(alpha=0.05 / 26) is None
    drawn = replace(result, n=40, differing=40, test="sign-flip")
    assert drawn.detectable(alpha=1e-4) is not None
    assert drawn.detectable(alpha=1e-6) is None


def test_the_interval_of_an_effect_size_agrees_with_the_bootstrap_and_the_normal_case() -> None:
    generator = np.random.default_rng(9)
    skewed = generator.exponential(1, 800) - 0.4
    result = compare_means(np.zeros(800), skewed)
    theirs = scipy_stats.bootstrap(
        (skewed,), lambda x, axis: x.mean(axis) / x.std(axis, ddof=1), n_resamples=20_000, rng=1
    ).confidence_interval
    assert result.effect_size == pytest.approx(skewed.mean() / skewed.std(ddof=1))
    assert result.effect_interval is not None
    assert result.effect_interval.low == pytest.approx(theirs.low, abs=0.01)
    assert result.effect_interval.high == pytest.approx(theirs.high, abs=0.01)
    normal = compare_means(np.zeros(50_000), generator.normal(0.8, 1, 50_000))
    assert normal.effect_interval is not None
    width = 2 * 1.96 * ((1 + 0.8**2 / 2) / 50_000) ** 0.5
    assert normal.effect_interval.high - normal.effect_interval.low == pytest.approx(width, rel=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_holm_equals_statsmodels(seed: int) -> None:
    p_values = np.round(np.random.default_rng(seed).random(40) ** 3, 2)  # with ties
    assert holm(list(p_values)) == pytest.approx(list(multipletests(p_values, method="holm")[1]))


def test_holm_of_nothing_is_nothing() -> None:
    assert holm([]) == []
    assert holm([0.01]) == [0.01]


def test_unpaired_input_is_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        compare_means([0.1, 0.2], [0.1])
    with pytest.raises(ValueError, match="one shape"):
        compare_statistics(np.ones((3, 2)), np.ones((3, 1)), lambda sums: sums[:, 0])
    with pytest.raises(ValueError, match="0 and 1 only"):
        compare_rates([0.5, 1], [0, 1])
    with pytest.raises(ValueError, match="not finite"):
        compare_means([float("nan"), 1], [0, 1])
    with pytest.raises(ValueError, match="one length"):
        compare_rates([], [])


def test_a_statistic_that_no_score_depends_on_makes_no_difference() -> None:
    scores = np.random.default_rng(11).random(90)
    before = np.column_stack([as_table(scores), np.zeros(90)])
    after = np.column_stack([as_table(scores), np.ones(90)])
    result = compare_statistics(before, after, mean_of)
    assert (result.p_value, result.delta, result.interval) == (1.0, 0.0, None)
    assert result.detectable() is None
