"""Few-shot examples: from a split that is not evaluated, and in a form that the stops allow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from tests.lmeval.conftest import ARTICLES, HUB_LAYOUTS, SUMMARIES, write_rows

ROW = HUB_LAYOUTS["kd_xsum_factual"]
RunWithAnswers = Callable[..., dict[str, Any]]


def prompts(results: dict[str, Any]) -> list[str]:
    ((samples),) = results["samples"].values()
    return [sample["arguments"][0][0] for sample in samples]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Test rows; dev rows of which one is a test row, and the answers have several lines."""
    write_rows(tmp_path / "xsum.test.jsonl", [ROW(0), ROW(1)])
    other = [
        {"document": f"Story {i} tells of a dog.", "summary": f"A dog.\n\n It is number {i}."}
        for i in range(3)
    ]
    write_rows(tmp_path / "xsum.dev.jsonl", [ROW(0), *other])
    return tmp_path


def test_examples_are_of_the_dev_file_and_hold_no_evaluated_document_and_no_new_line(
    folder: Path, load_task: Callable[..., Any], run_with_answers: RunWithAnswers
) -> None:
    task = load_task("kd_xsum_factual", data_dir=str(folder))
    results = run_with_answers(task, lambda doc: "x", num_fewshot=3)
    assert len(prompts(results)) == 2
    for prompt, article in zip(prompts(results), ARTICLES, strict=False):
        *shots, asked = prompt.split("\n\n")
        assert asked == f"Article: {article}\nSummarize the article in one sentence. Summary:"
        assert sorted(shots) == [
            f"Article: Story {i} tells of a dog.\nSummarize the article in one sentence. Summary: A dog. It is number {i}."
            for i in range(3)
        ]
    assert results["configs"]["kd_xsum_factual"]["metadata"]["fewshot_source"] == "local:xsum.dev.jsonl"
    assert [sample["target"] for sample in results["samples"]["kd_xsum_factual"]] == SUMMARIES[:2]


def test_where_a_new_line_stops_nothing_answers_keep_theirs(
    folder: Path, load_task: Callable[..., Any], run_with_answers: RunWithAnswers
) -> None:
    task = load_task("kd_xsum_factual_chat", data_dir=str(folder))
    results = run_with_answers(task, lambda doc: "x", num_fewshot=1, apply_chat_template=True)
    assert all("A dog.\n\n It is number" in prompt for prompt in prompts(results))


@pytest.mark.parametrize("name", ["kd_xsum_factual", "kd_truthfulqa_factual", "kd_pubmedqa_factual_chat"])
def test_without_another_split_examples_are_refused(
    name: str, hub_like: Path, load_task: Callable[..., Any], run_with_answers: RunWithAnswers
) -> None:
    task = load_task(name, data_dir=str(hub_like))
    with pytest.raises(HarnessError, match="evaluated") as caught:
        run_with_answers(task, lambda doc: "x", num_fewshot=1, apply_chat_template=name.endswith("_chat"))
    assert name in caught.value.problem
    assert "--metadata fewshot_data=FILE" in caught.value.remedy
    again = load_task(name, data_dir=str(hub_like))
    assert run_with_answers(again, lambda doc: "x", apply_chat_template=name.endswith("_chat"))


def test_a_folder_whose_only_file_is_evaluated_gives_no_examples(
    tmp_path: Path, load_task: Callable[..., Any], run_with_answers: RunWithAnswers
) -> None:
    write_rows(tmp_path / "validation.jsonl", [ROW(i) for i in range(3)])
    task = load_task("kd_xsum_factual", data_dir=str(tmp_path))
    with pytest.raises(HarnessError, match="no validation data apart from what is evaluated"):
        run_with_answers(task, lambda doc: "x", num_fewshot=1)


def test_a_file_of_ones_own_examples(
    hub_like: Path, folder: Path, load_task: Callable[..., Any], run_with_answers: RunWithAnswers
) -> None:
    own = {"data_dir": str(hub_like), "fewshot_data": str(folder / "xsum.dev.jsonl")}
    results = run_with_answers(load_task("kd_xsum_factual", **own), lambda doc: "x", num_fewshot=2)
    assert all(prompt.count("tells of a dog") == 2 for prompt in prompts(results))
    with pytest.raises(
        HarnessError, match=r"4 few-shot examples are asked for, local:xsum\.dev\.jsonl holds 3"
    ):
        run_with_answers(load_task("kd_xsum_factual", **own), lambda doc: "x", num_fewshot=4)


def test_the_news_worlds_examples_are_training_articles(
    load_task: Callable[..., Any], run_with_answers: RunWithAnswers
) -> None:
    from harness.newsworld import rows

    task = load_task("kd_newsworld_factual", n_documents=4)
    found = prompts(run_with_answers(task, lambda doc: "x", num_fewshot=2))
    training = {row["article"] for row in rows("train", 1000)}
    for prompt in found:
        shots = [
            shot.removeprefix("Article: ").partition("\nSummary:")[0]
            for shot in prompt.split("\n\nArticle: ")
        ]
        assert [shot in training for shot in shots] == [True, True, False]


def test_the_stock_task_whose_every_document_is_evaluated_refuses_them(tmp_path: Path, root: Path) -> None:
    from lm_eval.tasks import TaskManager

    rows = [HUB_LAYOUTS["kd_pubmedqa_factual"](i) for i in range(3)]
    local = {
        "include": str(root / "tasks/pubmedqa/kd_pubmedqa_accuracy.yaml"),
        "task": "kd_pubmedqa_here",
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {"train": str(write_rows(tmp_path / "rows.jsonl", rows))}},
    }
    (tmp_path / "task.yaml").write_text(json.dumps(local))  # which is YAML too
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    (task,) = manager.load(["kd_pubmedqa_here"])["tasks"].values()
    task.set_fewshot_seed(0)
    assert ARTICLES[0] in task.fewshot_context(task.eval_docs[0], num_fewshot=0)
    with pytest.raises(HarnessError, match="all documents of this task are evaluated"):
        task.fewshot_context(task.eval_docs[0], num_fewshot=1)
    json.dumps(task.dump_config(), default=str)


def test_pairs_that_judges_are_ranked_on_are_no_examples(load_task: Callable[..., Any]) -> None:
    task = load_task("kd_judge_newsworld", n_documents=8)
    task.set_fewshot_seed(0)
    assert str(task.eval_docs[0]["source"]) in task.fewshot_context(task.eval_docs[0], num_fewshot=0)
    with pytest.raises(HarnessError, match="all documents of this task are evaluated"):
        task.fewshot_context(task.eval_docs[0], num_fewshot=1)


def test_real_dialogues(
    shared_data: Path, load_task: Callable[..., Any], run_with_answers: RunWithAnswers
) -> None:
    task = load_task("kd_dialogsum_factual", data_dir=str(shared_data / "dialogsum"), metrics="surface")
    results = run_with_answers(task, lambda doc: "x", num_fewshot=1)
    dev = [
        json.loads(line) for line in (shared_data / "dialogsum/dialogsum.dev.jsonl").read_text().splitlines()
    ]
    known = {row["dialogue"].strip(): row["summary"] for row in dev}
    for prompt in prompts(results)[:50]:
        dialogue, _, rest = prompt.removeprefix("Dialogue: ").partition("\nSummarize the dialogue. Summary: ")
        answer = rest.split("\n\nDialogue: ")[0]
        assert answer == " ".join(known[dialogue].split())
