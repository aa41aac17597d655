"""The E2E tasks: both layouts of their data, and a published system scored by lm-eval as its authors scored it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.lmeval.conftest import write_rows

ROWS = [
    ("name[Blue Spice], eatType[pub], area[riverside]", "Blue Spice is a pub in the riverside area."),
    ("name[Blue Spice], eatType[pub], area[riverside]", "A riverside pub is called Blue Spice."),
    ("name[The Mill], priceRange[high]", "The Mill is expensive."),
]
TASKS = ("kd_e2e_factual", "kd_e2e_cleaned_factual")


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("columns", [("mr", "ref"), ("meaning_representation", "human_reference")])
def test_rows_of_either_layout_become_one_document_for_each_meaning(
    name: str, columns: tuple[str, str], tmp_path: Path, load_task: Callable[..., Any]
) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [dict(zip(columns, row, strict=True)) for row in ROWS])
    task = load_task(name, data_dir=str(path), without="meteor+bertscore+source_precision")
    first, second = task.eval_docs
    assert first["source"] == ROWS[0][0]
    assert first["references"] == [ROWS[0][1], ROWS[1][1]]
    assert second["references"] == [ROWS[2][1]]
    prompt = task.doc_to_text(first)
    assert first["source"] in prompt
    assert prompt == prompt.rstrip()
    assert task.config.generation_kwargs["until"] == ["\n"]
    assert {"slot_faithful", "slot_error_rate", "rougeL", "chrf", "length"} <= set(task.suite.keys)


def test_a_chat_model_is_asked_in_words_for_it(
    tmp_path: Path, load_task: Callable[..., Any], run_with_answers: Callable[..., dict[str, Any]]
) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [{"mr": mr, "ref": ref} for mr, ref in ROWS])
    task = load_task("kd_e2e_factual", data_dir=str(path), metrics="slot_error")
    results = run_with_answers(task, lambda doc: doc["reference"], apply_chat_template=True)
    prompt, settings = results["samples"]["kd_e2e_factual"][0]["arguments"][0]
    assert "Write the description alone.\n\nname[Blue Spice]" in prompt
    assert "\n" not in settings["until"]
    assert settings["max_gen_toks"] == 256


def test_what_is_invented_and_what_is_left_out_stand_apart(
    tmp_path: Path, load_task: Callable[..., Any], run_with_answers: Callable[..., dict[str, Any]]
) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [{"mr": mr, "ref": ref} for mr, ref in ROWS])

    def scores(answer: Callable[[Any], str]) -> dict[str, float]:
        task = load_task("kd_e2e_factual", data_dir=str(path), metrics="slot_error")
        found: dict[str, float] = run_with_answers(task, answer)["results"]["kd_e2e_factual"]
        return {key.removesuffix(",none"): value for key, value in found.items()}

    gold = scores(lambda doc: doc["reference"])
    assert (gold["slot_faithful"], gold["slot_correct"], gold["slot_error_rate"]) == (1, 1, 0)
    added = scores(lambda doc: doc["reference"] + " It serves Italian food.")
    assert (added["slot_faithful"], added["slot_omitted"]) == (0, 0)
    assert added["slot_error_rate"] == added["slot_hallucinated"] == pytest.approx(2 / 5)
    name_alone = scores(
        lambda doc: doc["source"].partition("[")[2].partition("]")[0] + " is where to go tonight."
    )
    assert (name_alone["slot_faithful"], name_alone["slot_correct"]) == (1, 0)
    assert name_alone["slot_error_rate"] == name_alone["slot_omitted"] == pytest.approx(3 / 5)
    assert name_alone["slot_missing"] == 1.5
    short = scores(lambda doc: "The Eagle.")  # two words are an answer here
    assert short["answer_rate"] == 1
    assert short["slot_wrong"] == 1


def test_lm_eval_gives_a_published_system_its_published_error_rate(
    shared_data: Path, load_task: Callable[..., Any], run_with_answers: Callable[..., dict[str, Any]]
) -> None:
    """TGen without its reranker, trained on the noisy set, run 0: 16.682% by the authors' script, 174 of 630 without error."""
    folder = shared_data / "e2e"
    if not folder.is_dir():
        pytest.skip("no e2e in ../shared/data")
    name = "train-orig_test-orig.tgen-minus.run0.txt"
    published = json.loads((folder / "outputs_counts.json").read_text("utf-8"))[name]
    lines = iter((folder / "outputs" / name).read_text("utf-8").splitlines())
    task = load_task("kd_e2e_factual", data_dir=str(folder / "testset_w_refs.csv"), metrics="slot_error")
    results = run_with_answers(task, lambda _doc: next(lines))
    found = results["results"]["kd_e2e_factual"]
    assert len(results["samples"]["kd_e2e_factual"]) == published["n"] == 630
    assert found["slot_error_rate,none"] == pytest.approx(published["ser"], abs=1e-6)
    assert found["slot_correct,none"] == pytest.approx(published["ok"] / 630)
    assert found["slot_missing,none"] == pytest.approx(published["missing"] / 630)
    assert found["slot_hallucinated,none"] == pytest.approx(18 / published["slots"])
