"""What ``--then-eval`` evaluates: in the words of the training rows, on one's own data, each model with its own classifier."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness_kd.data.examples import prompt_ids
from harness_kd.data.rows import load_rows
from harness_kd.plan import TrainPlan
from harness_kd.studies.board import publish_study
from harness_kd.studies.evaluation import (
    Evaluation,
    Subject,
    evaluate_model,
    plan_evaluation,
    planned_questions,
    request_of,
)
from harness_kd.studies.then_eval import teacher_subject
from transformers import PreTrainedTokenizerFast

from harness.board import verify
from harness.cli import main
from harness.data.prompts import instruction_prompt
from harness.errors import HarnessError
from harness.lookback.classifier import CLASSIFIERS
from harness.models.source import ModelSource
from harness.newsworld import models
from harness.records import from_lm_eval

METADATA = {"metrics": "rouge+surface", "response_tokens": 8, "answer_min_words": 0}
TEMPLATE = (
    "{{ date_string | default(strftime_now('%d %b %Y')) }} "
    "{% for m in messages %}{{ 'word7' if m.role == 'user' else 'word8' }} {{ m.content }} {% endfor %}"
    "{% if add_generation_prompt %}word8{% endif %}"
)


def write(path: Path, rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def some_words(draw: random.Random, most: int) -> str:
    return " ".join(f"word{draw.randint(10, 89)}" for _ in range(draw.randint(2, most)))


def own_rows(path: Path, n: int, seed: int) -> Path:
    draw = random.Random(seed)
    return write(
        path, [{"prompt": some_words(draw, 8) + "\n", "response": some_words(draw, 6)} for _ in range(n)]
    )


def chats(path: Path, n: int, seed: int) -> Path:
    draw = random.Random(seed)
    return write(
        path,
        [
            {
                "messages": [
                    {"role": "user", "content": some_words(draw, 8)},
                    {"role": "assistant", "content": some_words(draw, 6)},
                ]
            }
            for _ in range(n)
        ],
    )


def prompts_of(results: Path) -> list[str]:
    """What a model was asked, in the order of the documents."""
    (log,) = (
        results.glob("*/samples_*.jsonl")
        if not list(results.glob("samples_*"))
        else results.glob("samples_*")
    )
    rows = sorted(map(json.loads, log.read_text().splitlines()), key=lambda row: row["doc_id"])
    return [row["arguments"]["gen_args_0"]["arg_0"] for row in rows]


def study(student: str, teacher: str, data: Path, test: Path, output: Path, *more: str) -> list[str]:
    return ["train-kd", "--student", student, "--teacher", teacher, "--kd-ratio", "1", "--data", str(data),
            "--eval-data", str(test), "--output", str(output), "--then-eval", "--epochs", "1", "--top-k", "8",
            "--max-length", "64", "--max-prompt-length", "32", "--eval-metadata", json.dumps(METADATA), *more]  # fmt: skip


def test_ones_own_rows_are_trained_on_and_asked_as_they_are(
    tmp_path: Path, student: Any, teacher: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    data, test = own_rows(tmp_path / "mine.jsonl", 32, 0), own_rows(tmp_path / "test.jsonl", 12, 1)
    student = str(shutil.copytree(student, tmp_path / "instruct"))
    (Path(student) / "chat_template.jinja").write_text(TEMPLATE)
    assert main(study(student, teacher, data, test, tmp_path / "s")) == 0
    assert "the student has a chat template, which neither" in capsys.readouterr().out
    board = tmp_path / "s-eval" / "leaderboard.json"
    verify(board)
    assert {row["label"] for row in json.loads(board.read_text())["rows"]} == {
        "student, untuned",
        "teacher",
        "s, SFT",
        "s, KD ratio 1",
    }
    expected = [row.prompt for row in load_rows(str(test))]
    evaluated = list((tmp_path / "s-eval" / "results").iterdir())
    assert len(evaluated) == 4
    for results in evaluated:
        assert prompts_of(results) == expected
        (record,) = from_lm_eval(next(results.iterdir()))
        assert record.task == "kd_custom_factual"
        assert record.provenance["decoding"]["until"] == []


def test_chats_are_asked_in_the_students_template_by_all_models(
    tmp_path: Path,
    build_model: Callable[..., str],
    build_tokenizer: Callable[..., PreTrainedTokenizerFast],
    teacher: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tokenizer = build_tokenizer()
    tokenizer.chat_template = TEMPLATE
    student = build_model(tmp_path / "student", seed=1, tokenizer=tokenizer)
    data, test = chats(tmp_path / "mine.jsonl", 32, 0), chats(tmp_path / "test.jsonl", 12, 1)
    assert main(study(student, teacher, data, test, tmp_path / "s")) == 0  # the teacher has no template
    assert "asked in the chat template" in capsys.readouterr().out
    asked = prompts_of(next((tmp_path / "s-eval" / "results").iterdir()))
    assert asked[0].startswith("26 Jul 2024 word7 word")  # and not today's date, as in training
    ids = tokenizer(asked, add_special_tokens=False)["input_ids"]
    assert ids == prompt_ids(load_rows(str(test)), tokenizer, closed=False)
    for results in (tmp_path / "s-eval" / "results").iterdir():
        assert prompts_of(results) == asked
    verify(tmp_path / "s-eval" / "leaderboard.json")


def test_instructions_are_asked_as_they_are_trained(tmp_path: Path, build_model: Callable[..., str]) -> None:
    student = build_model(tmp_path / "student")
    draw = random.Random(0)
    rows = [
        {"instruction": some_words(draw, 4), "context": some_words(draw, 4), "response": some_words(draw, 4)}
        for _ in range(3)
    ]
    data = write(tmp_path / "dolly.jsonl", rows)
    evaluation = plan_evaluation(
        f"dolly?path={data}", eval_data=data, metadata={**METADATA, "metrics": "rouge"}
    )
    asked = planned_questions(evaluation, ModelSource.find(student).tokenizer())["kd_custom_factual"]
    assert (asked.documents, asked.requests) == (3, 3)
    subject = Subject(role="student", arguments={"pretrained": student})
    results = evaluate_model(request_of(evaluation, subject, str(tmp_path / "s")))
    assert prompts_of(results) == [row.prompt for row in load_rows(f"dolly?path={data}")]


def test_sources_and_references_are_asked_in_the_template_of_instruction_data(tmp_path: Path) -> None:
    data = write(tmp_path / "train.jsonl", [{"instruction": "word1", "output": "word2"}])
    test = write(tmp_path / "test.jsonl", [{"source": "word3", "reference": "word4"}])
    evaluation = plan_evaluation(str(data), eval_data=test, metadata=METADATA)
    assert evaluation.metadata["template"] == "dolly"
    from lm_eval.tasks import TaskManager

    from harness.paths import tasks_dir

    manager = TaskManager(
        include_path=str(tasks_dir()), include_defaults=False, metadata=dict(evaluation.metadata)
    )
    (task,) = manager.load(list(evaluation.tasks))["tasks"].values()
    row = {"instruction": "Summarize the article.", "input": "word3", "output": "x"}
    (trained,) = load_rows(str(write(tmp_path / "x.jsonl", [row])))
    assert task.doc_to_text(task.eval_docs[0]) == trained.prompt
    assert trained.prompt == instruction_prompt("Summarize the article.", "word3")


def test_what_is_chosen_for_the_user_is_said(tmp_path: Path) -> None:
    own = own_rows(tmp_path / "mine.jsonl", 2, 0)
    default = plan_evaluation(str(own))
    assert default.tasks == ("kd_cnndm_factual", "kd_xsum_factual")
    (note,) = default.notes
    assert note.startswith(
        f"evaluated on the default tasks kd_cnndm_factual and kd_xsum_factual, not on data like {own}"
    )
    assert "--eval-data FILE" in note
    assert plan_evaluation(str(own), tasks=["kd_xsum_factual"]).notes == ()
    with pytest.raises(HarnessError, match=r"--eval-limit -1 leaves no document[\s\S]*--eval-batch-size 0"):
        plan_evaluation(str(own), limit=-1, batch_size=0)
    world = plan_evaluation("newsworld?n=2")
    assert (world.tasks, world.notes, dict(world.metadata)) == (("kd_newsworld_factual",), (), {})
    dolly = plan_evaluation("dolly")
    assert dolly.metadata["template"] == "dolly"
    assert "template=task" in dolly.notes[0]
    assert plan_evaluation("dolly", metadata={"template": "task"}).metadata["template"] == "task"
    assert "template" not in plan_evaluation("dolly", metadata={"prompt": "{{source}}"}).metadata
    sources = write(tmp_path / "s.jsonl", [{"source": "a", "reference": "b"}])
    (note,) = plan_evaluation(str(own), eval_data=sources).notes
    assert "asked in the prompt of kd_custom_factual" in note
    mixed = write(
        tmp_path / "m.jsonl", [{"instruction": "a", "output": "b"}, {"prompt": "a", "response": "b"}]
    )
    found = plan_evaluation(str(mixed), tasks=["kd_xsum_factual"])
    assert "ask in several ways" in found.notes[0]
    assert "template" not in found.metadata


def test_short_answers_count_where_right_ones_are_short(tmp_path: Path) -> None:
    long = "one two three four five six"
    for response, rule in ((long, {}), ("yes", {"answer_min_words": 0})):
        path = write(
            tmp_path / "x.jsonl", [{"prompt": "p", "response": long}, {"prompt": "q", "response": response}]
        )
        found = plan_evaluation(str(path), eval_data=path).metadata
        assert found == {"template": "prompt", "data_dir": str(path), **rule}
    assert (
        plan_evaluation(str(path), eval_data=path, metadata={"answer_min_words": 3}).metadata[
            "answer_min_words"
        ]
        == 3
    )


def test_instructions_cannot_be_asked_of_a_chat(tmp_path: Path) -> None:
    data = chats(tmp_path / "chats.jsonl", 1, 0)
    test = write(tmp_path / "test.jsonl", [{"instruction": "a", "context": "b", "response": "c"}])
    with pytest.raises(HarnessError, match="training rows that are chats"):
        plan_evaluation(str(data), eval_data=test)


def test_an_edited_file_is_evaluated_again_and_the_same_one_is_not(tmp_path: Path, student: Any) -> None:
    test = own_rows(tmp_path / "test.jsonl", 3, 0)
    evaluation = plan_evaluation(str(test), eval_data=test, metadata=METADATA)
    subject = Subject(role="student", arguments={"pretrained": student})
    first = request_of(evaluation, subject, "x").output_path
    assert request_of(evaluation, subject, "x").output_path == first
    own_rows(test, 3, 1)
    assert request_of(evaluation, subject, "x").output_path != first


@pytest.fixture(scope="module")
def classifiers() -> Any:
    files = {path.stem.rpartition("-")[2]: path for path in CLASSIFIERS.glob("newsworld-*.safetensors")}
    return files["student"], files["teacher"]


def published(
    folder: Path, classifier: Any, names: Any = ("student", "teacher"), pairs: Any = ()
) -> tuple[dict[str, dict[str, Any]], str]:
    """Scores of the news world's models, and their board's markdown."""
    options = {"metrics": "oracle+surface+lookback", "lookback_classifier": classifier}
    evaluation = plan_evaluation("newsworld", metadata=options, limit=6)
    results = {}
    for name in names:
        subject = Subject(role=name.partition("-")[0], arguments={"pretrained": str(models.path(name))})
        results[name] = evaluate_model(request_of(evaluation, subject, str(folder / "s")))
    board = publish_study(folder / "board.json", results, list(pairs))
    verify(board.with_suffix(".json"))
    scores = {name: from_lm_eval(run)[0].scores for name, run in results.items()}
    return scores, board.read_text()


def cell(text: str, label: str, column: str) -> str:
    header = next(line for line in text.splitlines() if f"`{column}`" in line).split("|")
    row = next(line for line in text.splitlines() if f"| {label} " in line).split("|")
    return row[header.index(f" `{column}` ")].strip()


def test_student_and_teacher_each_have_their_own_classifier(tmp_path: Path, classifiers: Any) -> None:
    student, teacher = classifiers
    scores, text = published(tmp_path, f"student={student}+teacher={teacher}")
    for name, classifier in (("student", student), ("teacher", teacher)):
        assert classifier.stem in scores[name]["factual_rate"]["signature"]
        assert cell(text, name, "factual_rate")[0].isdigit()


def test_a_model_that_the_classifier_does_not_fit_has_a_dash(tmp_path: Path, classifiers: Any) -> None:
    student, _ = classifiers
    own = tmp_path / "mine+1.safetensors"
    shutil.copy(student, own)
    names = ("student", "teacher", "teacher-clean")
    scores, text = published(tmp_path, str(own), names, [["teacher", "teacher-clean"]])
    assert [name for name in names if "factual_rate" in scores[name]] == ["student"]
    assert cell(text, "student", "factual_rate")[0].isdigit()
    assert cell(text, "teacher", "factual_rate") == cell(text, "teacher-clean", "factual_rate") == "–"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("shipped", {"student": "shipped", "teacher": "shipped"}),
        ("teacher=shipped", {"teacher": "shipped"}),
        ({"student": "shipped"}, {"student": "shipped"}),
    ],
)
def test_a_classifier_belongs_to_a_role(given: dict[str, str] | str, found: dict[str, str]) -> None:
    evaluation = plan_evaluation("newsworld", metadata={"lookback_classifier": given, "n_resamples": 9})
    assert evaluation.classifiers == found
    for role in ("student", "teacher"):
        assert ("lookback_classifier" in evaluation.metadata_of(role)) == (role in found)
        assert evaluation.metadata_of(role)["n_resamples"] == 9


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nowhere.safetensors", "no such lookback classifier"),
        ("student=shipped+teacher=nowhere.safetensors", "no such lookback classifier"),
        ({"referee": "shipped"}, "there is no 'referee'"),
    ],
)
def test_a_missing_classifier_is_an_error_before_anything_starts(
    given: dict[str, str] | str, said: str
) -> None:
    with pytest.raises(HarnessError, match=said):
        plan_evaluation("newsworld", metadata={"lookback_classifier": given})


def test_an_adapter_is_evaluated_on_its_student(tmp_path: Path, student: Any) -> None:
    pytest.importorskip("peft")
    data, test = own_rows(tmp_path / "mine.jsonl", 16, 0), own_rows(tmp_path / "test.jsonl", 3, 1)
    command = ["train-kd", "--student", student, "--data", str(data), "--eval-data", str(test), "--then-eval",
               "--output", str(tmp_path / "s"), "--epochs", "1", "--max-length", "64", "--max-prompt-length", "32",
               "--lora-rank", "2", "--lora-targets", "q_proj,v_proj", "--keep-adapter", "--learning-rate", "0.05",
               "--eval-metadata", json.dumps(METADATA)]  # fmt: skip
    assert main(command) == 0
    (results,) = (tmp_path / "s-eval" / "results").glob("s-*")
    settings = json.loads(next(results.glob("*/results_*.json")).read_text())["config"]["model_args"]
    assert settings["peft"] == str(tmp_path / "s")
    assert settings["pretrained"] == student


def test_defaults_are_those_of_an_evaluation_without_options() -> None:
    assert Evaluation(tasks=("x",)).metadata_of("teacher") == {}


def test_a_teacher_that_no_template_fits_is_not_evaluated_of_chats(
    tmp_path: Path, build_model: Callable[..., str], build_tokenizer: Callable[..., PreTrainedTokenizerFast]
) -> None:
    """Another vocabulary, as ULD allows, so that the student's tokenizer cannot stand in."""
    ours, theirs = build_tokenizer(), build_tokenizer([f"other{index}" for index in range(50)])
    ours.chat_template = TEMPLATE
    said: list[str] = []
    for template, evaluated in ((None, False), (TEMPLATE, True)):
        theirs.chat_template = template
        teacher = build_model(tmp_path / f"teacher-{evaluated}", tokenizer=theirs)
        student = build_model(tmp_path / f"student-{evaluated}", tokenizer=ours)
        plan = TrainPlan(
            student=student, teacher=teacher, data="d", output="o", kd_ratio=1.0, divergence="uld"
        )
        chat = Evaluation(tasks=("x",), chat=True)
        found = teacher_subject(plan, ModelSource.find(student), chat, said.append)
        assert bool(found) == evaluated
        if found:
            assert found["teacher"].arguments == {"pretrained": teacher}  # through its own template
    assert len(said) == 1
    assert "has no chat template" in said[0]
