"""Ratios held against transformers' own eager attention weights, left-padded as `generate` pads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from harness.lookback.extraction import (
    Passage,
    Ratios,
    head_layout,
    lookback_ratios,
    uses_interface,
)

COMMON = {"vocab_size": 97, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
}
GROUPED = SIZES | {"num_key_value_heads": 2}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", GROUPED),
    "qwen2": ("Qwen2Config", GROUPED),
    "qwen3": ("Qwen3Config", GROUPED | {"head_dim": 16}),
    "mistral with a sliding window": ("MistralConfig", GROUPED | {"sliding_window": 7}),
    "gpt-neox": ("GPTNeoXConfig", SIZES),
    "opt": ("OPTConfig", SIZES | {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}),
    "bloom": ("BloomConfig", {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "gptj": ("GPTJConfig", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "rotary_dim": 4}),
    "gemma2 with a softcap": ("Gemma2Config", GROUPED | {"head_dim": 8, "sliding_window": 7}),
}
ON_INTERFACE = {"llama", "qwen2", "qwen3", "mistral with a sliding window", "gpt-neox", "opt", "gpt2"}


def make(family: str, dtype: torch.dtype = torch.float32) -> Any:
    name, sizes = FAMILIES[family]
    torch.manual_seed(1)
    config = getattr(transformers, name)(**COMMON | sizes)
    model = AutoModelForCausalLM.from_config(config).to(dtype).eval()
    with torch.no_grad():  # random weights attend almost evenly; larger ones make rows that differ
        for parameter in model.parameters():
            if parameter.dim() == 2 and parameter.shape[0] != COMMON["vocab_size"]:
                parameter.mul_(4.0)
    return model


def passages() -> list[Passage]:
    """Prompts of 9, 21 and 15 tokens with responses of 12, 5 and 1."""
    rng = np.random.default_rng(0)

    def tokens(n: int) -> list[int]:
        return [int(t) for t in rng.integers(3, 97, n)]

    return [
        Passage(tokens(9), tokens(12), 6),
        Passage(tokens(21), tokens(5), 17),
        Passage(tokens(15), tokens(1), 14),
    ]


def reference(model: Any, batch: list[Passage]) -> list[Ratios]:
    """The original's way: eager attention matrices of a left-padded batch, then the formula in words."""
    if model._can_set_attn_implementation():
        model.set_attn_implementation("eager")
    sequences = [[*p.prompt, *p.response] for p in batch]
    length = max(map(len, sequences))
    pads = [length - len(s) for s in sequences]
    ids = torch.tensor([[0] * pad + s for pad, s in zip(pads, sequences, strict=True)])
    mask = torch.tensor([[0] * pad + [1] * len(s) for pad, s in zip(pads, sequences, strict=True)])
    extra = {} if model.config.model_type == "bloom" else {"position_ids": (mask.cumsum(-1) - 1).clamp(min=0)}
    with torch.no_grad():
        weights = model(ids, attention_mask=mask, output_attentions=True, **extra).attentions
    found = []
    for i, p in enumerate(batch):
        ratios = np.empty((len(p.response), len(weights), weights[0].shape[1]), np.float32)
        for r in range(len(p.response)):
            row = pads[i] + len(p.prompt) - 1 + r
            first_new = pads[i] + p.context
            for layer, matrix in enumerate(weights):
                a = matrix[i, :, row, pads[i] : first_new].float().mean(-1)
                b = matrix[i, :, row, first_new : row + 1].float().mean(-1)
                ratios[r, layer] = (a / (a + b)).numpy()
        found.append(ratios)
    return found


@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("family", FAMILIES)
def test_ratios_are_those_of_eager_attention(family: str, dtype: torch.dtype, within: float) -> None:
    model = make(family, dtype)
    assert uses_interface(model) == (family in ON_INTERFACE)
    implementation = model.config._attn_implementation
    found = lookback_ratios(model, passages())
    assert model.config._attn_implementation == implementation
    for ours, theirs in zip(found, reference(model, passages()), strict=True):
        assert ours.shape == theirs.shape
        assert np.ptp(theirs) > 0.01 or len(theirs) == 1
        np.testing.assert_allclose(ours, theirs, atol=within, rtol=0)


@pytest.mark.parametrize("family", ["llama", "mistral with a sliding window", "bloom"])
def test_a_batch_is_its_passages_one_by_one(family: str) -> None:
    model = make(family)
    together = lookback_ratios(model, passages())
    alone = [lookback_ratios(model, [p])[0] for p in passages()]
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6, rtol=0)


def test_rows_taken_in_pieces_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make("llama")
    whole = lookback_ratios(model, passages())
    monkeypatch.setattr("harness.lookback.extraction._PIECE", 1)
    for a, b in zip(whole, lookback_ratios(model, passages()), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6, rtol=0)


def test_the_models_output_is_unchanged_afterwards() -> None:
    model = make("llama")
    ids = torch.tensor([passages()[0].prompt])
    before = model(ids).logits
    lookback_ratios(model, passages())
    assert torch.equal(before, model(ids).logits)


def test_an_adapter_does_not_stand_in_the_way() -> None:
    peft = pytest.importorskip("peft")
    model = make("llama")
    expected = lookback_ratios(model, passages())
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"], r=2))
    for a, b in zip(lookback_ratios(adapted, passages()), expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)  # a fresh adapter adds nothing


def test_an_encoder_decoder_looks_back_through_its_cross_attention() -> None:
    torch.manual_seed(0)
    config = transformers.MT5Config(
        vocab_size=97, d_model=32, d_kv=8, d_ff=48, num_layers=3, num_decoder_layers=2, num_heads=4,
        decoder_start_token_id=0, pad_token_id=0,
    )  # fmt: skip
    model = AutoModelForSeq2SeqLM.from_config(config).eval()
    batch = passages()
    found = lookback_ratios(model, batch)
    model.set_attn_implementation("eager")
    for p, ours in zip(batch, found, strict=True):
        with torch.no_grad():
            outputs = model(
                input_ids=torch.tensor([p.prompt]),
                decoder_input_ids=torch.tensor([[0, *p.response[:-1]]]),
                output_attentions=True,
            )
        weights = torch.stack([layer[0] for layer in outputs.cross_attentions])  # [L, H, R, S]
        a, b = weights[..., : p.context].mean(-1), weights[..., p.context :].mean(-1)
        np.testing.assert_allclose(ours, (a / (a + b)).permute(2, 0, 1).numpy(), atol=1e-5)
    assert head_layout(model) == (2, 4)


def test_the_layout_is_that_of_query_heads() -> None:
    assert {head_layout(make(family)) for family in ("llama", "gpt2", "bloom")} == {(2, 4)}


def test_a_context_that_is_the_whole_prompt_leaves_its_last_token() -> None:
    whole, but_one = (Passage([5, 6, 7], [8], context) for context in (3, 2))
    model = make("llama")
    np.testing.assert_array_equal(lookback_ratios(model, [whole])[0], lookback_ratios(model, [but_one])[0])


def test_a_passage_without_response_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        Passage([1, 2], [], 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.accelerator.is_available(), reason="no accelerator")
@pytest.mark.parametrize("family", FAMILIES)
def test_an_accelerator_gives_what_a_processor_does(family: str) -> None:
    model = make(family)
    expected = lookback_ratios(model, passages())
    found = lookback_ratios(model.to(torch.accelerator.current_accelerator()), passages())
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4, rtol=0)
