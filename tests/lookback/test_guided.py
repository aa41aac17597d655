"""Decoding that a lookback classifier guides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from harness import newsworld
from harness.errors import HarnessError
from harness.lookback.classifier import Classifier, shipped_for
from harness.lookback.encoding import context_tokens
from harness.lookback.extraction import Passage, lookback_ratios
from harness.lookback.guided import Guidance, check, ends_with, guided, text_of
from harness.models.load import LanguageModel, load_language_model
from harness.newsworld import models
from harness.newsworld.oracle import judge

if TYPE_CHECKING:
    from tests.conftest import StockLmEval


@pytest.fixture(scope="module")
def student() -> LanguageModel:
    return load_language_model(str(models.path("student")), device="cpu")


@pytest.fixture(scope="module")
def passages(student: LanguageModel) -> list[tuple[list[int], int]]:
    found = []
    for row in newsworld.rows("test", 12, seed=3):
        prompt = newsworld.prompt(row["article"])
        end = prompt.index(row["article"]) + len(row["article"])
        found.append(context_tokens(student, prompt, end))
    return found


def no_end(_ids: object) -> bool:
    return False


def test_the_chosen_chunk_is_the_one_that_the_classifier_prefers(
    student: LanguageModel, passages: list[tuple[list[int], int]]
) -> None:
    """As read by the extraction that was checked against eager attention."""
    _, classifier = shipped_for(student.model.config)
    prompt, context = passages[0]
    first = Guidance(max_new_tokens=8, candidates=4)
    chosen = guided(student.model, classifier, (prompt, context), first, ended=no_end, seed=5)
    # a classifier that likes the opposite takes another of the same candidates
    opposite = Classifier(**{**vars(classifier), "weight": -classifier.weight, "bias": -classifier.bias})
    other = guided(student.model, opposite, (prompt, context), first, ended=no_end, seed=5)

    def score(ids: list[int]) -> float:
        (ratios,) = lookback_ratios(student.model, [Passage(prompt, ids, context)])
        return float(
            classifier.probabilities(ratios.reshape(len(ids), -1).mean(0, dtype=np.float64)[None])[0]
        )

    assert chosen != other
    assert score(chosen) > score(other)


def test_with_one_candidate_it_is_plain_sampling(
    student: LanguageModel, passages: list[tuple[list[int], int]]
) -> None:
    _, classifier = shipped_for(student.model.config)
    same = [
        guided(
            student.model,
            classifier,
            passages[1],
            Guidance(max_new_tokens=20, candidates=1, choose=choose),
            ended=no_end,
            seed=1,
        )
        for choose in ("lookback", "probability", "first")
    ]
    assert same[0] == same[1] == same[2]
    assert len(same[0]) == 20


def test_cold_guidance_is_greedy_decoding(
    student: LanguageModel, passages: list[tuple[list[int], int]]
) -> None:
    """At a temperature near 0 all candidates are the greedy continuation, whatever the chunk: the cache is carried on rightly."""
    _, classifier = shipped_for(student.model.config)
    stop = ends_with(student.tokenizer, ["\n"])
    for prompt, context in passages[:4]:
        ids = guided(
            student.model,
            classifier,
            (prompt, context),
            Guidance(max_new_tokens=30, candidates=3, chunk=4, temperature=1e-4),
            ended=stop,
            seed=0,
        )
        with torch.inference_mode():
            greedy = student.model.generate(torch.tensor([prompt]), max_new_tokens=30, do_sample=False)
        expected = greedy[0, len(prompt) :].tolist()[: len(ids)]
        assert ids == expected


def test_a_prompt_longer_than_a_sliding_window() -> None:
    """The chosen chunk is again that of the checked extraction, and decoding that of the model itself."""
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    sizes = dict(vocab_size=99, hidden_size=32, intermediate_size=64, num_hidden_layers=2)
    heads = dict(num_attention_heads=4, num_key_value_heads=2, sliding_window=8)
    model = MistralForCausalLM(
        MistralConfig(**sizes, **heads, initializer_range=0.5, eos_token_id=None)
    ).eval()
    weight = np.random.default_rng(0).normal(size=(2, 4))
    prompt, context = list(range(3, 40)), 33

    def run(sign: int, length: int, temperature: float) -> list[int]:
        classifier = Classifier(weight=sign * weight, bias=0.0)
        guidance = Guidance(max_new_tokens=length, candidates=4, chunk=4, temperature=temperature)
        return guided(model, classifier, (prompt, context), guidance, ended=no_end, seed=0)

    def score(ids: list[int]) -> float:
        (ratios,) = lookback_ratios(model, [Passage(prompt, ids, context)])
        return float(ratios.mean(0).reshape(-1) @ weight.reshape(-1))

    greedy = model.generate(torch.tensor([prompt]), max_new_tokens=20, do_sample=False)
    assert run(1, 20, 1e-4) == greedy[0, len(prompt) :].tolist()
    assert score(run(1, 4, 1.0)) > score(run(-1, 4, 1.0))


def test_the_seed_decides_and_stop_strings_end(
    student: LanguageModel, passages: list[tuple[list[int], int]]
) -> None:
    _, classifier = shipped_for(student.model.config)
    stop = ends_with(student.tokenizer, ["."])

    def run(seed: int) -> str:
        ids = guided(
            student.model, classifier, passages[2], Guidance(max_new_tokens=40), ended=stop, seed=seed
        )
        return text_of(student.tokenizer, ids, ["."])

    assert run(1) == run(1)
    assert len({run(seed) for seed in range(4)}) > 1
    assert "." not in run(1)


def test_what_cannot_be_guided_is_refused(student: LanguageModel) -> None:
    with pytest.raises(HarnessError, match="layers x"):
        check(student.model, Classifier(weight=np.zeros((3, 3)), bias=0.0), "student")
    with pytest.raises(HarnessError, match=r"(?s)candidates is 0.*choose is 'best'"):
        Guidance(candidates=0, choose="best")


def test_as_a_model_of_stock_lm_eval(tmp_path: Path, stock_lm_eval: StockLmEval) -> None:
    """Through the command line, as a user has it."""
    words = ["--model", "harness-lookback-guided", "--model_args", f"pretrained={models.path('student')},candidates=2",
             "--tasks", "kd_newsworld_factual", "--device", "cpu", "--limit", "3",
             "--output_path", str(tmp_path), "--log_samples"]  # fmt: skip
    assert stock_lm_eval(*words).returncode == 0
    (log,) = tmp_path.glob("*/samples_kd_newsworld_factual_*.jsonl")
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(rows) == 3
    assert all(judge(row["doc"]["source"], row["filtered_resps"][0]) for row in rows)
    assert len({row["filtered_resps"][0] for row in rows}) == 3
