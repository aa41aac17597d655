"""Sources that do not fit the model's context, with a real model of 256 tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lm_eval.models.huggingface import HFLM

from harness.errors import HarnessError
from tests.lmeval.conftest import ARTICLES, write_rows


@pytest.fixture(scope="module")
def lm(tiny_model: Path) -> HFLM:
    return HFLM(pretrained=str(tiny_model), device="cpu", batch_size=2)


def task_with(
    load_task: Callable[..., Any], path: Path, sources: list[str], name: str = "kd_xsum_factual"
) -> Any:
    write_rows(path, [{"document": source, "summary": "A summary of six words here."} for source in sources])
    task = load_task(name, data_dir=str(path))
    task.set_config("num_fewshot", 0)
    task.set_fewshot_seed(0)
    return task


def prompts(task: Any) -> list[str]:
    return [instance.args[0] for instance in task.instances if instance.request_type == "generate_until"]


def test_the_end_of_the_source_is_cut_and_the_prompt_stays_whole(
    tmp_path: Path, load_task: Callable[..., Any], lm: HFLM
) -> None:
    long = " ".join(f"Sentence {i} says that {ARTICLES[i % 3]}" for i in range(20))
    task = task_with(load_task, tmp_path / "rows.jsonl", [ARTICLES[0], long])
    task.build_all_requests()
    before = prompts(task)
    task.prepare(lm)
    short, cut = prompts(task)
    budget = lm.max_length - 64
    assert short == before[0]
    assert cut != before[1]
    assert cut.startswith("Article: Sentence 0 says that")
    assert cut.endswith("\nSummarize the article in one sentence. Summary:")
    kept = cut.removeprefix("Article: ").removesuffix("\nSummarize the article in one sentence. Summary:")
    assert long.startswith(kept)
    assert long[len(kept)] == " "  # at a word
    assert 0.9 * budget < len(lm.tok_encode(cut)) <= budget


def test_an_article_of_100_000_tokens_is_cut_and_counted(
    tmp_path: Path, load_task: Callable[..., Any], lm: HFLM
) -> None:
    from lm_eval.evaluator import evaluate

    article = " ".join(ARTICLES[i % 3] for i in range(2500))
    assert len(lm.tok_encode(article)) > 100_000
    task = task_with(load_task, tmp_path / "rows.jsonl", [article, ARTICLES[1]])
    results = evaluate(lm=lm, task_dict={"tasks": {"kd_xsum_factual": task}, "groups": {}})
    counts = results["configs"]["kd_xsum_factual"]["metadata"]["counts"]
    assert (counts["n"], counts["shortened"]) == (2, 1)


@pytest.mark.parametrize("source", ["字" * 3000, "x" * 3000])
def test_a_text_without_spaces_is_cut_too(
    tmp_path: Path, load_task: Callable[..., Any], lm: HFLM, source: str
) -> None:
    task = task_with(load_task, tmp_path / "rows.jsonl", [source])
    task.build_all_requests()
    task.prepare(lm)
    assert 0 < len(lm.tok_encode(prompts(task)[0])) <= lm.max_length - 64


def test_a_prompt_that_cannot_fit_is_an_error(
    tmp_path: Path, load_task: Callable[..., Any], lm: HFLM
) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [{"source": ARTICLES[0], "reference": "x"}])
    task = load_task("kd_custom_factual", data_dir=str(path), prompt="word " * 400 + "{{source}}")
    task.build_all_requests()
    with pytest.raises(
        HarnessError, match="document 0: the prompt is longer than 128 tokens without its source"
    ):
        task.prepare(lm)


def test_a_response_longer_than_the_context_is_an_error(
    tmp_path: Path, load_task: Callable[..., Any], lm: HFLM
) -> None:
    task = task_with(load_task, tmp_path / "rows.jsonl", [ARTICLES[0]])
    task.set_config("generation_kwargs", {"max_gen_toks": 256}, update=True)
    task.build_all_requests()
    with pytest.raises(HarnessError, match="no room for a response of 256"):
        task.prepare(lm)
