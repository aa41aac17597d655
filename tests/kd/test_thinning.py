"""A student made of some of a model's layers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from harness_kd.studies.thinning import kept_layers, thinned
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from harness.errors import HarnessError
from harness.models.source import ModelSource
from tests.kd.conftest import make_tokenizer


def test_first_and_last_layer_stay_and_the_others_are_spread() -> None:
    assert kept_layers(30, 10) == [0, 3, 6, 10, 13, 16, 19, 23, 26, 29]
    assert kept_layers(4, 4) == [0, 1, 2, 3]
    for keep in (1, 5):
        with pytest.raises(HarnessError, match=f"cannot keep {keep} of 4 layers"):
            kept_layers(4, keep)


SIZES = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "initializer_range": 0.3,
}


@pytest.mark.parametrize(
    ("kind", "config"), [(LlamaForCausalLM, LlamaConfig), (Qwen2ForCausalLM, Qwen2Config)]
)
def test_a_thinned_model_computes_what_its_layers_compute(kind: Any, config: Any, tmp_path: Path) -> None:
    tokenizer, whole = make_tokenizer(), str(tmp_path / "whole")
    torch.manual_seed(0)
    kind(config(vocab_size=len(tokenizer), **SIZES)).save_pretrained(whole)
    tokenizer.save_pretrained(whole)
    same = ModelSource.find(str(thinned(whole, 4, tmp_path / "same"))).model()
    model = ModelSource.find(whole).model()
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.inference_mode():
        assert torch.equal(model(ids).logits, same(ids).logits)

    source = ModelSource.find(str(thinned(whole, 2, tmp_path / "thin")))
    thin: Any = source.model()
    assert source.settings["num_hidden_layers"] == 2
    kept = [model.model.layers[0], model.model.layers[-1]]
    for ours, theirs in zip(thin.model.layers, kept, strict=True):
        for name, weight in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], weight)
    # with its cache of keys and values it writes what it writes without
    made = [
        thin.generate(ids, max_new_tokens=8, do_sample=False, use_cache=cached, pad_token_id=0)
        for cached in (True, False)
    ]
    assert torch.equal(*made)
