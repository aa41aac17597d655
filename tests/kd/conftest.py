"""Small real models with random weights, and data that fits their whole-word tokenizer."""

import json
import random

import pytest
import torch
from harness_kd.plan import TrainPlan
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WORDS = [f"word{index}" for index in range(90)]


def make_tokenizer(words=WORDS):
    vocabulary = {token: index for index, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", *words])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def make_model(folder, *, width=16, seed=0, tokenizer=None, rows=None, tie=True):
    tokenizer = tokenizer or make_tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=rows or len(tokenizer),
        hidden_size=width,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=64,
        tie_word_embeddings=tie,
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def student(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "student", seed=1)


@pytest.fixture(scope="session")
def teacher(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "teacher", width=32, seed=2)


@pytest.fixture
def plan(student, teacher, data_file, tmp_path):
    """A short distillation run."""
    return TrainPlan(
        student=student,
        teacher=teacher,
        data=data_file,
        output=str(tmp_path / "run"),
        kd_ratio=1.0,
        top_k=8,
        epochs=2,
        learning_rate=5e-3,
        batch_size=8,
        max_length=64,
        max_prompt_length=32,
    )


@pytest.fixture(scope="session")
def build_model():
    return make_model


@pytest.fixture(scope="session")
def build_tokenizer():
    return make_tokenizer


@pytest.fixture(scope="session")
def data_file(tmp_path_factory):
    """48 rows of random words; one with an empty prompt."""
    draw = random.Random(0)
    path = tmp_path_factory.mktemp("data") / "train.jsonl"
    rows = [
        {
            "prompt": " ".join(draw.choices(WORDS, k=draw.randint(0 if index == 7 else 2, 8))),
            "response": " ".join(draw.choices(WORDS, k=draw.randint(1, 6))),
        }
        for index in range(48)
    ]
    rows[7]["prompt"] = ""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)
