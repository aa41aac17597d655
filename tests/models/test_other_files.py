"""Adapters and pickled weights, which lm-eval loads: whole or refused, and nothing of them is run."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from harness.errors import HarnessError
from harness.models.adapters import require_whole_adapter
from harness.models.pickled import pickled_files, pickled_shapes
from harness.models.whole import require_whole

Made = Callable[[str], Path]
MODULES = {"llama": ["q_proj", "v_proj"], "bloom": ["query_key_value"], "t5": ["q", "v"]}
Weights = dict[str, torch.Tensor]


def make_adapter(base: Path, folder: Path, family: str, **options: Any) -> Path:
    kind = AutoModelForSeq2SeqLM if family == "t5" else AutoModelForCausalLM
    model = get_peft_model(
        kind.from_pretrained(base), LoraConfig(r=2, target_modules=MODULES[family], **options)
    )
    model.save_pretrained(str(folder))
    return folder


def refusal(adapter: Path, base: Path) -> str:
    with pytest.raises(HarnessError) as caught:
        require_whole_adapter(adapter, base, what="adapter it")
    return caught.value.problem


@pytest.mark.parametrize("family", MODULES)
def test_a_whole_adapter_is_accepted(family: str, saved: Made, tmp_path: Path) -> None:
    adapter = make_adapter(saved(family), tmp_path / "adapter", family)
    require_whole_adapter(adapter, saved(family), what="adapter it")


def test_an_adapter_may_hold_a_module_of_the_base(saved: Made, tmp_path: Path) -> None:
    adapter = make_adapter(saved("llama"), tmp_path / "adapter", "llama", modules_to_save=["lm_head"])
    require_whole_adapter(adapter, saved("llama"), what="adapter it")
    change(adapter, lambda weights: weights.pop("base_model.model.lm_head.weight"))
    assert "a weight is missing: base_model.model.lm_head" in refusal(adapter, saved("llama"))


def test_an_adapter_may_bring_tokens_of_its_own(saved: Made, tmp_path: Path) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(saved("llama"))
    model.resize_token_embeddings(70)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=MODULES["llama"]))
    adapted.save_pretrained(str(tmp_path / "adapter"), save_embedding_layers=True)
    require_whole_adapter(tmp_path / "adapter", saved("llama"), what="adapter it")


def change(adapter: Path, by: Callable[[Weights], Any]) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    by(weights)
    save_file(weights, adapter / "adapter_model.safetensors", metadata={"format": "pt"})


def test_a_damaged_adapter_is_refused(saved: Made, tmp_path: Path) -> None:
    base = saved("llama")
    name = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"

    def renamed(weights: Weights) -> None:
        weights[name.replace("lora_A", "lora_a")] = weights.pop(name)

    for number, (by, said) in enumerate(
        (
            (lambda weights: weights.pop(name), f"1 weight is missing, such as {name}"),
            (renamed, "1 weight is unexpected"),
            (
                lambda weights: weights.update({name.replace("1.self", "5.self"): weights[name].clone()}),
                "1 weight is unexpected",
            ),
            (lambda weights: weights.update({name: torch.zeros(3, 16)}), "size mismatch"),
        )
    ):
        adapter = make_adapter(base, tmp_path / f"adapter{number}", "llama")
        change(adapter, by)
        assert said in refusal(adapter, base)
    assert "cannot be loaded on bloom" in refusal(adapter, saved("bloom"))
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    assert "is empty" in refusal(adapter, base)
    (adapter / "adapter_model.safetensors").unlink()
    assert "no adapter_model.safetensors" in refusal(adapter, base)


@pytest.fixture
def pickled(copy: Made) -> Path:
    """A model as older repositories hold it."""
    folder = copy("opt")
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder


def test_names_and_shapes_are_those_that_torch_reads(pickled: Path) -> None:
    path = pickled / "pytorch_model.bin"
    expected = {name: tuple(value.shape) for name, value in torch.load(path, weights_only=True).items()}
    assert pickled_shapes(pickled_files(pickled)) == expected
    kept = {
        "a": torch.nn.Parameter(torch.zeros(2, 3, dtype=torch.bfloat16)),
        "b": torch.zeros((), dtype=torch.bool),
    }
    torch.save(kept, path)
    assert pickled_shapes([path]) == {"a": (2, 3), "b": ()}


def test_pickled_weights_are_whole_or_refused(pickled: Path) -> None:
    require_whole(pickled, what="model it", pickled=True)
    with pytest.raises(HarnessError, match=r"no model\.safetensors"):
        require_whole(pickled, what="model it")
    weights = torch.load(pickled / "pytorch_model.bin", weights_only=True)
    lost = weights.pop("model.decoder.layers.1.fc1.weight")
    torch.save(weights, pickled / "pytorch_model.bin")
    with pytest.raises(
        HarnessError, match=r"1 weight is missing, such as model\.decoder\.layers\.1\.fc1\.weight"
    ):
        require_whole(pickled, what="model it", pickled=True)
    torch.save({"model.decoder.layers.1.fc1.weight": lost}, pickled / "second.bin")
    (pickled / "pytorch_model.bin").rename(pickled / "first.bin")
    index = dict.fromkeys(weights, "first.bin") | {"model.decoder.layers.1.fc1.weight": "second.bin"}
    (pickled / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    require_whole(pickled, what="model it", pickled=True)


class Forged:
    def __reduce__(self) -> Any:
        return Path.write_text, (Path("ran"), "it ran")


def test_a_pickle_that_does_something_is_refused_and_does_nothing(
    pickled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = pickled / "pytorch_model.bin"
    torch.save({"weight": Forged()}, path)
    with pytest.raises(HarnessError, match="it names "):
        pickled_shapes([path])
    for content in (b"", b"not a zip", pickle.dumps({"a": 1})):
        path.write_bytes(content)
        with pytest.raises(HarnessError, match="refused"):
            pickled_shapes([path])
    torch.save({"a": 1}, path)
    with pytest.raises(HarnessError, match="does not map names to tensors"):
        pickled_shapes([path])
    assert not (tmp_path / "ran").exists()
