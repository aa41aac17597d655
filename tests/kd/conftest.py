"""Small real models with random weights, and data that fits their whole-word tokenizer."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from harness_kd.data.examples import Example, tokenize_rows
from harness_kd.data.rows import load_rows
from harness_kd.plan import TrainPlan
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from harness.models.source import ModelSource

T = TypeVar("T")
WORDS = [f"word{index}" for index in range(90)]


def make_tokenizer(words: list[str] = WORDS) -> PreTrainedTokenizerFast:
    vocabulary = {token: index for index, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", *words])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def make_model(
    folder: Path,
    *,
    width: int = 16,
    seed: int = 0,
    tokenizer: PreTrainedTokenizerFast | None = None,
    rows: int | None = None,
    tie: bool = True,
    **sizes: Any,
) -> str:
    """A Llama of one layer; ``sizes`` are settings of its configuration that shall be others."""
    tokenizer = tokenizer or make_tokenizer()
    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "vocab_size": rows or len(tokenizer),
        "hidden_size": width,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 2 * width,
        "max_position_embeddings": 64,
        "tie_word_embeddings": tie,
        "initializer_range": 0.3,
    }
    LlamaForCausalLM(LlamaConfig(**(settings | sizes))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def known(value: T | None) -> T:
    """A value that is there in this test."""
    assert value is not None
    return value


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_model(tmp_path_factory.mktemp("models") / "student", seed=1)


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_model(tmp_path_factory.mktemp("models") / "teacher", width=32, seed=2)


@pytest.fixture
def plan(student: str, teacher: str, data_file: str, tmp_path: Path) -> TrainPlan:
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
def build_model() -> Callable[..., str]:
    return make_model


@pytest.fixture(scope="session")
def build_tokenizer() -> Callable[..., PreTrainedTokenizerFast]:
    return make_tokenizer


@pytest.fixture(scope="session")
def data_file(tmp_path_factory: pytest.TempPathFactory) -> str:
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


@pytest.fixture(scope="session")
def source(teacher: str) -> ModelSource:
    return ModelSource.find(teacher, role="teacher")


@pytest.fixture(scope="session")
def examples(source: ModelSource, data_file: str) -> tuple[Example, ...]:
    rows = load_rows(data_file)
    tokenizer = source.tokenizer()
    return tokenize_rows(rows, tokenizer, max_length=64, max_prompt_length=32, overlong="drop").examples
