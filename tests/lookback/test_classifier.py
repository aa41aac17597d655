"""Safe storage, the import of the real published pickle, and files that must be refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.lookback.classifier import Classifier, load
from harness.lookback.pickle_import import read_pickle

PUBLISHED = "anno-cnndm-7b_predefined_span"


def classifier(**changes: Any) -> Classifier:
    rng = np.random.default_rng(0)
    settings = {"weight": rng.normal(size=(2, 4)), "bias": 0.25, "threshold": 0.7, "info": {"data": "x"}}
    return Classifier(**(settings | changes))


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    ours = classifier(made_for={"heads": 4})
    ours.save(tmp_path / "a.safetensors")
    ours.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    again = load(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(again.weight, ours.weight)
    for name in ("bias", "threshold", "kind", "convention", "made_for", "info", "layout", "digest"):
        assert getattr(again, name) == getattr(ours, name), name


def test_the_published_pickle_has_identical_weights_and_predictions(shared_data: Path) -> None:
    folder = shared_data / "lookback_lens"
    imported = read_pickle(folder / f"classifier_{PUBLISHED}.pkl")
    stated = json.loads((folder / f"classifier_{PUBLISHED}.json").read_text())[PUBLISHED]
    assert imported.layout == (32, 32)
    np.testing.assert_array_equal(imported.weight.reshape(1, -1), stated["coef"])
    assert [imported.bias] == stated["intercept"]
    assert imported.threshold == stated["best_threshold"]

    from sklearn.linear_model import LogisticRegression

    theirs = LogisticRegression()
    theirs.coef_, theirs.intercept_ = np.array(stated["coef"]), np.array(stated["intercept"])
    theirs.classes_ = np.array([0, 1])
    ratios = np.random.default_rng(1).uniform(size=(50, 1024))
    np.testing.assert_allclose(
        imported.probabilities(ratios), theirs.predict_proba(ratios)[:, 1], atol=1e-14, rtol=0
    )


def test_our_own_pickle_of_todays_scikit_learn_is_read(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(2)
    features, labels = rng.normal(size=(40, 9)), rng.integers(0, 2, 40)
    theirs = LogisticRegression().fit(features, labels)
    path = tmp_path / "ours.pkl"
    path.write_bytes(pickle.dumps({"clf": theirs, "best_threshold": np.float64(0.4)}))
    imported = read_pickle(path)
    assert (imported.layout, imported.threshold) == ((3, 3), 0.4)
    np.testing.assert_allclose(imported.probabilities(features), theirs.predict_proba(features)[:, 1])
    with pytest.raises(HarnessError, match="9 weights are not 2 layers"):
        read_pickle(path, layers=2)


class Hostile:
    """Its pickle writes a file when it is read by an ordinary reader."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (exec, (f"open({str(self.target)!r}, 'w').close()",))


@pytest.mark.parametrize("inside", ["whole", "clf", "threshold"])
def test_a_hostile_pickle_is_refused_and_not_run(inside: str, tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "hostile.pkl"
    hostile = Hostile(victim)
    content = {
        "whole": hostile,
        "clf": {"clf": hostile, "best_threshold": 0.5},
        "threshold": {"clf": 1, "best_threshold": hostile},
    }[inside]
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(HarnessError, match=r"it names builtins\.exec"):
        read_pickle(path)
    assert not victim.exists()
    pickle.loads(path.read_bytes())  # the file is a real attack
    assert victim.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"not a pickle", pickle.dumps({"clf": 3}), pickle.dumps([np.array(["a"], object)]), b"\x80\x04."],
)
def test_anything_else_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(content)
    with pytest.raises(HarnessError, match="refused"):
        read_pickle(path)


def test_a_pickle_is_never_loaded_as_a_classifier(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="harness lookback import"):
        load(tmp_path / "x.pkl")
    (tmp_path / "x.safetensors").write_bytes(b"12345678901234567890")
    with pytest.raises(HarnessError, match="not a lookback classifier"):
        load(tmp_path / "x.safetensors")
    with pytest.raises(HarnessError, match="no such lookback classifier"):
        load(tmp_path / "y.safetensors")


def test_a_mismatch_says_what_to_do() -> None:
    assert classifier().problem_with((2, 4), "causal", "m") is None
    error = classifier().problem_with((28, 28), "causal", "m")
    assert error is not None
    assert error.problem == "the lookback classifier is for 2 layers x 4 heads; m has 28 layers x 28 heads"
    assert "harness lookback fit" in error.remedy
    assert classifier().problem_with((2, 4), "cross", "m") is not None
