"""A checkpoint of any family is accepted when it is whole, however it is laid out, and refused when it is not."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
)

from harness.errors import HarnessError
from harness.models.architecture import language_model_class
from harness.models.source import ModelSource
from harness.models.whole import load_whole, require_whole
from tests.models.conftest import FAMILIES, change_config, change_weights

Made = Callable[[str], Path]
LAYERS = ("num_hidden_layers", "n_layer", "num_layers")


def require(folder: Path) -> None:
    require_whole(folder, what="model it")


def refusal(folder: Path) -> str:
    """What a checkpoint is refused for; the same before and while it is loaded, if it can be loaded at all."""
    with pytest.raises(HarnessError) as caught:
        require(folder)
    return caught.value.problem


def loading_refusal(folder: Path) -> str:
    with pytest.raises(HarnessError) as caught:
        load(folder)
    return caught.value.problem


def load(folder: Path) -> Any:
    config = AutoConfig.from_pretrained(folder)
    return load_whole(language_model_class(config), folder, config, what="model it")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_whole_checkpoint_is_accepted(family: str, saved: Made) -> None:
    require(saved(family))
    model: Any = ModelSource.find(str(saved(family))).model()
    assert all(weight.isfinite().all() for weight in model.state_dict().values())
    stored = load_file(saved(family) / "model.safetensors")
    assert ModelSource.find(str(saved(family))).parameters == sum(
        weight.numel() for weight in stored.values()
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("more", [-1, 1], ids=["fewer layers", "more layers"])
def test_layers_that_the_file_does_not_hold_are_refused(family: str, more: int, copy: Made) -> None:
    folder = copy(family)
    settings = json.loads((folder / "config.json").read_text())
    key = next(name for name in LAYERS if name in settings)
    change_config(folder, **{key: settings[key] + more, "layer_types": None})
    found = refusal(folder)
    assert f"weights are {'missing' if more > 0 else 'unexpected'}, such as" in found
    assert found == loading_refusal(folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_renamed_weight_is_missing_and_unexpected(family: str, copy: Made) -> None:
    folder = copy(family)
    name = max(load_file(folder / "model.safetensors"), key=lambda name: (name.count("."), name))
    change_weights(folder, lambda weights: weights.update({f"{name}_old": weights.pop(name)}))
    found = refusal(folder)
    if family == "mixtral":  # whose experts are merged while they are loaded
        assert "2 weights do not fit each other, such as model.layers.1.mlp.experts.1.w3.weight_old" in found
        assert found == loading_refusal(folder)
    else:
        assert f"1 weight is unexpected, such as {name}_old" in found
        assert f"1 weight is missing, such as {name}" in found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_weight_of_another_shape_is_refused(family: str, copy: Made) -> None:
    folder = copy(family)
    rows = json.loads((folder / "config.json").read_text())["vocab_size"]
    change_config(folder, vocab_size=rows + 3)
    found = refusal(folder)
    assert "of another shape, such as" in found
    assert f"[{rows}, 16], not [{rows + 3}, 16]" in found
    assert found == loading_refusal(folder)


@pytest.mark.parametrize(
    ("family", "model_type", "said"),
    [
        ("llama", "qwen2", "llama"),  # other weights
        (
            "llama",
            "gemma",
            "model_type is gemma, but LlamaForCausalLM is a llama",
        ),  # the same weights, and other outputs
        ("mistral", "llama", "model_type is llama, but MistralForCausalLM is a mistral"),
        ("t5", "mt5", "model_type is mt5, but T5ForConditionalGeneration is a t5"),
        ("gpt2", "bert", "bert"),
        ("opt", "vit", "vit"),
        ("bloom", "nothing-known", "nothing-known"),
    ],
)
def test_another_model_type_is_refused(family: str, model_type: str, said: str, copy: Made) -> None:
    folder = copy(family)
    change_config(folder, model_type=model_type)
    assert said in refusal(folder)


@pytest.mark.parametrize("model_type", ["qwen2", "gpt_neox", "bloom"])
def test_weights_alone_tell_another_model_type(model_type: str, copy: Made) -> None:
    folder = copy("llama")
    change_config(folder, model_type=model_type, architectures=None)
    assert "weights are" in refusal(folder)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[:-5], "is not a whole safetensors file"),
        (lambda data: data[:100], "is not a whole safetensors file"),
        (lambda data: b"", "is empty"),
        (
            lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "is a pointer of Git LFS",
        ),
        (lambda data: b"<html>404</html>" * 50, "is not a whole safetensors file"),
    ],
    ids=["cut", "cut in its header", "empty", "lfs", "a page"],
)
def test_a_damaged_file_is_named(damage: Callable[[bytes], bytes], said: str, copy: Made) -> None:
    path = copy("llama") / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    found = refusal(path.parent)
    assert said in found
    assert str(path) in found
    assert "\n" not in found


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"model_type": 3}', "{}", "\x00"])
@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_damaged_settings_are_named(name: str, content: str, copy: Made) -> None:
    folder = copy("llama")
    (folder / name).write_text(content)
    if name == "generation_config.json" and content in ("{}", '{"model_type": 3}'):
        require(folder)  # settings that nobody reads
        return
    assert "config.json" in refusal(folder)


@pytest.mark.parametrize(
    "changes",
    [{"num_attention_heads": 3}, {"hidden_size": -1}, {"hidden_act": "magic"}, {"num_hidden_layers": 1}],
)
def test_settings_that_describe_no_model_are_refused(changes: dict[str, Any], copy: Made) -> None:
    folder = copy("qwen2")
    change_config(folder, **changes)  # the last contradicts layer_types
    assert refusal(folder).startswith("model it: ")


def test_a_changed_file_is_looked_at_again(copy: Made) -> None:
    folder = copy("llama")
    require(folder)
    change_weights(folder, lambda weights: weights.pop("model.norm.weight"))
    assert "1 weight is missing, such as model.norm.weight" in refusal(folder)


def test_nothing_is_printed_beside_the_refusal(copy: Made, caplog: pytest.LogCaptureFixture) -> None:
    folder = copy("llama")
    change_weights(folder, lambda weights: weights.pop("model.norm.weight"))
    logging.getLogger("transformers").propagate = True
    try:
        loading_refusal(folder)
    finally:
        logging.getLogger("transformers").propagate = False
    assert "LOAD REPORT" not in caplog.text


def tied(weights: dict[str, torch.Tensor]) -> None:
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()


def only_the_head(weights: dict[str, torch.Tensor]) -> None:
    weights["lm_head.weight"] = weights.pop("model.embed_tokens.weight")


def without_prefix(weights: dict[str, torch.Tensor]) -> None:
    for name in list(weights):
        weights[name.removeprefix("transformer.").removeprefix("model.")] = weights.pop(name)


def rotary(weights: dict[str, torch.Tensor]) -> None:
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)


def masks(weights: dict[str, torch.Tensor]) -> None:
    for layer in (0, 1):
        weights[f"gpt_neox.layers.{layer}.attention.bias"] = torch.ones(1, 1, 8, 8, dtype=torch.bool)
        weights[f"gpt_neox.layers.{layer}.attention.masked_bias"] = torch.tensor(-1e9)


def gpt2_masks(weights: dict[str, torch.Tensor]) -> None:
    for layer in (0, 1):
        weights[f"transformer.h.{layer}.attn.bias"] = torch.ones(1, 1, 8, 8).tril()
        weights[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)


def former_head(weights: dict[str, torch.Tensor]) -> None:
    """As Pythia and GPT-NeoX-20B are published."""
    weights["embed_out.weight"] = weights.pop("lm_head.weight", weights.get("embed_out.weight"))


@pytest.mark.parametrize(
    ("family", "change"),
    [
        ("gpt_neox", former_head),
        ("qwen2", tied),
        ("qwen2", only_the_head),
        ("gpt2", without_prefix),
        ("bloom", without_prefix),
        ("llama", rotary),
        ("gpt_neox", masks),
        ("gpt2", gpt2_masks),
    ],
)
def test_layouts_that_transformers_reads_are_whole(
    family: str, change: Callable[[dict[str, torch.Tensor]], None], copy: Made
) -> None:
    folder = copy(family)
    before: Any = AutoModelForCausalLM.from_pretrained(folder)
    change_weights(folder, change)
    require(folder)
    after = load(folder)
    ids = torch.tensor([[4, 9, 20, 31]])
    assert torch.equal(before(ids).logits, after(ids).logits)


def test_copies_of_a_shared_embedding_may_be_stored(copy: Made) -> None:
    """As flan-t5 and mT0 are published."""
    for family in ("t5", "mt5"):
        folder = copy(family)
        stored = load_file(folder / "model.safetensors")

        def copied(weights: dict[str, torch.Tensor]) -> None:
            for part in ("encoder", "decoder"):
                weights[f"{part}.embed_tokens.weight"] = weights["shared.weight"].clone()

        change_weights(folder, copied)
        require(folder)
        state = load(folder).state_dict()
        assert torch.equal(state["decoder.embed_tokens.weight"], stored["shared.weight"])


def test_a_learned_bias_is_no_mask(copy: Made) -> None:
    folder = copy("llama")
    change_weights(folder, lambda weights: weights.update({"model.layers.0.self_attn.bias": torch.ones(16)}))
    assert "1 weight is unexpected" in refusal(folder)


def test_both_embeddings_missing_are_missed(copy: Made) -> None:
    folder = copy("qwen2")
    change_weights(folder, lambda weights: weights.pop("model.embed_tokens.weight"))
    assert "missing" in refusal(folder)


def test_an_untied_head_must_be_there(copy: Made) -> None:
    folder = copy("llama")
    change_weights(folder, lambda weights: weights.pop("lm_head.weight"))
    assert "1 weight is missing, such as lm_head.weight" in refusal(folder)
    change_config(folder, tie_word_embeddings=True)
    require(folder)


@pytest.fixture
def sharded(saved: Made, tmp_path: Path) -> Path:
    folder = tmp_path / "sharded"
    shutil.copytree(saved("mixtral"), folder)
    (folder / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(saved("mixtral")).save_pretrained(folder, max_shard_size="8KB")
    return folder


def test_shards_are_whole_together(sharded: Path) -> None:
    require(sharded)
    shards = sorted(sharded.glob("model-*.safetensors"))
    assert len(shards) > 2
    weights = load_file(shards[1])
    weights.pop(next(iter(weights)))
    save_file(weights, shards[1], metadata={"format": "pt"})
    assert "missing" in refusal(sharded)
    shards[1].unlink()
    assert refusal(sharded) == f"model it: {shards[1].name} is missing"


@pytest.mark.parametrize("content", ["{", "{}", '{"weight_map": 3}', '{"weight_map": {}}'])
def test_a_damaged_index_is_named(content: str, sharded: Path) -> None:
    (sharded / "model.safetensors.index.json").write_text(content)
    assert "model.safetensors" in refusal(sharded)


def test_one_file_comes_before_shards(saved: Made, sharded: Path) -> None:
    """As transformers has it: an index that was left behind is not read."""
    shutil.copy(saved("mixtral") / "model.safetensors", sharded)
    for shard in sharded.glob("model-*.safetensors"):
        shard.unlink()
    require(sharded)
    assert ModelSource.find(str(sharded)).parameters == ModelSource.find(str(saved("mixtral"))).parameters


@pytest.fixture
def quantised(copy: Made) -> Path:
    """A model in 8-bit floats with a scale for each block, as DeepSeek-V3 and Qwen3 are published, and one for vLLM's cache."""
    folder = copy("llama")

    def in_8_bit(weights: dict[str, torch.Tensor]) -> None:
        for name in [name for name in weights if "_proj." in name]:
            weights[name] = weights[name].to(torch.float8_e4m3fn)
            weights[name.replace(".weight", ".weight_scale_inv")] = torch.ones(1, 1)
        weights["model.layers.0.self_attn.k_proj.k_scale"] = torch.ones(())

    change_weights(folder, in_8_bit)
    change_config(
        folder,
        quantization_config={
            "quant_method": "fp8",
            "weight_block_size": [128, 128],
            "activation_scheme": "dynamic",
        },
    )
    return folder


def test_a_quantised_model_is_whole_or_refused(quantised: Path) -> None:
    require(quantised)
    load(quantised)
    change_weights(quantised, lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight"))
    assert "1 weight is missing, such as model.layers.1.mlp.up_proj.weight" in refusal(quantised)
    assert refusal(quantised) == loading_refusal(quantised)


def test_what_cannot_be_read_here_is_refused_when_it_is_loaded(copy: Made) -> None:
    folder = copy("llama")
    change_config(folder, quantization_config={"quant_method": "vptq"})
    require(folder)
    assert "cannot be loaded: " in loading_refusal(folder)


@pytest.fixture
def encoders(tmp_path: Path) -> dict[str, Path]:
    """A pretrained encoder without a classifier, and a classifier of three labels."""
    config = BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16
    )
    made = {"encoder": BertForMaskedLM(config)}
    made["classifier"] = BertForSequenceClassification(BertConfig(**config.to_dict() | {"num_labels": 3}))
    for name, model in made.items():
        model.save_pretrained(tmp_path / name)
    return {name: tmp_path / name for name in made}


def load_base(folder: Path, *, new_head: bool = True) -> Any:
    config = AutoConfig.from_pretrained(folder, num_labels=1)
    return load_whole(AutoModelForSequenceClassification, folder, config, what="base it", new_head=new_head)


def test_a_head_that_is_to_be_trained_may_be_missing(encoders: dict[str, Path]) -> None:
    for folder in encoders.values():
        stored = load_file(folder / "model.safetensors")
        state = load_base(folder).state_dict()
        name = "bert.encoder.layer.1.output.dense.weight"
        assert torch.equal(state[name], stored[name])
        assert state["classifier.weight"].shape == (1, 16)
        with pytest.raises(HarnessError, match=r"of another shape|missing"):
            load_base(folder, new_head=False)


def test_what_a_new_head_stands_on_must_be_whole(encoders: dict[str, Path]) -> None:
    change_weights(
        encoders["encoder"], lambda weights: weights.pop("bert.encoder.layer.1.output.dense.weight")
    )
    with pytest.raises(
        HarnessError, match=r"1 weight is missing, such as bert.encoder.layer.1.output.dense.weight"
    ):
        load_base(encoders["encoder"])
    change_config(encoders["classifier"], num_hidden_layers=1)
    with pytest.raises(HarnessError, match="16 weights are unexpected"):
        load_base(encoders["classifier"])
