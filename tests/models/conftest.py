"""Tiny real checkpoints of the architectures that people evaluate and distil, as save_pretrained writes them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BloomConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    MT5Config,
    OPTConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    T5Config,
)

WORDS = [f"word{number}" for number in range(60)]
_TOKENS = 64
_SHAPE: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
_GATED: dict[str, Any] = _SHAPE | {"vocab_size": _TOKENS, "intermediate_size": 32}
_T5: dict[str, Any] = {
    "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0,
}  # fmt: skip

FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaConfig(**_GATED),
    "qwen2": lambda: Qwen2Config(  # tied, and with rows beyond the tokenizer
        **_GATED | {"vocab_size": _TOKENS + 8}, num_key_value_heads=1, tie_word_embeddings=True
    ),
    "mistral": lambda: MistralConfig(**_GATED, num_key_value_heads=1),
    "gemma": lambda: GemmaConfig(**_GATED, num_key_value_heads=1, head_dim=8),
    "mixtral": lambda: MixtralConfig(**_GATED, num_key_value_heads=1, num_local_experts=2),
    "gpt_neox": lambda: GPTNeoXConfig(**_GATED),
    "gpt2": lambda: GPT2Config(vocab_size=_TOKENS, n_embd=16, n_layer=2, n_head=2, n_positions=64),
    "bloom": lambda: BloomConfig(vocab_size=_TOKENS, hidden_size=16, n_layer=2, n_head=2),
    "opt": lambda: OPTConfig(
        vocab_size=_TOKENS, ffn_dim=32, word_embed_proj_dim=16, max_position_embeddings=64, **_SHAPE
    ),
    "t5": lambda: T5Config(vocab_size=_TOKENS, **_T5),
    "mt5": lambda: MT5Config(vocab_size=_TOKENS, tie_word_embeddings=False, **_T5),
}


def word_tokenizer() -> PreTrainedTokenizerFast:
    """Whole words."""
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", *WORDS])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A family's checkpoint; not to be changed."""
    base = tmp_path_factory.mktemp("families")

    def save(family: str) -> Path:
        folder = base / family
        if not folder.exists():
            torch.manual_seed(0)
            config = FAMILIES[family]()
            kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
            kind.from_config(config).save_pretrained(folder)  # type: ignore[no-untyped-call]
            word_tokenizer().save_pretrained(folder)
        return folder

    return save


@pytest.fixture
def copy(saved: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A family's checkpoint, to be damaged."""

    def copied(family: str) -> Path:
        return Path(shutil.copytree(saved(family), tmp_path / family))

    return copied


def change_config(folder: Path, **changes: Any) -> None:
    """Other settings in config.json; None takes one out."""
    path = folder / "config.json"
    settings = json.loads(path.read_text()) | changes
    taken_out = {key for key, value in changes.items() if value is None}
    path.write_text(json.dumps({key: value for key, value in settings.items() if key not in taken_out}))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """Other weights in model.safetensors."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
