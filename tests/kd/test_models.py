"""Knowing a model by what its files hold."""

import json
import shutil
from pathlib import Path

import pytest
from harness_kd.models import ModelSource
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from harness.errors import HarnessError


@pytest.fixture
def sharded(student, tmp_path):
    """The student in shards, as large models come, with a second copy of its weights in another layout beside them."""
    folder = tmp_path / "sharded"
    shutil.copytree(student, folder)
    model = AutoModelForCausalLM.from_pretrained(student)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="4KB")
    save_file(load_file(f"{student}/model.safetensors"), folder / "consolidated.safetensors")
    return folder


def test_parameters_are_counted_once(student, sharded):
    count = sum(tensor.numel() for tensor in load_file(f"{student}/model.safetensors").values())
    assert ModelSource.find(student, role="student").parameters == count
    assert len(list(sharded.glob("model-*.safetensors"))) > 1
    assert ModelSource.find(str(sharded), role="student").parameters == count


def test_the_hash_is_of_what_is_loaded(sharded):
    first = ModelSource.find(str(sharded), role="student").weights_sha256
    (sharded / "consolidated.safetensors").unlink()
    assert ModelSource.find(str(sharded), role="student").weights_sha256 == first
    shard = next(sharded.glob("model-*.safetensors"))
    save_file(
        {name: tensor + 1 for name, tensor in load_file(shard).items()}, shard, metadata={"format": "pt"}
    )
    assert ModelSource.find(str(sharded), role="student").weights_sha256 != first


def test_a_missing_shard_is_named(sharded):
    index = json.loads(Path(sharded / "model.safetensors.index.json").read_text())
    lost = min(index["weight_map"].values())
    (sharded / lost).unlink()
    with pytest.raises(HarnessError, match=f"teacher .*: {lost} is missing"):
        ModelSource.find(str(sharded), role="teacher")


def test_a_hub_model_may_be_pinned(student, teacher, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--some--model"
    (repository / "refs").mkdir(parents=True)
    for name, commit, source in (("main", "a" * 40, student), ("v1", "b" * 40, teacher)):
        (repository / "refs" / name).write_text(commit)
        shutil.copytree(source, repository / "snapshots" / commit)
    newest, pinned = (ModelSource.find(name, role="student") for name in ("some/model", "some/model@v1"))
    assert (newest.revision, pinned.revision) == ("a" * 40, "b" * 40)
    assert newest.weights_sha256 == ModelSource.find(student, role="student").weights_sha256
    assert pinned.weights_sha256 == ModelSource.find(teacher, role="teacher").weights_sha256
