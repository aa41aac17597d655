"""HHEM-2.1-open's architecture against a plain computation, and every known way to load it wrongly."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from harness.errors import HarnessError
from harness.judges import load, self_test
from harness.judges.hhem21 import PARAMETERS, PROMPT, Hhem21
from tests.judges.conftest import PAIRS, TEXT


def bucket(distance: int) -> int:
    """T5's bidirectional position bucket of 32, to 128 tokens (Raffel et al., 2020): key position minus query position."""
    side = 16 if distance > 0 else 0
    far = abs(distance)
    if far < 8:
        return side + far
    return side + min(15, 8 + int(math.log(far / 8) / math.log(128 / 8) * 8))


def plain_score(folder: Path, source: str, summary: str, *, embedding: Any = None) -> float:
    """One pair at a time in float64, from the published names alone: no transformers model, no mask, no padding."""
    w = {
        name.removeprefix("t5."): value.double()
        for name, value in load_file(folder / "model.safetensors").items()
    }
    prompt = (
        "<pad> Determine if the hypothesis is true given the premise?\n\n"
        f"Premise: {source}\n\nHypothesis: {summary}"
    )
    ids = AutoTokenizer.from_pretrained(folder / "foundation")(prompt).input_ids
    n, heads, size = len(ids), 4, 8
    x = (w["transformer.shared.weight"] if embedding is None else embedding)[ids]

    def norm(value: Any, weight: Any) -> Any:
        return value / torch.sqrt((value**2).mean(-1, keepdim=True) + 1e-6) * weight

    table = w["transformer.encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
    bias = torch.stack([torch.stack([table[bucket(key - query)] for key in range(n)]) for query in range(n)])
    for layer in range(2):
        base = f"transformer.encoder.block.{layer}.layer"
        h = norm(x, w[f"{base}.0.layer_norm.weight"])
        q, k, v = ((h @ w[f"{base}.0.SelfAttention.{m}.weight"].T).view(n, heads, size) for m in "qkv")
        scores = torch.einsum("qhd,khd->qkh", q, k) + bias  # T5 does not divide by the root of the width
        mixed = torch.einsum("qkh,khd->qhd", scores.softmax(1), v).reshape(n, heads * size)
        x = x + mixed @ w[f"{base}.0.SelfAttention.o.weight"].T
        h = norm(x, w[f"{base}.1.layer_norm.weight"])
        gate = torch.nn.functional.gelu(h @ w[f"{base}.1.DenseReluDense.wi_0.weight"].T, approximate="tanh")
        x = (
            x
            + (gate * (h @ w[f"{base}.1.DenseReluDense.wi_1.weight"].T))
            @ w[f"{base}.1.DenseReluDense.wo.weight"].T
        )
    x = norm(x, w["transformer.encoder.final_layer_norm.weight"])
    logits = x[0] @ w["classifier.weight"].T + w["classifier.bias"]
    return float(logits.softmax(-1)[1])


def test_scores_equal_a_plain_computation(hhem21: Path) -> None:
    expected = [plain_score(hhem21, *pair) for pair in PAIRS]
    assert max(expected) - min(expected) > 0.05  # else a constant would pass
    for batch_tokens in (1, 100_000):  # one by one; all in one padded batch
        found = load(str(hhem21), device="cpu", batch_tokens=batch_tokens).score(PAIRS)
        assert found == pytest.approx(expected, abs=1e-6)


def test_the_prompt_is_verbatim() -> None:
    """Model card of HHEM-2.1-open."""
    assert PROMPT == (
        "<pad> Determine if the hypothesis is true given the premise?\n\nPremise: {text1}\n\nHypothesis: {text2}"
    )


def test_position_0_is_a_token_and_a_mask_from_ids_would_hide_it(hhem21: Path) -> None:
    judge = Hhem21(hhem21 / "model.safetensors", hhem21 / "foundation", parameters=None)
    gaps = []
    for pair, encoded in zip(PAIRS, judge.encode(PAIRS), strict=True):
        assert encoded.ids[0] == judge.pad_id
        assert encoded.ids[-1] == 1
        ids = torch.tensor([encoded.ids])
        with torch.inference_mode():
            right = float(judge.probabilities(ids, torch.ones_like(ids)))
            wrong = float(judge.probabilities(ids, (ids != judge.pad_id).long()))
        assert right == pytest.approx(plain_score(hhem21, *pair), abs=1e-6)
        gaps.append(abs(wrong - right))
    assert max(gaps) > 1e-3


def test_padding_on_the_left_would_move_the_classification_token(hhem21: Path) -> None:
    judge = Hhem21(hhem21 / "model.safetensors", hhem21 / "foundation", parameters=None)
    ids = torch.tensor([judge.encode(PAIRS[:1])[0].ids])
    padding = torch.zeros(1, 5, dtype=torch.long)
    expected = plain_score(hhem21, *PAIRS[0])
    with torch.inference_mode():
        right = judge.probabilities(
            torch.cat([ids, padding], 1), torch.cat([torch.ones_like(ids), padding], 1)
        )
        left = judge.probabilities(
            torch.cat([padding, ids], 1), torch.cat([padding, torch.ones_like(ids)], 1)
        )
    assert float(right) == pytest.approx(expected, abs=1e-6)
    assert abs(float(left) - expected) > 2e-5


def test_a_random_encoder_embedding_would_show(hhem21: Path) -> None:
    """The widely copied patch leaves it random: the scores then differ, and the self-test's stored scores catch it."""
    torch.manual_seed(1)
    size = load_file(hhem21 / "model.safetensors")["t5.transformer.shared.weight"].shape
    other = plain_score(hhem21, *PAIRS[0], embedding=torch.randn(size).double())
    assert abs(other - plain_score(hhem21, *PAIRS[0])) > 1e-3
    judge = load(str(hhem21), device="cpu", test=False)
    assert judge.backbone.check_ties() is None  # type: ignore[attr-defined]
    encoder = judge.backbone._model.transformer.encoder  # type: ignore[attr-defined]
    encoder.embed_tokens = torch.nn.Embedding(*size)
    assert judge.backbone.check_ties() is not None  # type: ignore[attr-defined]


def test_nothing_is_cut_and_long_pairs_are_counted(hhem21: Path) -> None:
    pair = (" ".join(TEXT[:2] * 12), "A storm cut power.")
    judge = load(str(hhem21), device="cpu")
    (score,) = judge.score([pair])
    assert len(judge.backbone.encode([pair])[0].ids) > 512
    assert judge.counts.over_length == 1
    assert judge.counts.truncated == 0
    assert score == pytest.approx(plain_score(hhem21, *pair), abs=1e-6)


def _drop(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda state: state.pop(name)


SHARED = "t5.transformer.shared.weight"
TIED = "t5.transformer.encoder.embed_tokens.weight"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_drop("t5.classifier.bias"), "1 weights are missing"),
        (_drop(SHARED), "2 weights are missing"),
        (lambda state: state.update({"t5.extra": torch.zeros(1)}), "1 weights are unexpected"),
        (lambda state: state.update({"classifier.bias": torch.zeros(2)}), "1 weights are unexpected"),
        (lambda state: state.update({TIED: state[SHARED] + 1}), "must be tied"),
        (lambda state: state.update({"t5.classifier.weight": torch.zeros(3, 32)}), "has shape"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    change: Callable[[dict[str, Any]], None], said: str, make_hhem21: Callable[..., Path]
) -> None:
    with pytest.raises(HarnessError, match=said):
        load(str(make_hhem21(change)), device="cpu")


@pytest.mark.parametrize("both", [True, False])
def test_the_tied_weight_may_stand_under_either_name(both: bool, make_hhem21: Callable[..., Path]) -> None:
    def change(state: dict[str, Any]) -> None:
        state[TIED] = state[SHARED].clone()
        if not both:
            state.pop(SHARED)

    folder = make_hhem21(change)
    embedding = load_file(folder / "model.safetensors")[TIED].double()
    expected = [plain_score(folder, *pair, embedding=embedding) for pair in PAIRS[:2]]
    judge = load(str(folder), device="cpu", test=False)
    assert judge.score(PAIRS[:2]) == pytest.approx(expected, abs=1e-6)
    assert {check.name: check.passed for check in self_test.run(judge)}["ties"]


def test_the_published_size_is_insisted_on(hhem21: Path) -> None:
    with pytest.raises(HarnessError, match=r"parameters, but HHEM-2\.1-open has 109,630,082"):
        Hhem21(hhem21 / "model.safetensors", hhem21 / "foundation")


def test_flan_t5_base_with_two_labels_has_the_published_number_of_parameters() -> None:
    from transformers import T5Config, T5ForTokenClassification

    config = T5Config(
        vocab_size=32128, d_model=768, d_kv=64, d_ff=2048, num_layers=12, num_heads=12,
        feed_forward_proj="gated-gelu", num_labels=2,
    )  # fmt: skip
    with torch.device("meta"):
        model = T5ForTokenClassification(config)
    names = {
        name: weight.numel() for name, weight in model.state_dict().items() if "embed_tokens" not in name
    }
    assert sum(names.values()) == PARAMETERS == 109_630_082


def test_another_prompt_is_refused(make_hhem21: Callable[..., Path]) -> None:
    folder = make_hhem21()
    (folder / "config.json").write_text(
        '{"model_type": "HHEMv2Config", "prompt": "Is it true? {text1} {text2}"}'
    )
    with pytest.raises(HarnessError, match="its prompt is not"):
        load(str(folder), device="cpu")


def test_bfloat16_is_close_and_says_so(hhem21: Path) -> None:
    judge = load(str(hhem21), device="cpu", dtype="bfloat16", test=False)
    assert judge.score(PAIRS) == pytest.approx([plain_score(hhem21, *pair) for pair in PAIRS], abs=0.05)
    assert "dtype:bfloat16" in judge.signature()
