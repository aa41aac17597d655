"""Tasks asked in the template of instruction data, or in each row's own prompt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.data.prompts import instruction_prompt
from harness.errors import HarnessError
from harness.lmeval.request import EvalRequest
from harness.lmeval.run import evaluate
from harness.records import from_lm_eval
from tests.lmeval.conftest import ARTICLES, HUB_LAYOUTS, QUESTIONS, SUMMARIES, write_rows

TASKS = sorted(HUB_LAYOUTS)


def test_the_template_to_the_letter() -> None:
    """As in Stanford Alpaca's ``train.py`` (PROMPT_DICT), and with a line end where its runs and MiniLLM's differ."""
    preamble = "Below is an instruction that describes a task"
    request = "Write a response that appropriately completes the request."
    assert instruction_prompt("Do {it}.") == (
        f"{preamble}. {request}\n\n### Instruction:\nDo {{it}}.\n\n### Response:\n"
    )
    assert instruction_prompt("Do it.", "{x}") == (
        f"{preamble}, paired with an input that provides further context. {request}\n\n"
        "### Instruction:\nDo it.\n\n### Input:\n{x}\n\n### Response:\n"
    )


@pytest.mark.parametrize("name", [*TASKS, "kd_newsworld_factual"])
def test_every_task_can_be_asked_in_the_template(
    name: str, hub_like: Path, load_task: Callable[..., Any]
) -> None:
    data = {"n_documents": 2} if "newsworld" in name else {"data_dir": str(hub_like)}
    plain, task = load_task(name, **data), load_task(name, template="dolly", **data)
    doc = task.eval_docs[0]
    prompt = task.doc_to_text(doc)
    instruction, _, given = (
        prompt.partition("### Instruction:\n")[2]
        .removesuffix("\n\n### Response:\n")
        .partition("\n\n### Input:\n")
    )
    assert given == doc.get("source", "")
    assert instruction == doc.get("question", instruction)
    assert prompt == instruction_prompt(instruction, given)
    assert task.config.target_delimiter == ""
    generation = task.config.generation_kwargs
    assert generation["until"] == ["\n\n### Instruction:"]
    assert generation["max_gen_toks"] == 2 * plain.config.generation_kwargs["max_gen_toks"]
    assert generation["do_sample"] is False
    assert plain.config.generation_kwargs["until"] == ["\n"]


def test_ones_own_instruction_and_length(hub_like: Path, load_task: Callable[..., Any]) -> None:
    own = {"data_dir": str(hub_like), "template": "dolly", "response_tokens": "9"}
    task = load_task("kd_custom_factual", **own, instruction="Translate: {{ source }}")
    assert task.doc_to_text(task.eval_docs[0]) == instruction_prompt(f"Translate: {ARTICLES[0]}")
    assert task.config.generation_kwargs["max_gen_toks"] == 9


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("kd_xsum_factual", {"template": "doly"}, "no template 'doly': task, dolly, prompt"),
        ("kd_xsum_factual", {"template": "dolly", "prompt": "x"}, "both say how to ask"),
        ("kd_xsum_factual_chat", {"template": "dolly"}, "in place of a chat template; use kd_xsum_factual"),
        ("kd_xsum_factual", {"template": "prompt"}, "no field for prompt"),
        ("kd_xsum_factual", {"response_tokens": "few"}, "response_tokens='few' is not a whole number"),
    ],
)
def test_what_contradicts_itself_is_refused(
    name: str, options: dict[str, str], said: str, hub_like: Path, load_task: Callable[..., Any]
) -> None:
    with pytest.raises(HarnessError) as caught:
        load_task(name, data_dir=str(hub_like), **options)
    assert said in caught.value.problem


def test_the_template_inside_a_chat_template_is_refused(
    hub_like: Path, load_task: Callable[..., Any], run_with_answers: Callable[..., dict[str, Any]]
) -> None:
    task = load_task("kd_xsum_factual", data_dir=str(hub_like), template="dolly")
    with pytest.raises(HarnessError, match="in place of a chat template, and one is applied"):
        run_with_answers(task, lambda doc: "x", apply_chat_template=True)


ROWS: dict[str, Callable[[int], dict[str, Any]]] = {
    "prompt": lambda i: {"prompt": f"{ARTICLES[i]}\nSummary:\n", "response": f" {SUMMARIES[i]}"},
    "prompt and source": lambda i: {
        "prompt": f"Q: {ARTICLES[i]}\n",
        "source": ARTICLES[i],
        "response": SUMMARIES[i],
    },
    "chat": lambda i: {
        "messages": [
            {"role": "user", "content": f"{ARTICLES[i]}\n"},
            {"role": "assistant", "content": SUMMARIES[i]},
        ]
    },
}


@pytest.mark.parametrize("kind", ROWS)
def test_rows_that_bring_their_own_prompt_are_asked_in_it_to_the_letter(
    kind: str, tmp_path: Path, load_task: Callable[..., Any]
) -> None:
    rows = [ROWS[kind](i) for i in range(3)]
    task = load_task(
        "kd_custom_factual", data_dir=str(write_rows(tmp_path / "x.jsonl", rows)), template="prompt"
    )
    for i, doc in enumerate(task.eval_docs):
        expected = rows[i]["messages"][0]["content"] if kind == "chat" else rows[i]["prompt"]
        assert task.doc_to_text(doc) == expected
        assert doc["source"] == (ARTICLES[i] if kind == "prompt and source" else expected.strip())
        assert doc["references"] == [SUMMARIES[i]]
    assert task.config.generation_kwargs["until"] == []


def test_a_row_without_a_text_apart_from_its_prompt_is_judged_by_its_prompt(
    tmp_path: Path, load_task: Callable[..., Any]
) -> None:
    rows = [
        {"prompt": "Why?\n", "input": "", "output": "So."},
        {"prompt": "Why?\n", "input": "It is.", "output": "So."},
    ]
    task = load_task(
        "kd_custom_factual", data_dir=str(write_rows(tmp_path / "x.jsonl", rows)), template="prompt"
    )
    assert [doc["source"] for doc in task.eval_docs] == ["Why?", "It is."]
    assert task.documents.dropped == {}


def test_a_chat_of_several_questions_is_no_single_prompt(
    tmp_path: Path, load_task: Callable[..., Any]
) -> None:
    turn = {"role": "user", "content": "a"}
    answer = {"role": "assistant", "content": "b"}
    for messages in ([turn, answer, turn, answer], [{"role": "system", "content": "s"}, turn, answer], "x"):
        path = write_rows(tmp_path / "x.jsonl", [{"messages": messages}])
        with pytest.raises(HarnessError, match=r"no field for .*messages\|user"):
            load_task("kd_custom_factual", data_dir=str(path), template="prompt")


def test_instruction_rows_bring_their_own_instruction(tmp_path: Path, load_task: Callable[..., Any]) -> None:
    rows = [
        {"instruction": QUESTIONS[i], "context": ARTICLES[i] * (i < 2), "response": SUMMARIES[i]}
        for i in range(3)
    ]
    path = write_rows(tmp_path / "dolly.jsonl", rows)
    task = load_task("kd_custom_factual", data_dir=str(path), template="dolly", instruction="{{instruction}}")
    found = [task.doc_to_text(doc) for doc in task.eval_docs]
    assert found == [instruction_prompt(QUESTIONS[i], ARTICLES[i]) for i in range(2)]
    assert task.documents.dropped == {"empty source": 1}


def test_a_model_is_asked_in_the_template(tiny_model: Path, hub_like: Path, tmp_path: Path) -> None:
    options = {"data_dir": str(hub_like), "template": "dolly", "metrics": "rouge", "response_tokens": 12}
    request = EvalRequest(
        model_args={"pretrained": str(tiny_model)},
        tasks=("kd_xsum_factual",),
        output_path=tmp_path,
        batch_size=2,
        device="cpu",
        metadata=options,
    )
    folder = evaluate(request)
    (samples,) = folder.glob("samples_*.jsonl")
    asked = json.loads(samples.read_text("utf-8").splitlines()[0])["arguments"]["gen_args_0"]
    expected = instruction_prompt("Summarize the article in one sentence.", ARTICLES[0])
    assert asked["arg_0"].startswith(expected.partition(ARTICLES[0])[0])
    assert asked["arg_0"].endswith("\n\n### Response:\n")
    assert asked["arg_1"]["max_gen_toks"] == 12
    (record,) = from_lm_eval(folder)
    assert record.provenance["decoding"]["until"] == ["\n\n### Instruction:"]
