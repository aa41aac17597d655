"""Every two of many systems: the p-values of the single comparisons, whatever the blocks."""

import numpy as np
import pytest

from harness.stats import (
    compare_means,
    compare_rates,
    compare_statistics,
    pairwise,
    pairwise_p_statistics,
    pairwise_p_values,
)

M = 7


def scores(n: int) -> np.ndarray:
    """Five systems of discrete scores, the first once more, and the first but for a few documents."""
    generator = np.random.default_rng(n)
    table = np.round(generator.beta(2, 5, n) + generator.normal(0, 0.1, (M, n)), 2)
    table[5] = table[0]
    table[6] = table[0]
    table[6, ::7] += 0.05
    return table


def assert_pairs(found: np.ndarray, compare) -> None:
    assert found.shape == (M, M)
    assert (found == found.T).all()
    assert (np.diag(found) == 1).all()
    for i in range(M):
        for j in range(M):
            if i != j:
                assert found[i, j] == compare(i, j).p_value, (i, j)


@pytest.mark.parametrize("n", [1, 6, 24, 30, 49, 50, 351, 20_000])
def test_means_are_tested_as_two_alone(n: int) -> None:
    table = scores(n)
    assert_pairs(pairwise_p_values(table, rates=False), lambda i, j: compare_means(table[i], table[j]))


@pytest.mark.parametrize("n", [1, 12, 500])
def test_rates_are_tested_as_two_alone(n: int) -> None:
    table = (scores(n) > 0.3).astype(float)
    assert_pairs(pairwise_p_values(table, rates=True), lambda i, j: compare_rates(table[i], table[j]))


@pytest.mark.parametrize("n", [1, 9, 25, 49, 50, 351])
def test_corpus_scores_are_tested_as_two_alone(n: int) -> None:
    generator = np.random.default_rng(n)
    totals = generator.integers(5, 50, n)
    tables = [
        np.column_stack([generator.binomial(totals, 0.4 + 0.02 * system), totals]) for system in range(M)
    ]
    tables[5] = tables[0].copy()
    tables[6] = tables[0].copy()
    tables[6][::9, 0] += 1

    def ratio(sums: np.ndarray) -> np.ndarray:
        return sums[:, 0] / sums[:, 1]

    found = pairwise_p_statistics(tables, ratio)
    assert_pairs(found, lambda i, j: compare_statistics(tables[min(i, j)], tables[max(i, j)], ratio))
    assert found[0, 5] == 1.0


@pytest.mark.parametrize("cells", [1, 100, 10**9])
def test_the_size_of_a_block_changes_nothing(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    table = scores(351)
    expected = pairwise_p_values(table, rates=False)
    monkeypatch.setattr(pairwise, "_BLOCK_CELLS", cells)
    assert (pairwise_p_values(table, rates=False) == expected).all()


def test_close_systems_far_from_0_do_not_cancel() -> None:
    generator = np.random.default_rng(0)
    base = 1e4 + generator.random(400)
    table = np.stack([base, base + generator.normal(2e-3, 1e-2, 400)])
    exact = compare_means(np.zeros(400), table[1] - table[0]).p_value
    assert pairwise_p_values(table, rates=False)[0, 1] == pytest.approx(exact, rel=1e-8)


def test_incomplete_input_is_refused() -> None:
    with pytest.raises(ValueError, match="fill failed samples in"):
        pairwise_p_values(np.array([[0.1, np.nan], [0.2, 0.3]]), rates=False)
    with pytest.raises(ValueError, match="0 and 1 only"):
        pairwise_p_values(np.array([[0.1, 1.0], [0.0, 1.0]]), rates=True)
    with pytest.raises(ValueError, match="shape"):
        pairwise_p_values(np.zeros((3, 0)), rates=False)
    with pytest.raises(ValueError, match="one shape"):
        pairwise_p_statistics([np.ones((3, 2)), np.ones((4, 2))], lambda sums: sums[:, 0])


def test_one_system_or_none() -> None:
    assert pairwise_p_values(np.zeros((1, 5)), rates=True).tolist() == [[1.0]]
    assert pairwise_p_values(np.zeros((0, 5)), rates=False).shape == (0, 0)
    assert pairwise_p_statistics([], lambda sums: sums[:, 0]).shape == (0, 0)
