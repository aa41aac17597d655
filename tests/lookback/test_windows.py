"""Windows, their labels and their places in the text."""

from __future__ import annotations

import numpy as np

from harness.lookback.windows import (
    characters,
    features,
    predefined,
    sliding,
    token_labels,
    window_labels,
)


def test_windows_slide_by_one_and_a_short_response_is_one() -> None:
    assert sliding(10) == [(0, 8), (1, 9), (2, 10)]
    assert sliding(8) == [(0, 8)]
    assert sliding(3) == [(0, 3)]


def test_features_are_means_layer_by_layer() -> None:
    ratios = np.random.default_rng(0).uniform(size=(11, 3, 2)).astype(np.float32)
    windows = sliding(11)
    found = features(ratios, windows)
    assert found.shape == (4, 6)
    for row, (start, end) in zip(found, windows, strict=True):
        np.testing.assert_allclose(row.reshape(3, 2), ratios[start:end].mean(0), rtol=1e-6)


def test_a_token_that_touches_a_span_is_hallucinated_and_so_is_its_window() -> None:
    offsets = [(0, 3), (3, 7), (7, 8), (9, 12)]
    labels = token_labels(offsets, [(5, 8)])
    assert labels.tolist() == [1, 0, 0, 1]
    assert predefined(labels) == [(0, 1), (1, 3), (3, 4)]
    assert window_labels(labels, [(0, 1), (0, 2), (3, 4)]).tolist() == [1, 0, 1]
    assert characters(offsets, [(1, 4)]) == [(3, 12)]


def test_labels_all_alike_are_one_span() -> None:
    assert predefined(np.ones(5, np.int64)) == [(0, 5)]
