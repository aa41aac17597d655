"""Judges and encoders by name, against the same files in a folder: equal scores, recorded commits, no file silently left out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli import main
from harness.errors import HarnessError
from harness.judges import hhem21 as published
from harness.judges import load
from harness.judges.load import HHEM10_BRANCH, HHEM10_REVISION
from harness.metrics.encoders import REVISIONS, Encoder, names_encoder
from harness.metrics.registry import build
from tests.hub.local_hub import LocalHub, folder
from tests.judges.conftest import PAIRS, cross_encoders, hhem21, make_hhem21
from tests.metrics.conftest import roberta_folder

__all__ = ["cross_encoders", "hhem21", "make_hhem21", "roberta_folder"]

HHEM10_COMMIT = HHEM10_REVISION + "0" * 32


@pytest.fixture
def vectara(
    online: LocalHub, cross_encoders: dict[str, Path], hhem21: Path, monkeypatch: pytest.MonkeyPatch
) -> LocalHub:
    """Both generations of HHEM as their repository holds them, in miniature; and the foundation of the second."""
    weights = {name: hhem21 / name for name in ("model.safetensors", "config.json", "modeling_hhem_v2.py")}
    online.add(published.REPO, weights, commit=published.REVISION)
    small = folder(cross_encoders["deberta"])
    without = {name: file for name, file in small.items() if name != "model.safetensors"}
    online.add(published.REPO, {**without, "pytorch_model.bin": b"\x80"}, revision="hhem-1.0-open")
    online.add(published.REPO, small, revision=HHEM10_BRANCH, commit=HHEM10_COMMIT)
    foundation = folder(hhem21 / "foundation") | {"model.safetensors": b"never fetched"}
    online.add(published.FOUNDATION, foundation, commit=published.FOUNDATION_REVISION)
    monkeypatch.setattr(sys.modules["harness.judges.load"], "HHEM10_MAX_LENGTH", 64)
    monkeypatch.setitem(published.Hhem21.__init__.__kwdefaults__, "parameters", None)  # it is a small one
    return online


def test_both_generations_of_hhem_by_name_online_and_offline(
    vectara: LocalHub, cross_encoders: dict[str, Path], hhem21: Path, offline: Callable[[], None]
) -> None:
    places = {"hhem-2.1": hhem21, "hhem-1.0": cross_encoders["deberta"]}
    expected = {
        name: load(str(place), device="cpu", test=False).score(PAIRS) for name, place in places.items()
    }
    for _ in range(2):
        for name, scores in expected.items():
            judge = load(name, device="cpu", test=False)
            assert judge.score(PAIRS) == scores
            assert max(scores) - min(scores) > 0.05  # else a constant would pass
        offline()
    assert load("hhem-1.0", device="cpu", test=False).identity.revision == "31b1a78c"
    assert load("hhem-2.1", device="cpu", test=False).identity.revision == published.REVISION
    assert not any("flan-t5" in asked and "safetensors" in asked for asked in vectara.asked)
    assert not any("modeling_hhem" in asked or "pytorch_model" in asked for asked in vectara.asked)


@pytest.mark.parametrize("name", ["hhem-2.1", "hhem-1.0"])
def test_weights_that_do_not_give_the_cards_scores_are_refused(vectara: LocalHub, name: str) -> None:
    with pytest.raises(HarnessError, match="stored scores are met to"):
        load(name, device="cpu")


def test_another_commit_in_the_place_of_hhem10_is_refused(
    vectara: LocalHub, cross_encoders: dict[str, Path]
) -> None:
    vectara.add(published.REPO, folder(cross_encoders["deberta"]), revision=HHEM10_BRANCH)
    with pytest.raises(HarnessError, match="not 31b1a78c"):
        load("hhem-1.0", device="cpu", test=False)


def test_a_judge_of_ones_own_by_name(
    online: LocalHub, cross_encoders: dict[str, Path], offline: Callable[[], None]
) -> None:
    commit = online.add("owner/judge", folder(cross_encoders["bert"]))
    expected = load(str(cross_encoders["bert"]), device="cpu").score(PAIRS)
    for name in ("owner/judge", f"owner/judge@{commit}"):
        judge = load(name, device="cpu")
        assert (judge.identity.name, judge.identity.revision) == ("owner/judge", commit)
        assert judge.score(PAIRS) == expected
    offline()
    assert load("owner/judge", device="cpu").score(PAIRS) == expected


def test_a_tokenizer_file_that_could_not_be_had_is_an_error(
    online: LocalHub, cross_encoders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    online.add("owner/judge", folder(cross_encoders["bert"]))
    fault = online.fail("tokenizer_config.json", status=500)
    with pytest.raises(HarnessError, match=r"judge owner/judge: .* the hub answered 500"):
        load("owner/judge", device="cpu")
    fault.times = 0
    expected = load(str(cross_encoders["bert"]), device="cpu").score(PAIRS)
    assert load("owner/judge", device="cpu").score(PAIRS) == expected


def test_a_pickled_judge_is_refused_with_the_way_out(vectara: LocalHub) -> None:
    with pytest.raises(HarnessError, match=r"pickled \(pytorch_model.bin\)") as caught:
        load(f"{published.REPO}@hhem-1.0-open", device="cpu")
    assert "refs/pr/N" in caught.value.remedy


def test_encoders_by_name_whole_and_in_shards(
    online: LocalHub, roberta_folder: Path, tmp_path: Path, offline: Callable[[], None]
) -> None:
    import torch
    from transformers import AutoModel

    AutoModel.from_pretrained(roberta_folder).save_pretrained(tmp_path / "sharded", max_shard_size="40KB")
    shards = folder(tmp_path / "sharded")
    assert len(shards) > 3
    without = {name: file for name, file in folder(roberta_folder).items() if name != "model.safetensors"}
    commits = {
        "owner/whole": online.add("owner/whole", folder(roberta_folder)),
        "owner/sharded": online.add("owner/sharded", without | shards),
    }
    texts = ["A storm cut power.", "Parents fight the plan."]
    here = Encoder(str(roberta_folder), layer=2)
    expected = here.embed([here.encode(text) for text in texts])
    for _ in range(2):
        for name, commit in commits.items():
            encoder = Encoder(name, layer=2)
            assert encoder.name == f"{name}@{commit[:12]}"
            found = encoder.embed([encoder.encode(text) for text in texts])
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        offline()
    assert names_encoder(
        f"owner/whole@{commits['owner/whole'][:12]}", f"owner/whole@{commits['owner/whole']}"
    )


def test_the_default_encoder_is_read_at_its_commit(online: LocalHub, roberta_folder: Path) -> None:
    online.add("FacebookAI/roberta-large", folder(roberta_folder), commit=REVISIONS["roberta-large"])
    online.add("FacebookAI/roberta-large", {"README.md": b"moved on"})
    online.aliases["roberta-large"] = "FacebookAI/roberta-large"
    (metric,) = build(["bertscore"], {"bertscore_layer": 2})
    assert "roberta-large@722cf37b1afa" in metric.signature("bertscore_f1")


def test_a_base_for_a_judge_is_recommended_that_loads(
    online: LocalHub, roberta_folder: Path, tmp_path: Path, root: Path
) -> None:
    """microsoft/deberta-v3-small has neither safetensors nor a tokenizer.json; FacebookAI/roberta-base has both."""
    from harness.judges.train import FitPlan, describe

    rows = [
        f'{{"source": "Parents fight plan {i}.", "summary": "Plan {i}.", "label": {i % 2}}}'
        for i in range(40)
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(rows))
    online.add("FacebookAI/roberta-base", folder(roberta_folder))
    slow = {
        name: file
        for name, file in folder(roberta_folder).items()
        if name not in ("model.safetensors", "tokenizer.json")
    }
    online.add("microsoft/deberta-v3-small", {**slow, "pytorch_model.bin": b"\x80"})
    plan = {"data": tmp_path / "pairs.jsonl", "output": tmp_path / "judge"}
    assert "RobertaForSequenceClassification" in describe(FitPlan(base="FacebookAI/roberta-base", **plan))
    with pytest.raises(HarnessError, match="its weights are pickled"):
        describe(FitPlan(base="microsoft/deberta-v3-small", **plan))
    text = (root / "harness/judges/train.py").read_text("utf-8")
    assert "deberta-v3-small" not in text


def test_a_run_with_judge_and_encoder_by_name_states_their_commits(
    online: LocalHub, cross_encoders: dict[str, Path], roberta_folder: Path, tmp_path: Path, offline: Callable[[], None]
) -> None:  # fmt: skip
    judge = online.add("owner/judge", folder(cross_encoders["bert"]))
    encoder = online.add("owner/encoder", folder(roberta_folder))
    words = [
        "eval",
        "gold",
        "--tasks",
        "kd_newsworld_factual",
        "--metrics",
        "consistency,bertscore",
        "--limit",
        "3",
    ]
    words += ["--metadata", "judge=owner/judge,bertscore_model=owner/encoder,bertscore_layer=2"]
    found = []
    for name in ("online", "offline"):
        assert main([*words, "--output", str(tmp_path / name)]) == 0
        (path,) = (tmp_path / name).rglob("results_*.json")
        found.append(json.loads(path.read_text("utf-8")))
        offline()
    text = json.dumps(found[0]["configs"]["kd_newsworld_factual"]["metadata"])
    assert f"judge:owner/judge@{judge[:12]}" in text
    assert f"model:owner/encoder@{encoder[:12]}" in text
    assert found[0]["results"] == found[1]["results"]
