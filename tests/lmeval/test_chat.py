"""One task for each data set: under a chat template it asks in its wording for instruct models, with the stops of that."""

from __future__ import annotations

import functools
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.errors import HarnessError
from harness.lmeval import task as task_module
from harness.lmeval.request import EvalRequest
from harness.lmeval.run import evaluate, settled
from harness.records import from_lm_eval
from harness.records.compare import differing_conditions
from harness.records.record import scored
from tests.lmeval.conftest import ARTICLES, HUB_LAYOUTS, QUESTIONS, SUMMARIES, write_rows

RunWithAnswers = Callable[..., dict[str, Any]]

FACTS = "Use only facts that"
FORMER: dict[str, tuple[str, int]] = {
    "kd_cnndm_factual": (
        f"Summarize the following news article in three or four sentences. {FACTS} it states.\n\nArticle: SOURCE",
        256,
    ),
    "kd_custom_factual": (f"Summarize the following text. {FACTS} it states.\n\nSOURCE", 256),
    "kd_dialogsum_factual": (
        f"Summarize the following dialogue in one or two sentences. {FACTS} it states.\n\nDialogue: SOURCE",
        256,
    ),
    "kd_hotpotqa_closed_factual": ("Answer the question with a few words.\n\nQuestion: QUESTION", 64),
    "kd_hotpotqa_factual": (
        "Answer the question with a few words, from the following paragraphs alone.\n\nSOURCE\n\nQuestion: QUESTION",
        64,
    ),
    "kd_pubmedqa_factual": (
        "Answer the question in one or two sentences, from the following abstract alone.\n\n"
        "Abstract: SOURCE\n\nQuestion: QUESTION",
        256,
    ),
    "kd_qmsum_factual": (
        f"QUESTION\n{FACTS} the following meeting transcript states.\n\nTranscript: SOURCE",
        256,
    ),
    "kd_truthfulqa_factual": ("QUESTION\nAnswer with one or two sentences.", 128),
    "kd_xsum_factual": (
        f"Summarize the following news article in one sentence. {FACTS} it states.\n\nArticle: SOURCE",
        128,
    ),
}
"""What the tasks of version 1.0 with ``_chat`` in their names asked, and how long the response could be."""


def requests(results: dict[str, Any], name: str) -> list[tuple[str, dict[str, Any]]]:
    return [sample["arguments"][0] for sample in results["samples"][name]]


def test_every_task_with_a_former_name_is_here() -> None:
    assert FORMER.keys() == HUB_LAYOUTS.keys()


@pytest.mark.parametrize("name", FORMER)
def test_the_plain_name_asks_as_the_former_name_did(
    name: str, hub_like: Path, load_task: Callable[..., Any], run_with_answers: RunWithAnswers
) -> None:
    text, length = FORMER[name]
    results = {
        asked: run_with_answers(
            load_task(asked, data_dir=str(hub_like), metrics="rouge"),
            lambda doc: doc["reference"],
            apply_chat_template=True,
        )
        for asked in (name, f"{name}_chat")
    }
    prompts = requests(results[name], name)
    assert prompts == requests(results[f"{name}_chat"], f"{name}_chat")
    for doc, (prompt, decoding) in zip(
        [sample["doc"] for sample in results[name]["samples"][name]], prompts, strict=True
    ):
        assert prompt == text.replace("SOURCE", doc.get("source", "")).replace(
            "QUESTION", doc.get("question", "")
        )
        assert decoding == {"until": [], "max_gen_toks": length, "do_sample": False, "temperature": 0.0}
    ours, theirs = (results[asked]["configs"][asked] for asked in results)
    assert ours["generation_kwargs"] == theirs["generation_kwargs"] == prompts[0][1]
    assert ours["doc_to_text"] == theirs["doc_to_text"]
    same = [{**config["metadata"], "version": "", "runtime": None} for config in (ours, theirs)]
    assert same[0] == same[1]
    versions = [results[asked]["versions"][asked] for asked in results]
    assert versions == [1.1, 1.0]  # asked of the plain name, a chat template gave other prompts before


def test_a_task_that_is_asked_both_ways_keeps_no_trace_of_the_other(
    hub_like: Path, load_task: Callable[..., Any], run_with_answers: RunWithAnswers
) -> None:
    task = load_task("kd_xsum_factual", data_dir=str(hub_like), metrics="rouge")
    fresh = load_task("kd_xsum_factual", data_dir=str(hub_like), metrics="rouge")
    plain = requests(run_with_answers(fresh, lambda doc: "x"), "kd_xsum_factual")
    for chat in (True, False, True, False):
        found = run_with_answers(task, lambda doc: "x", apply_chat_template=chat)
        assert (requests(found, "kd_xsum_factual") == plain) is not chat
        assert found["configs"]["kd_xsum_factual"]["generation_kwargs"]["max_gen_toks"] == (
            128 if chat else 64
        )


def test_what_is_said_of_decoding_holds_in_every_wording(
    hub_like: Path, load_task: Callable[..., Any], run_with_answers: RunWithAnswers
) -> None:
    """As ``--gen_kwargs`` sets it, also where it names what the plain wording has anyway."""
    for given in ({"max_gen_toks": 64}, {"until": ["\n"], "temperature": 0.5}):
        task = load_task("kd_xsum_factual", data_dir=str(hub_like), metrics="rouge")
        task.set_config("generation_kwargs", given, update=True)
        for chat, own in (
            (True, {"until": [], "max_gen_toks": 128}),
            (False, {"until": ["\n"], "max_gen_toks": 64}),
        ):
            found = requests(
                run_with_answers(task, lambda doc: "x", apply_chat_template=chat), "kd_xsum_factual"
            )
            expected = {"do_sample": False, "temperature": 0.0, **own, **given}
            assert all(decoding == expected for _, decoding in found)


def test_ones_own_prompt_keeps_the_stops_of_a_chat(
    hub_like: Path, load_task: Callable[..., Any], run_with_answers: RunWithAnswers
) -> None:
    options = {
        "data_dir": str(hub_like),
        "prompt": "Say it: {{source}}",
        "response_tokens": 7,
        "metrics": "rouge",
    }
    task = load_task("kd_custom_factual", **options)
    found = requests(run_with_answers(task, lambda doc: "x", apply_chat_template=True), "kd_custom_factual")
    assert found[0][0] == f"Say it: {ARTICLES[0]}"
    assert (found[0][1]["until"], found[0][1]["max_gen_toks"]) == ([], 7)


def test_rows_that_are_chats_are_asked_in_their_own_words_with_the_length_of_a_chat(
    tmp_path: Path, load_task: Callable[..., Any], run_with_answers: RunWithAnswers
) -> None:
    turns = [("user", ARTICLES[0]), ("assistant", SUMMARIES[0])]
    row = {"messages": [{"role": role, "content": content} for role, content in turns]}
    path = str(write_rows(tmp_path / "rows.jsonl", [row]))
    for name, length in (("kd_custom_factual", 256), ("kd_xsum_factual", 128)):
        task = load_task(name, data_dir=path, template="prompt", metrics="rouge")
        found = requests(run_with_answers(task, lambda doc: "x", apply_chat_template=True), name)
        assert found[0] == (
            ARTICLES[0],
            {"until": [], "max_gen_toks": length, "do_sample": False, "temperature": 0.0},
        )


def test_solved_examples_are_asked_in_the_wording_of_the_question(
    tmp_path: Path, load_task: Callable[..., Any], run_with_answers: RunWithAnswers
) -> None:
    rows = [{"question": QUESTIONS[i], "answer": SUMMARIES[i]} for i in range(3)]
    write_rows(tmp_path / "validation.jsonl", rows[:1])
    write_rows(tmp_path / "train.jsonl", rows[1:])
    task = load_task("kd_hotpotqa_closed_factual", data_dir=str(tmp_path), metrics="rouge")
    found = run_with_answers(task, lambda doc: "x", num_fewshot=2, apply_chat_template=True)
    ((prompt, _),) = requests(found, "kd_hotpotqa_closed_factual")
    assert prompt.count("Answer the question with a few words.") == 3
    assert "Answer:" not in prompt


def test_a_task_without_a_wording_for_it_asks_as_ever(
    load_task: Callable[..., Any], run_with_answers: RunWithAnswers
) -> None:
    results = [
        run_with_answers(
            load_task("kd_newsworld_factual", n_documents=2), lambda doc: "x", apply_chat_template=chat
        )
        for chat in (False, True)
    ]
    assert requests(results[0], "kd_newsworld_factual") == requests(results[1], "kd_newsworld_factual")


def test_a_former_name_needs_a_chat_template(
    hub_like: Path, load_task: Callable[..., Any], run_with_answers: RunWithAnswers
) -> None:
    task = load_task("kd_xsum_factual_chat", data_dir=str(hub_like))
    with pytest.raises(HarnessError, match="no chat template is applied") as caught:
        run_with_answers(task, lambda doc: "x")
    assert "--apply_chat_template, or use kd_xsum_factual." in caught.value.remedy


def test_a_former_name_is_said_to_be_one_once(
    hub_like: Path,
    load_task: Callable[..., Any],
    run_with_answers: RunWithAnswers,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tell = functools.cache(task_module._tell_of_former_names.__wrapped__)
    monkeypatch.setattr(task_module, "_tell_of_former_names", tell)
    with caplog.at_level(logging.WARNING, logger="harness"):
        for name in ("kd_xsum_factual", "kd_xsum_factual_chat", "kd_cnndm_factual_chat"):
            task = load_task(name, data_dir=str(hub_like), metrics="rouge")
            run_with_answers(task, lambda doc: "x", apply_chat_template=True)
    said = [record.getMessage() for record in caplog.records if "former names" in record.getMessage()]
    assert len(said) == 1
    assert "\n" not in said[0]


def test_a_chat_model_is_asked_in_its_template_and_its_record_tells(
    tiny_model: Path, hub_like: Path, tmp_path: Path
) -> None:
    def record(chat: bool) -> Any:
        request = EvalRequest(
            model_args={"pretrained": str(tiny_model)},
            tasks=("kd_xsum_factual",),
            output_path=tmp_path / str(chat),
            device="cpu",
            apply_chat_template=chat,
            metadata={"data_dir": str(hub_like), "metrics": "rouge"},
        )
        folder = evaluate(request)
        (samples,) = folder.glob("samples_*.jsonl")
        asked = json.loads(samples.read_text("utf-8").splitlines()[0])["arguments"]["gen_args_0"]
        (found,) = from_lm_eval(folder)
        return asked, found

    (in_chat, chat), (as_it_is, plain) = record(True), record(False)
    text = FORMER["kd_xsum_factual"][0].replace("SOURCE", ARTICLES[0])
    assert in_chat["arg_0"] == f"[user] {text}\n[assistant] "
    assert in_chat["arg_1"]["until"] == []
    assert as_it_is["arg_0"].startswith("Article: ")
    assert as_it_is["arg_1"]["until"] == ["\n"]
    assert chat.task == plain.task == "kd_xsum_factual"
    assert chat.task_version == plain.task_version == "1.1"
    assert plain.provenance["chat_template_sha256"] is None
    assert len(chat.provenance["chat_template_sha256"]) == 64
    assert chat.provenance["decoding"] != plain.provenance["decoding"]
    assert chat.provenance["prompts_sha256"] != plain.provenance["prompts_sha256"]
    said = " ".join(differing_conditions(scored(plain), scored(chat)))
    assert "prompts differ" in said
    assert "decoding" in said


def printed_command(capsys: pytest.CaptureFixture[str], model: Path, *words: str) -> str:
    common = ["--tasks", "kd_xsum_factual,kd_newsworld_factual", "--dry-run", "--fresh"]
    assert main(["eval", str(model), *common, *words]) == 0
    return capsys.readouterr().out


def test_harness_eval_asks_as_the_models_own_files_say(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = printed_command(capsys, tiny_model)
    assert "--tasks kd_xsum_factual,kd_newsworld_factual " in asked
    assert "--apply_chat_template" in asked
    assert "--no-chat-template" in asked.splitlines()[1]
    for words in (
        ["--no-chat-template"],
        ["--metadata", "template=dolly"],
        ["--backend", "harness-gold"],
    ):
        assert "--apply_chat_template" not in printed_command(capsys, tiny_model, *words)
    base = shutil.copytree(tiny_model, tmp_path / "base")
    (base / "chat_template.jinja").unlink()
    assert "--apply_chat_template" not in printed_command(capsys, base)
    assert main(["eval", str(base), "--tasks", "kd_xsum_factual", "--dry-run", "--chat"]) == 2
    assert "base: has no chat template" in capsys.readouterr().err
    borrowed = ["--model-args", f"tokenizer={tiny_model}"]
    assert "--apply_chat_template" in printed_command(capsys, base, *borrowed)


def test_what_contradicts_itself_is_refused(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(tiny_model), "--chat", "--no-chat-template"]) == 2
    assert "contradict each other" in capsys.readouterr().err


def test_endpoints_are_asked_as_they_answer() -> None:
    for backend, chat in (("local-chat-completions", True), ("local-completions", False)):
        request = EvalRequest(
            model=backend, model_args={}, tasks=("x",), output_path=Path(), apply_chat_template=None
        )
        assert settled(request).apply_chat_template is chat


def test_decoding_of_ones_own_goes_with_every_wording(
    tiny_model: Path, hub_like: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--tasks",
        "kd_xsum_factual",
        "--data-dir",
        str(hub_like),
        "--metrics",
        "rouge",
        "--device",
        "cpu",
    ]
    words += ["--gen-kwargs", "max_gen_toks=3,until=x", "--output"]
    for way in ([], ["--no-chat-template"]):
        output = tmp_path / f"out{len(way)}"
        assert main(["eval", str(tiny_model), *words, str(output), *way]) == 0
        (samples,) = output.glob("*/samples_*.jsonl")
        logged = [json.loads(line) for line in samples.read_text("utf-8").splitlines()]
        assert all(row["arguments"]["gen_args_0"]["arg_1"]["max_gen_toks"] == 3 for row in logged)
        assert all(row["arguments"]["gen_args_0"]["arg_1"]["until"] == ["x"] for row in logged)
    assert "--gen_kwargs '{" in capsys.readouterr().out


def test_a_plain_question_to_a_chat_model_is_said_in_one_line_with_the_other_command(
    tiny_model: Path, hub_like: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def said(name: str, chat: bool) -> list[str]:
        task_module._tell_of_chat.cache_clear()
        caplog.clear()
        evaluate(
            EvalRequest(
                model_args={"pretrained": str(tiny_model)},
                tasks=(name,),
                output_path=tmp_path / name / str(chat),
                device="cpu",
                apply_chat_template=chat,
                metadata={"data_dir": str(hub_like), "metrics": "rouge"}
                if name == "kd_xsum_factual"
                else {"n_documents": 2},
            )
        )
        return [one.getMessage() for one in caplog.records if "chat template" in one.getMessage()]

    (line,) = said("kd_xsum_factual", False)
    assert "--apply_chat_template" in line
    assert "--no-chat-template" in line
    assert "\n" not in line
    assert said("kd_xsum_factual", True) == []
    assert said("kd_newsworld_factual", False) == []  # it has one wording


def test_solved_examples_are_turns_of_the_chat(
    tiny_model: Path, tmp_path: Path, stock_lm_eval: Callable[..., Any]
) -> None:
    rows = [{"question": QUESTIONS[i], "answer": SUMMARIES[i]} for i in range(3)]
    write_rows(tmp_path / "validation.jsonl", rows[:1])
    write_rows(tmp_path / "train.jsonl", rows[1:])
    words = f"--model hf --model_args pretrained={tiny_model},max_length=1024 --device cpu".split()
    words += ["--tasks", "kd_hotpotqa_closed_factual"]
    metadata = json.dumps({"data_dir": str(tmp_path), "metrics": "rouge", "response_tokens": 4})
    words += [
        "--metadata",
        metadata,
        "--log_samples",
        "--num_fewshot",
        "2",
        "--output_path",
        str(tmp_path / "out"),
    ]
    found = stock_lm_eval(*words, "--apply_chat_template", "--fewshot_as_multiturn", "true")
    assert found.returncode == 0, found.stderr
    (samples,) = tmp_path.glob("out/*/samples_*.jsonl")
    prompt = json.loads(samples.read_text("utf-8"))["arguments"]["gen_args_0"]["arg_0"]
    assert [line.split("]")[0] for line in prompt.splitlines() if line.startswith("[")] == [
        "[user",
        "[assistant",
        "[user",
        "[assistant",
        "[user",
        "[assistant",
    ]
