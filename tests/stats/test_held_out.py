"""AUROC on held-out documents, and its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.stats.held_out import HeldOut


def draws(n: int, gap: float, seed: int = 0) -> tuple[list[float], list[int]]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    return (rng.normal(size=n) + gap * labels).round(1).tolist(), labels.tolist()


def test_it_is_scikit_learns_and_so_are_its_resamples() -> None:
    """roc_auc_score on whole resamples of documents, drawn with the same seed: ties, and several scores of a document."""
    from sklearn.metrics import roc_auc_score

    scores, labels = draws(240, 0.8)
    documents = [i // 3 for i in range(240)]
    found = HeldOut.measure(scores, labels, documents)
    assert (found.n, found.documents) == (240, 80)
    assert found.auroc == pytest.approx(roc_auc_score(labels, scores), abs=5e-5)
    generator = np.random.default_rng(12345)
    values, truth = np.array(scores).reshape(80, 3), np.array(labels).reshape(80, 3)
    drawn = []
    for _ in range(1000):
        index = generator.integers(0, 80, 80)
        drawn.append(roc_auc_score(truth[index].ravel(), values[index].ravel()))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=1e-4)
    assert found.high == pytest.approx(high, abs=1e-4)


def test_scores_of_one_document_are_drawn_together() -> None:
    scores, labels = draws(200, 0.5)
    single = HeldOut.measure(scores, labels, range(200))
    repeated = HeldOut.measure(scores * 4, labels * 4, [*range(200)] * 4)
    assert (repeated.auroc, repeated.low, repeated.high) == (single.auroc, single.low, single.high)
    naive = HeldOut.measure(scores * 4, labels * 4, range(800))
    assert naive.high - naive.low < 0.6 * (single.high - single.low)


@pytest.mark.parametrize(("gap", "beats"), [(0.0, False), (1.0, True), (-1.0, False)])
def test_chance_is_beaten_by_the_whole_interval(gap: float, beats: bool) -> None:
    found = HeldOut.measure(*draws(300, gap, seed=2), range(300))
    assert found.beats_chance == beats
    assert found.low < found.auroc < found.high
    assert HeldOut.from_dict(found.to_dict()) == found


def test_what_cannot_be_measured_proves_nothing() -> None:
    for scores, labels in (([], []), ([0.1, 0.9], [1, 1]), ([math.nan, 0.5], [0, 1])):
        found = HeldOut.measure(scores, labels, range(len(scores)))
        assert math.isnan(found.auroc)
        assert not found.beats_chance
        again = HeldOut.from_dict(found.to_dict())
        assert (again.n, again.documents, again.beats_chance) == (found.n, found.documents, False)


@pytest.mark.parametrize("change", [{"auroc": 1.2}, {"low": "high"}, {"extra": 1}, {"n": None}])
def test_other_data_are_refused(change: dict[str, object]) -> None:
    data = HeldOut.measure(*draws(50, 1.0), range(50)).to_dict()
    with pytest.raises((ValueError, TypeError)):
        HeldOut.from_dict({**data, **change})
