"""Models by name: what is read, what is recorded, and what is said where the hub does not give them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.models import hub as ours
from harness.models.identity import content, model_identity
from harness.models.source import ModelSource
from tests.hub.local_hub import LocalHub, folder


@pytest.fixture
def student(root: Path) -> dict[str, bytes | Path]:
    return folder(root / "harness/newsworld/checkpoints/student")


@pytest.fixture
def teacher(root: Path) -> dict[str, bytes | Path]:
    return folder(root / "harness/newsworld/checkpoints/teacher")


def test_a_model_is_known_by_its_commit_and_its_content(
    online: LocalHub, student: dict[str, bytes | Path], root: Path, offline: Callable[[], None]
) -> None:
    extra = {"pytorch_model.bin": b"never fetched", "onnx/model.onnx": b"nor this"}
    commit = online.add("owner/student", student | extra)
    found = ModelSource.find("owner/student")
    assert found.revision == commit
    assert found.identity == {
        "name": "owner/student",
        "revision": commit,
        **content(root / "harness/newsworld/checkpoints/student"),
    }
    assert not any("pytorch_model.bin" in asked or "onnx/" in asked for asked in online.asked)
    assert (
        model_identity("owner/student") == found.identity
    )  # from the cache, though it holds a part of the repository
    asked = len(online.asked)
    offline()
    assert ModelSource.find("owner/student").identity == found.identity
    assert len(online.asked) == asked


def test_a_branch_that_moved_is_another_model(
    online: LocalHub, student: dict[str, bytes | Path], teacher: dict[str, bytes | Path]
) -> None:
    first = online.add("owner/model", student)
    assert ModelSource.find("owner/model").revision == first
    second = online.add("owner/model", teacher)
    assert ModelSource.find("owner/model").revision == second
    now, before = model_identity("owner/model"), model_identity("owner/model", first)
    assert (now["revision"], before["revision"]) == (second, first)
    assert now["weights_sha256"] != before["weights_sha256"]
    assert ModelSource.find(f"owner/model@{first}").identity == before


def test_a_former_name_leads_to_the_new_one(online: LocalHub, student: dict[str, bytes | Path]) -> None:
    commit = online.add("owner/student", student)
    online.aliases["student"] = "owner/student"
    assert ModelSource.find("student").revision == commit


def test_a_folder_of_the_same_name_is_recorded_as_a_folder(
    online: LocalHub, student: dict[str, bytes | Path], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    online.add("owner/student", student)
    shutil.copytree(root / "harness/newsworld/checkpoints/teacher", tmp_path / "owner" / "student")
    monkeypatch.chdir(tmp_path)
    for identity in (ModelSource.find("owner/student").identity, model_identity("owner/student")):
        assert (identity["name"], identity["revision"]) == ("student", "local")
    assert online.asked == []


GATED = "Ask for access on its page"


@pytest.mark.parametrize(
    ("name", "token", "reason", "remedy"),
    [
        ("owner/gated", "", "the repository is gated, and no token was sent", GATED),
        ("owner/gated", "hf_of_a_stranger", "this account has no access to it", GATED),
        ("owner/none", "", "not found on the hub, or private", "Check the name"),
        ("owner/none", "hf_of_a_stranger", "not found on the hub, or private", "Check the name"),
        ("owner/model@nobranch", "", "the repository has no such revision", "Give a branch, a tag or a full commit"),
        ("owner/pickled", "", r"its weights are pickled (pytorch_model.bin)", "refs/pr/N"),
        ("a b/c", "", "is no name of a repository", "Write owner/name"),
    ],
)  # fmt: skip
def test_each_refusal_is_told_apart(
    online: LocalHub, student: dict[str, bytes | Path], monkeypatch: pytest.MonkeyPatch,
    name: str, token: str, reason: str, remedy: str,
) -> None:  # fmt: skip
    online.add("owner/gated", student, gated=True)
    online.add("owner/model", student)
    without = {path: file for path, file in student.items() if not path.endswith(".safetensors")}
    online.add("owner/pickled", {**without, "pytorch_model.bin": b"\x80\x02"})
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(HarnessError) as caught:
        ModelSource.find(name)
    assert reason in caught.value.problem
    assert remedy in caught.value.remedy
    assert not token or token not in str(caught.value)
    assert not any("pytorch_model.bin" in asked for asked in online.asked)


def test_a_token_opens_a_gated_repository_and_is_shown_to_no_other_host(
    online: LocalHub, student: dict[str, bytes | Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = online.add("owner/gated", student, gated=True, readers=("hf_of_a_member",))
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_member")
    assert ModelSource.find("owner/gated").revision == commit
    assert online.tokens == {"hf_of_a_member"}
    assert online.leaked == set()


@pytest.mark.parametrize(
    ("fault", "reason", "remedy"),
    [
        ({"status": 429}, "the hub answered 429: too many requests", "in some minutes"),
        ({"status": 500}, "the hub answered 500: it failed", "Run it again"),
        ({"status": 403}, "the hub answered 403", "Use a token that may"),
        ({"how": "truncated"}, "the connection broke off", "Run it again"),
    ],
)
def test_a_failure_while_downloading_is_one_clear_error(
    online: LocalHub, student: dict[str, bytes | Path], monkeypatch: pytest.MonkeyPatch,
    fault: dict[str, object], reason: str, remedy: str,
) -> None:  # fmt: skip
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    online.add("owner/model", student)
    broken = online.fail("/storage/", **fault)
    with pytest.raises(HarnessError) as caught:
        ModelSource.find("owner/model")
    assert reason in caught.value.problem
    assert remedy in caught.value.remedy
    broken.times = 0
    assert ModelSource.find("owner/model").identity["weights_sha256"]  # and goes on once it is over


def test_a_hub_out_of_reach_leaves_what_is_here(
    online: LocalHub, student: dict[str, bytes | Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = online.add("owner/model", student)
    ModelSource.find("owner/model")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    ours._hub_answers.cache_clear()
    assert ModelSource.find("owner/model").revision == commit
    with pytest.raises(HarnessError, match="the hub cannot be reached"):
        ModelSource.find("owner/other")
    ours._hub_answers.cache_clear()


def test_a_download_that_broke_off_is_not_taken_for_whole_offline(
    online: LocalHub, student: dict[str, bytes | Path], offline: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    online.add("owner/model", student)
    online.fail("resolve-cache/models/owner/model", status=500)
    with pytest.raises(HarnessError, match="the hub answered 500"):
        ModelSource.find("owner/model")
    offline()
    with pytest.raises(HarnessError, match="on this machine only in part"):
        ModelSource.find("owner/model")


def test_shards_are_all_fetched(
    online: LocalHub, student: dict[str, bytes | Path], root: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(root / "harness/newsworld/checkpoints/student")
    model.save_pretrained(tmp_path / "sharded", max_shard_size="300KB")
    names = set(
        json.loads((tmp_path / "sharded/model.safetensors.index.json").read_text())["weight_map"].values()
    )
    assert len(names) > 1
    without = {path: file for path, file in student.items() if path != "model.safetensors"}
    online.add("owner/sharded", without | folder(tmp_path / "sharded"))
    found = ModelSource.find("owner/sharded")
    assert {path.name for path in found.folder.glob("*.safetensors")} == names
    assert found.model().num_parameters() == model.num_parameters()


@pytest.mark.parametrize("part", ["HEAD /", "GET /storage/"])
def test_a_hub_that_is_too_slow_is_given_up(
    online: LocalHub, student: dict[str, bytes | Path], monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr(ours, "_PROBE_SECONDS", 0.2)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    online.add("owner/model", student)
    online.fail(part, how="slow", seconds=0.6)
    with pytest.raises(HarnessError, match="the hub cannot be reached"):
        ModelSource.find("owner/model")
    ours._hub_answers.cache_clear()
