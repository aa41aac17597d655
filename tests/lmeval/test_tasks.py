"""Every task file: it loads, it scores, and the gold answer beats a corrupted one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.errors import HarnessError
from tests.lmeval.conftest import ARTICLES, DOWNLOADS, HUB_LAYOUTS

TASKS = sorted(HUB_LAYOUTS)
CHAT = [f"{name}_chat" for name in TASKS]
E2E = {"kd_e2e_factual", "kd_e2e_cleaned_factual"}  # tests of their own
JUDGE = ["kd_judge_newsworld", "kd_judge_custom"]  # tests/judges
METRICS = "rouge,chrf,meteor_nosyn,surface"


def task_files(root: Path) -> list[Path]:
    return sorted((root / "tasks").rglob("*.yaml"))


def read_yaml(path: Path) -> dict[str, Any]:
    class Loader(yaml.SafeLoader):
        """Reads lm-eval's tag as plain text."""

    Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))
    content: dict[str, Any] = yaml.load(path.read_text("utf-8"), Loader)
    return content


def test_no_task_file_is_left_out_of_these_tests(root: Path) -> None:
    names = {content["task"] for path in task_files(root) if "group" not in (content := read_yaml(path))}
    assert names - E2E == {*TASKS, *CHAT, "kd_newsworld_factual", "kd_pubmedqa_accuracy", *JUDGE}
    assert len(names - E2E) == 22


@pytest.mark.parametrize("name", [*TASKS, *CHAT])
def test_gold_beats_corruption(
    name: str, hub_like: Path, load_task: Callable[..., Any], run_with_answers: Callable[..., dict[str, Any]]
) -> None:
    def corrupted(doc: Mapping[str, Any]) -> str:
        words = doc["reference"].split()
        return " ".join(["Nothing", "of", "the", "kind", *words[len(words) // 2 :]])

    def unrelated(doc: Mapping[str, Any]) -> str:
        return "My favourite recipe is for a cake with lemon and almonds."

    results = []
    for answer in (lambda doc: doc["reference"], corrupted, unrelated):
        task = load_task(name, data_dir=str(hub_like), metrics=METRICS)
        found = run_with_answers(task, answer, apply_chat_template=name.endswith("_chat"))["results"][name]
        results.append(found)
    for key in ("rougeL", "rougeLsum", "chrf", "chrf++", "meteor_nosyn"):
        gold, worse, worst = (result[f"{key},none"] for result in results)
        assert gold > worse > worst, key
    assert results[0]["rougeL,none"] == 1
    assert results[0]["chrf,none"] == pytest.approx(100)


def test_gold_beats_corruption_in_the_news_world(
    load_task: Callable[..., Any], run_with_answers: Callable[..., dict[str, Any]]
) -> None:
    results = []
    for answer in (
        lambda doc: doc["references"][-1],
        lambda doc: doc["references"][0].replace("in ", "in New "),
        lambda doc: "",
    ):
        task = load_task("kd_newsworld_factual", n_documents=30)
        results.append(run_with_answers(task, answer)["results"]["kd_newsworld_factual"])
    gold, corrupted, empty = results
    assert gold["oracle_faithfulness,none"] == 1
    assert gold["rougeL,none"] == 1
    assert corrupted["oracle_faithfulness,none"] < 1
    assert corrupted["rougeL,none"] < 1
    assert "oracle_faithfulness,none" not in empty  # failed, not unfaithful
    assert empty["answer_rate,none"] == 0


@pytest.mark.parametrize("name", [*TASKS, *CHAT, "kd_newsworld_factual"])
def test_decoding_is_explicit_and_the_prompt_is_whole(
    name: str, hub_like: Path, load_task: Callable[..., Any]
) -> None:
    task = (
        load_task(name, data_dir=str(hub_like)) if "newsworld" not in name else load_task(name, n_documents=2)
    )
    assert {"until", "max_gen_toks", "do_sample", "temperature"} <= set(task.config.generation_kwargs)
    assert task.config.generation_kwargs["do_sample"] is False
    assert task.config.generation_kwargs["temperature"] == 0
    assert (1.1 if name in TASKS else 1.0) == task.VERSION
    doc = task.eval_docs[0]
    prompt = task.doc_to_text(doc)
    for field in ("source", "question"):
        assert doc.get(field, "") in prompt
    assert "{{" not in prompt
    assert prompt == prompt.rstrip()  # a trailing space would split the first word's token


def test_the_authors_prompts_are_verbatim(hub_like: Path, load_task: Callable[..., Any]) -> None:
    cnndm, xsum = (
        load_task(name, data_dir=str(hub_like)) for name in ("kd_cnndm_factual", "kd_xsum_factual")
    )
    article = ARTICLES[0]
    assert cnndm.doc_to_text(cnndm.eval_docs[0]) == f"Article: {article}\nSummarize the article. Summary:"
    assert (
        xsum.doc_to_text(xsum.eval_docs[0])
        == f"Article: {article}\nSummarize the article in one sentence. Summary:"
    )


@pytest.mark.parametrize("name", TASKS)
def test_all_text_metrics_are_on_by_default(name: str, root: Path) -> None:
    content = next(read_yaml(path) for path in task_files(root) if path.stem == name)
    assert {"rouge", "chrf", "meteor", "bertscore", "surface"} <= set(content["factual"]["metrics"])


def test_everything_that_a_metric_lacks_is_said_at_once_with_the_way_round(
    tmp_path: Path, hub_like: Path, load_task: Callable[..., Any]
) -> None:
    lacking = {"wordnet": str(tmp_path), "bertscore_model": str(tmp_path), "bertscore_layer": 1}
    with pytest.raises(HarnessError) as caught:
        load_task("kd_xsum_factual", data_dir=str(hub_like), metrics="rouge,meteor,bertscore", **lacking)
    assert "is no WordNet folder" in caught.value.problem
    assert "no model.safetensors" in caught.value.problem
    assert "--metadata without=meteor+bertscore" in caught.value.remedy
    task = load_task("kd_xsum_factual", data_dir=str(hub_like), without=DOWNLOADS, **lacking)
    assert "rougeL" in task.suite.keys
    assert not {"meteor", "bertscore_f1"} & set(task.suite.keys)


def test_each_task_folder_says_where_its_data_come_from(root: Path) -> None:
    for path in task_files(root):
        readme = (path.parent / "README.md").read_text("utf-8")
        content = read_yaml(path)
        assert content.get("task" if "group" not in content else "group").removesuffix("_chat") in readme
        if revision := (content.get("dataset_kwargs") or {}).get("revision"):
            assert revision[:8] in readme
        if path.parent.name not in ("groups", "newsworld", "custom", "judge"):
            for word in ("Source", "Prompt", "Decoding", "split", "deviates"):
                assert word in readme, (path, word)


@pytest.mark.parametrize(
    ("group", "members"),
    [
        ("kd_faithfulness", 2),
        ("kd_faithfulness_chat", 2),
        ("kd_small_models", 7),
        ("kd_small_models_chat", 7),
    ],
)
def test_groups_load_from_one_data_folder(root: Path, hub_like: Path, group: str, members: int) -> None:
    from lm_eval.tasks import TaskManager

    metadata = {"data_dir": str(hub_like), "without": DOWNLOADS}
    manager = TaskManager(include_path=str(root / "tasks"), include_defaults=False, metadata=metadata)
    loaded = manager.load([group])
    assert len(loaded["tasks"]) == members
    assert all(name.startswith("kd_") for name in loaded["tasks"])


def test_the_general_group_names_tasks_that_exist(root: Path) -> None:
    import lm_eval.tasks

    names = read_yaml(root / "tasks/groups/kd_general.yaml")["task"]
    ours = {read_yaml(path).get("task") for path in task_files(root) if path.parent.name != "groups"}
    folders = {
        "arc": "arc_*",
        "hellaswag": "hellaswag",
        "openbookqa": "openbookqa",
        "commonsense_qa": "default",
    }
    stock = set()
    for folder in (*folders, "truthfulqa"):
        for path in (Path(lm_eval.tasks.__file__).parent / folder).glob("*.yaml"):
            stock.add(read_yaml(path).get("task"))
    assert len(names) == 8
    assert [name for name in names if name not in stock | ours] == []


def test_pubmedqa_accuracy_asks_as_lm_evals_own_task(root: Path) -> None:
    from lm_eval.tasks.pubmedqa.preprocess_pubmedqa import doc_to_text
    from lm_eval.utils import apply_template

    template = read_yaml(root / "tasks/pubmedqa/kd_pubmedqa_accuracy.yaml")["doc_to_text"]
    theirs = doc_to_text({"CONTEXTS": ["One.", "Two."], "QUESTION": "Why?"})
    assert apply_template(template, {"context": {"contexts": ["One.", "Two."]}, "question": "Why?"}) == theirs


def test_results_hold_intervals_counts_signatures_and_no_path(
    hub_like: Path, load_task: Callable[..., Any], run_with_answers: Callable[..., dict[str, Any]]
) -> None:
    answers = iter(
        ["", "I'm sorry, but I can't summarize this article.", "Worms glow in the dark sea near Oslo."]
    )
    task = load_task("kd_xsum_factual", data_dir=str(hub_like), api_key="SECRET", rouge_stemmer=True)
    results = run_with_answers(task, lambda doc: next(answers))
    metadata = results["configs"]["kd_xsum_factual"]["metadata"]
    dumped = json.dumps(results["configs"], allow_nan=False)
    assert "SECRET" not in dumped
    assert str(hub_like) not in dumped
    assert metadata["counts"] == {
        "n": 3,
        "answered": 1,
        "failed": 2,
        "empty": 1,
        "error": 0,
        "short": 0,
        "refused": 1,
        "shortened": None,
    }
    assert metadata["metric_options"] == {"rouge_stemmer": True}
    assert metadata["data_source"] == "local:kd_xsum_factual.jsonl"
    assert len(metadata["data_sha256"]) == 64
    assert (metadata["rows_read"], metadata["rows_dropped"]) == (3, {})
    for key, score in metadata["scores"].items():
        assert score["n"] == (3 if key in ("answer_rate", "looping") else 1)
        assert score["value"] == pytest.approx(results["results"]["kd_xsum_factual"][f"{key},none"])
        assert score["signature"]
    assert "stem:porter" in metadata["scores"]["rougeL"]["signature"]
    samples = results["samples"]["kd_xsum_factual"]
    assert [sorted(set(sample["metrics"]) - {"answer_rate", "looping"}) != [] for sample in samples] == [
        False,
        False,
        True,
    ]


def test_corpus_headlines_and_standard_errors_in_lm_evals_own_table(
    hub_like: Path, load_task: Callable[..., Any], run_with_answers: Callable[..., dict[str, Any]]
) -> None:
    import sacrebleu

    task = load_task("kd_cnndm_factual", data_dir=str(hub_like))
    results = run_with_answers(task, lambda doc: doc["source"][: 20 * int(doc["id"][1:]) + 40])
    found = results["results"]["kd_cnndm_factual"]
    samples = results["samples"]["kd_cnndm_factual"]
    expected = sacrebleu.CHRF().corpus_score(
        [sample["resps"][0][0].strip() for sample in samples],
        [[sample["doc"]["reference"] for sample in samples]],
    )
    assert found["chrf,none"] == pytest.approx(expected.score)
    assert found["chrf_stderr,none"] == "N/A"
    assert found["rougeL_stderr,none"] > 0


def test_predict_only_scores_nothing(
    hub_like: Path, load_task: Callable[..., Any], run_with_answers: Callable[..., dict[str, Any]]
) -> None:
    task = load_task("kd_xsum_factual", data_dir=str(hub_like))
    results = run_with_answers(task, lambda doc: doc["reference"], predict_only=True)
    assert [key for key in results["results"]["kd_xsum_factual"] if "rouge" in key] == []
    assert len(results["samples"]["kd_xsum_factual"]) == 3


def test_a_reference_in_square_brackets_stays_text(
    tmp_path: Path, load_task: Callable[..., Any], run_with_answers: Callable[..., dict[str, Any]]
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"source": "x", "reference": "[1, 2] and [3]"}\n')
    task = load_task("kd_custom_factual", data_dir=str(tmp_path / "rows.jsonl"), answer_min_words=0)
    results = run_with_answers(task, lambda doc: "[1, 2] and [3]")
    assert results["results"]["kd_custom_factual"]["rougeL,none"] == 1
    assert results["samples"]["kd_custom_factual"][0]["target"] == "[1, 2] and [3]"


def test_responses_at_the_token_limit_and_loops_are_counted_in_the_models_own_tokens(tmp_path: Path) -> None:
    """Against what the model itself generated: the end-of-sequence token is there, or the limit was reached."""
    import torch

    from harness.lmeval.request import EvalRequest
    from harness.lmeval.results_table import summary_table
    from harness.lmeval.run import evaluate
    from harness.metrics.loops import loops
    from harness.models.load import load_language_model
    from harness.newsworld import models

    student, limit, n = str(models.path("student")), 41, 24
    folder = evaluate(
        EvalRequest(
            model_args={"pretrained": student},
            tasks=("kd_newsworld_factual",),
            output_path=tmp_path,
            device="cpu",
            gen_kwargs={"max_gen_toks": limit},
            metadata={"n_documents": n, "metrics": "rouge"},
        )
    )
    (log,) = folder.glob("samples_*.jsonl")
    lm, expected = load_language_model(student, device="cpu"), {}
    for row in map(json.loads, log.read_text("utf-8").splitlines()):
        ids = torch.tensor([lm.encode(row["arguments"]["gen_args_0"]["arg_0"])])
        made = lm.model.generate(input_ids=ids, max_new_tokens=limit, do_sample=False)[
            0, ids.shape[1] :
        ].tolist()
        expected[row["doc_id"]] = float(lm.tokenizer.eos_token_id not in made)
        assert row["truncated"] == expected[row["doc_id"]]
        assert row["looping"] == loops(row["filtered_resps"][0])
    assert 0 < sum(expected.values()) < n
    assert f"{sum(expected.values()):.0f} cut at the token limit" in summary_table(folder)


def test_a_backend_without_a_tokenizer_says_nothing_of_the_token_limit(
    hub_like: Path, load_task: Callable[..., Any], run_with_answers: Callable[..., dict[str, Any]]
) -> None:
    task = load_task("kd_xsum_factual", data_dir=str(hub_like), metrics="rouge")
    found = run_with_answers(task, lambda doc: "It closes. " * 60)["configs"]["kd_xsum_factual"]["metadata"]
    assert "truncated" not in found["scores"]
    assert found["scores"]["looping"]["value"] == 1
