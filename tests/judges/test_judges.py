"""Cross-encoders, the self-test, bad input, calibration and ranking."""

from __future__ import annotations

import json
import math
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.errors import HarnessError
from harness.judges import calibration, load, ranking, self_test
from harness.judges.calibration import Calibration
from harness.models import hub
from tests.judges.conftest import PAIRS, TEXT


@pytest.mark.parametrize("name", ["deberta", "bert"])
def test_cross_encoders_score_as_sentence_transformers_does(
    name: str, cross_encoders: dict[str, Path]
) -> None:
    from sentence_transformers import CrossEncoder

    folder = cross_encoders[name]
    pairs = [*PAIRS, (" ".join(TEXT * 3), "A storm cut power.")]  # two are cut to 64 tokens
    theirs = CrossEncoder(str(folder), device="cpu", max_length=64).predict(
        pairs, activation_fn=torch.nn.Sigmoid(), show_progress_bar=False
    )
    assert max(theirs) - min(theirs) > 1e-4
    for batch_tokens in (1, 100_000):
        judge = load(str(folder), device="cpu", batch_tokens=batch_tokens, test=False)
        assert judge.score(pairs) == pytest.approx([float(score) for score in theirs], abs=1e-6)
        assert judge.counts.truncated == 2


def test_the_label_called_entailment_counts(cross_encoders: dict[str, Path]) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = cross_encoders["nli"]
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    inputs = AutoTokenizer.from_pretrained(folder)(*PAIRS[0], return_tensors="pt")
    expected = float(model(**inputs).logits.detach().softmax(-1)[0, 1])
    assert load(str(folder), device="cpu", test=False).score(PAIRS[:1])[0] == pytest.approx(
        expected, abs=1e-6
    )


def test_labels_that_do_not_say_consistent_are_refused(
    cross_encoders: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(cross_encoders["nli"], tmp_path / "topics")
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {"0": "sport", "1": "business", "2": "politics"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(HarnessError, match="sport, business, politics"):
        load(str(folder), device="cpu")


def test_equal_pairs_are_scored_alike_and_bad_ones_get_no_score(cross_encoders: dict[str, Path]) -> None:
    judge = load(str(cross_encoders["deberta"]), device="cpu", test=False)
    scores = judge.score([PAIRS[0], (TEXT[0], " "), ("", "A text."), PAIRS[0]])
    assert scores[0] == scores[3]
    assert [math.isnan(score) for score in scores] == [False, True, True, False]
    assert (judge.counts.pairs, judge.counts.failed) == (4, 2)
    assert judge.score([]) == []


def test_a_model_that_gives_nan_is_counted_and_refused(cross_encoders: dict[str, Path]) -> None:
    judge = load(str(cross_encoders["bert"]), device="cpu", test=False)
    torch.nn.init.constant_(judge.backbone._model.classifier.bias, math.nan)  # type: ignore[attr-defined]
    assert all(map(math.isnan, judge.score(PAIRS)))
    assert judge.counts.failed == len(PAIRS)
    with pytest.raises(HarnessError, match=r"no number in 0\.\.1"):
        self_test.ensure(judge)


def test_a_pickle_is_named_and_never_opened(cross_encoders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(cross_encoders["bert"], tmp_path / "pickled")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    with pytest.raises(HarnessError, match=r"are a pickle \(pytorch_model\.bin\)"):
        load(str(folder), device="cpu")


def test_a_folder_of_another_architecture_is_refused(tmp_path: Path) -> None:
    from harness.newsworld.models import path

    with pytest.raises(HarnessError, match="LlamaForCausalLM is no sequence classifier"):
        load(str(path("student")), device="cpu")
    (tmp_path / "empty").mkdir()
    with pytest.raises(HarnessError, match=r"no model\.safetensors"):
        load(str(tmp_path / "empty"), device="cpu")


def test_weights_of_another_model_are_refused(cross_encoders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(cross_encoders["bert"], tmp_path / "mixed")
    shutil.copyfile(cross_encoders["deberta"] / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(HarnessError, match="weights are missing"):
        load(str(folder), device="cpu")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hhem-2.1", "HF_HUB_OFFLINE is set"),
        ("hhem-1.0", "HF_HUB_OFFLINE is set"),
        ("owner/model@abc", "HF_HUB_OFFLINE is set"),
        ("no-such-judge", "no judge is called 'no-such-judge'"),
    ],
)
def test_a_judge_that_cannot_be_had_is_said_at_once_and_never_replaced(name: str, said: str) -> None:
    with pytest.raises(HarnessError, match=said) as caught:
        load(name, device="cpu")
    assert "embedded" in caught.value.remedy


def test_an_unreachable_hub_is_noticed_without_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    hub._hub_answers.cache_clear()
    with pytest.raises(HarnessError, match="the hub cannot be reached"):
        hub.fetch("owner/model", "config.json", revision=None)
    hub._hub_answers.cache_clear()


def test_unknown_devices_and_types_are_refused(cross_encoders: dict[str, Path]) -> None:
    with pytest.raises(HarnessError, match="judge_dtype=int8"):
        load(str(cross_encoders["bert"]), dtype="int8")
    with pytest.raises(HarnessError, match="judge_device=abacus"):
        load(str(cross_encoders["bert"]), device="abacus")


# the self-test


def stored_for(folder: Path) -> list[tuple[tuple[str, str], float]]:
    judge = load(str(folder), device="cpu", test=False)
    return list(zip(PAIRS, judge.score(PAIRS), strict=True))


def test_a_good_judge_passes_and_is_not_tested_twice(
    cross_encoders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = cross_encoders["bert"]
    judge, stored = load(str(folder), device="cpu", test=False), stored_for(folder)
    checks = self_test.run(judge, stored)
    assert {check.name for check in checks} == {"range", "stored scores", "order", "sides", "spread"}
    assert all(check.passed for check in checks)
    self_test.ensure(judge, stored)
    monkeypatch.setattr(self_test, "run", lambda *_: pytest.fail("tested again"))
    self_test.ensure(judge, stored)
    with pytest.raises(pytest.fail.Exception):  # other weights have not passed
        self_test.ensure(load(str(cross_encoders["deberta"]), device="cpu", test=False), stored)


def test_a_judge_that_gives_other_scores_than_stored_is_refused(
    cross_encoders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = cross_encoders["bert"]
    stored = [(pair, score + 2e-4) for pair, score in stored_for(folder)]
    with pytest.raises(HarnessError, match="stored scores are met to 2"):
        self_test.ensure(load(str(folder), device="cpu", test=False), stored)
    assert not list(tmp_path.rglob("*.jsonl"))  # a failure is not remembered as a pass


def test_a_judge_that_reads_one_side_only_is_refused(cross_encoders: dict[str, Path]) -> None:
    judge = load(str(cross_encoders["bert"]), device="cpu", test=False)
    torch.nn.init.zeros_(judge.backbone._model.classifier.weight)  # type: ignore[attr-defined]
    assert {check.name for check in self_test.run(judge) if not check.passed} == {"sides", "spread"}


def test_a_judge_whose_scores_hardly_move_is_refused(cross_encoders: dict[str, Path]) -> None:
    """As one did that was fitted for a few minutes and scored everything from .493 to .5005."""
    whole, judge = (load(str(cross_encoders["bert"]), device="cpu", test=False) for _ in range(2))
    assert max(whole.score(PAIRS)) - min(whole.score(PAIRS)) > self_test.LEAST_SPREAD
    head = judge.backbone._model.classifier  # type: ignore[attr-defined]
    with torch.no_grad():
        head.weight.mul_(0.01)
        head.bias.zero_()
    scores = judge.score(PAIRS)
    assert 0 < max(scores) - min(scores) < 0.02
    assert abs(sum(scores) / len(scores) - 0.5) < 0.02
    assert {check.name for check in self_test.run(judge) if not check.passed} == {"spread"}
    with pytest.raises(
        HarnessError, match=r"spread: the pairs' scores lie in 0\.\d+ to 0\.\d+ \(at least 0\.05 apart"
    ):
        self_test.ensure(judge)


def test_card_pairs_are_those_of_the_model_card(shared_data: Path) -> None:
    card = json.loads((shared_data / "hhem_vectors" / "hhem_2_1_open_model_card.json").read_text())
    expected = [((row["premise"], row["hypothesis"]), row["score"]) for row in card["pairs"]]
    assert list(self_test.HHEM21_CARD) == expected


# calibration and ranking


def overconfident(n: int, temperature: float) -> tuple[list[float], list[int]]:
    """Scores whose logits are ``temperature`` times too large."""
    rng = random.Random(0)
    logits = [rng.gauss(0, 2) for _ in range(n)]
    labels = [int(rng.random() < 1 / (1 + math.exp(-logit))) for logit in logits]
    return [1 / (1 + math.exp(-temperature * logit)) for logit in logits], labels


def test_temperature_is_found_and_calibrates() -> None:
    scores, labels = overconfident(8000, 3.0)
    fitted = calibration.fit("temperature", scores, labels)
    assert fitted.temperature == pytest.approx(3.0, rel=0.08)
    assert calibration.ece(fitted.apply(scores), labels) < 0.03 < calibration.ece(scores, labels)


def test_isotonic_is_scikit_learns_and_calibrates() -> None:
    from sklearn.isotonic import IsotonicRegression

    scores, labels = overconfident(4000, 3.0)
    fitted = calibration.fit("isotonic", scores, labels)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(scores, labels)
    points = np.linspace(0, 1, 57)
    assert fitted.apply(points.tolist()) == pytest.approx(theirs.predict(points).tolist(), abs=1e-9)
    assert calibration.ece(fitted.apply(scores), labels) < 0.02
    assert Calibration.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted


def test_calibration_keeps_nan_and_none_touches_nothing() -> None:
    assert Calibration().apply([0.123456789]) == [0.123456789]
    assert math.isnan(Calibration(method="temperature", temperature=2.0).apply([math.nan])[0])


@pytest.mark.parametrize(
    "data",
    [{"method": "magic"}, {"method": "temperature", "temperature": -1}, {"x": 1}, {"method": "isotonic"}],
)
def test_a_damaged_calibration_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(HarnessError, match="its calibration is not one"):
        Calibration.from_dict(data)


def test_ece_by_hand() -> None:
    """Bins .0-.1 (mean .05, share 0), .5-.6 (mean .55, share .5) and .9-1 (mean .95, share 1)."""
    scores, labels = [0.05, 0.55, 0.55, 0.95], [0, 1, 0, 1]
    assert calibration.ece(scores, labels) == pytest.approx((0.05 + 2 * 0.05 + 0.05) / 4)
    assert calibration.ece([1.0, 0.0], [1, 0]) == 0


def test_ranking_is_scikit_learns() -> None:
    from sklearn.metrics import balanced_accuracy_score, confusion_matrix, roc_auc_score

    scores, labels = overconfident(300, 1.0)
    scores = [round(score, 1) for score in scores]  # ties
    found = ranking.rank([*scores, math.nan], [*labels, 1])
    said = [int(score >= 0.5) for score in scores]
    assert found.auroc == pytest.approx(roc_auc_score(labels, scores))
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, said))
    tn, fp, fn, tp = confusion_matrix([1 - label for label in labels], [1 - s for s in said]).ravel()
    ours = (found.true_negative, found.false_positive, found.false_negative, found.true_positive)
    assert ours == (tn, fp, fn, tp)
    assert (found.n, found.failed) == (300, 1)


def test_the_decoded_confusions_of_the_card_give_its_balanced_accuracy() -> None:
    """HHEM-2.1-open on RAGTruth-Summ: TP 65, FP 21, TN 675, FN 139; its card states 64.42 %."""
    scores = [0.0] * 65 + [0.0] * 21 + [1.0] * 675 + [1.0] * 139
    labels = [0] * 65 + [1] * 21 + [1] * 675 + [0] * 139
    assert ranking.rank(scores, labels).balanced_accuracy == pytest.approx(0.6442, abs=5e-5)
