"""Judges of the published architectures with random weights, saved as the published checkpoints are laid out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TEXT = [
    "The council in Hull will close two schools next year. Parents said that they would fight the plan.",
    "A storm cut power to 4,000 homes in Fife on Sunday. Engineers worked through the night.",
    "Determine if the hypothesis is true given the premise? Premise: Hypothesis:",
]
PAIRS = [
    (TEXT[0], "Hull's council plans to close two schools."),
    (TEXT[1] + " " + TEXT[0] * 3, "A storm cut power in Fife."),
    ("A man sleeps.", "A man is awake."),
    (TEXT[1], "No one was hurt."),
]


def make_foundation(folder: Path) -> Path:
    """flan-t5's kind of tokenizer and configuration, small."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast, T5Config

    raw = Tokenizer(models.Unigram())
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=160, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    raw.train_from_iterator(TEXT * 20, trainer)
    raw.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )
    tokenizer.save_pretrained(folder)
    T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.1,
        tie_word_embeddings=False,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_hhem21(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A folder laid out as HHEM-2.1-open is published: prefix ``t5.``, embedding once, foundation beside it."""
    import torch
    from safetensors.torch import save_file
    from transformers import T5Config, T5ForTokenClassification

    def make(change: Callable[[dict[str, Any]], None] | None = None) -> Path:
        folder = tmp_path_factory.mktemp("hhem") / "hhem-like"
        foundation = make_foundation(folder / "foundation")
        torch.manual_seed(0)
        config = T5Config.from_pretrained(foundation, num_labels=2)
        model = T5ForTokenClassification(config)
        for weight in model.parameters():  # T5's own start gives scores of 0.5 all over
            torch.nn.init.normal_(weight, std=0.3)
        with torch.no_grad():  # and these hardly more, which no judge may
            model.classifier.weight.mul_(4)
        state = {f"t5.{name}": value.clone() for name, value in model.state_dict().items()}
        state.pop("t5.transformer.encoder.embed_tokens.weight")
        if change:
            change(state)
        save_file(state, folder / "model.safetensors")
        published = {
            "model_type": "HHEMv2Config",
            "architectures": ["HHEMv2ForSequenceClassification"],
            "auto_map": {
                "AutoModelForSequenceClassification": "modeling_hhem_v2.HHEMv2ForSequenceClassification"
            },
        }
        (folder / "config.json").write_text(json.dumps(published))
        (folder / "modeling_hhem_v2.py").write_text("raise RuntimeError('remote code ran')")
        return folder

    return make


@pytest.fixture(scope="session")
def hhem21(make_hhem21: Callable[..., Path]) -> Path:
    return make_hhem21()


def word_tokenizer(folder: Path, *, max_length: int) -> int:
    """A BERT-like word tokenizer with segments; returns its size."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    raw.train_from_iterator(TEXT, trainers.WordLevelTrainer(special_tokens=special, show_progress=False))
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=max_length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


@pytest.fixture(scope="session")
def cross_encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Cross-encoders with random weights: DeBERTa-v2 with one logit (as HHEM-1.0), BERT with segments, BERT for NLI."""
    import torch
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        DebertaV2Config,
        DebertaV2ForSequenceClassification,
    )

    base = tmp_path_factory.mktemp("cross")
    torch.manual_seed(0)
    small = dict(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        initializer_range=0.3,
    )
    made = {}
    for name, labels in (("deberta", 1), ("bert", 1), ("nli", 3)):
        folder = base / name
        size = word_tokenizer(folder, max_length=64)
        shape: dict[str, Any] = small | {
            "vocab_size": size,
            "num_labels": labels,
            "max_position_embeddings": 64,
        }
        if name == "nli":
            shape["id2label"] = {0: "contradiction", 1: "entailment", 2: "neutral"}
            shape["label2id"] = {label: i for i, label in shape["id2label"].items()}
        model: Any
        if name == "deberta":
            model = DebertaV2ForSequenceClassification(
                DebertaV2Config(
                    **shape, relative_attention=True, pos_att_type=["p2c", "c2p"], type_vocab_size=0
                )
            )
        else:
            model = BertForSequenceClassification(BertConfig(**shape))
        model.save_pretrained(folder)
        made[name] = folder
    return made


from tests.lmeval.conftest import hub_like, load_task, run_with_answers  # noqa: E402, F401
