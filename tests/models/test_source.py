"""Finding a model and knowing it by what its files hold."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from harness.errors import HarnessError
from harness.models.source import ModelSource

Saved = Callable[[str], Path]


@pytest.fixture
def sharded(saved: Saved, tmp_path: Path) -> Path:
    """A model in shards, as large ones come, with a second copy of its weights in another layout beside them."""
    folder = tmp_path / "sharded"
    shutil.copytree(saved("llama"), folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="4KB")
    save_file(load_file(saved("llama") / "model.safetensors"), folder / "consolidated.safetensors")
    return folder


def test_parameters_are_counted_once(saved: Saved, sharded: Path) -> None:
    count = sum(tensor.numel() for tensor in load_file(saved("llama") / "model.safetensors").values())
    assert ModelSource.find(str(saved("llama"))).parameters == count
    assert len(list(sharded.glob("model-*.safetensors"))) > 1
    assert ModelSource.find(str(sharded)).parameters == count


def test_a_missing_shard_is_named(sharded: Path) -> None:
    index = json.loads((sharded / "model.safetensors.index.json").read_text())
    lost = min(index["weight_map"].values())
    (sharded / lost).unlink()
    with pytest.raises(HarnessError, match=f"teacher .*: {lost} is missing"):
        ModelSource.find(str(sharded), role="teacher")


def test_everything_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(HarnessError) as caught:
        ModelSource.find(str(tmp_path), role="student")
    for said in (
        "no config.json",
        "pickled weights are never loaded; pytorch_model.bin is a pickle",
        "no tokenizer files",
    ):
        assert said in caught.value.problem


def test_a_hub_model_may_be_pinned(saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--some--model"
    (repository / "refs").mkdir(parents=True)
    for name, commit, family in (("main", "a" * 40, "llama"), ("v1", "b" * 40, "mistral")):
        (repository / "refs" / name).write_text(commit)
        shutil.copytree(saved(family), repository / "snapshots" / commit)
    newest, pinned = ModelSource.find("some/model"), ModelSource.find("some/model@v1")
    assert pinned == ModelSource.find("some/model@v1", revision="main")  # the name says it
    assert (newest.revision, pinned.revision) == ("a" * 40, "b" * 40)
    assert ModelSource.find("some/model", revision="v1").folder == pinned.folder
    assert newest.sha256 == ModelSource.find(str(saved("llama"))).sha256
    assert pinned.sha256 == ModelSource.find(str(saved("mistral"))).sha256
    assert newest.identity["name"] == "some/model"
    assert newest.identity["revision"] == "a" * 40


def test_an_unknown_name_is_said(tmp_path: Path) -> None:
    with pytest.raises(
        HarnessError,
        match="teacher no/such: no such folder, and not to be had from the hub: not on this machine",
    ):
        ModelSource.find("no/such", role="teacher")
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match="is a file"):
        ModelSource.find(str(tmp_path / "file"))


def test_an_adapter_is_no_model(saved: Saved, tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(HarnessError, match="holds an adapter") as caught:
        ModelSource.find(str(tmp_path))
    assert "peft=" in caught.value.remedy


def test_a_damaged_tokenizer_is_said(saved: Saved, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved("llama"), tmp_path / "model"))
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(HarnessError, match="tokenizer cannot be loaded"):
        ModelSource.find(str(folder)).tokenizer()
