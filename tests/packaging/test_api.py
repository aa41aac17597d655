"""The Python API does what the commands do, loads nothing before it is called, and says what is wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import harness_kd
import pytest

import harness
from harness import HarnessError, newsworld
from harness.cli import main
from harness.newsworld import models
from harness.records import from_lm_eval, import_results

TASK = "kd_newsworld_factual"
FEW = {"n_documents": 24, "metrics": ["oracle", "rouge"]}

AFTER_IMPORT = """
import sys, harness, harness_kd
assert {"evaluate", "compare"} <= set(dir(harness)) and {"train", "TrainPlan"} <= set(dir(harness_kd))
print([name for name in ("torch", "transformers", "lm_eval", "numpy", "scipy", "yaml") if name in sys.modules])
from harness_kd.training.train import prepare
import harness_kd.training.train
print(harness_kd.train.__name__, callable(harness_kd.train), harness.evaluate.__name__, harness.compare.__name__)
"""


def test_importing_loads_nothing_heavy_and_the_names_are_functions() -> None:
    done = subprocess.run([sys.executable, "-c", AFTER_IMPORT], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "train True evaluate compare"]


@pytest.mark.parametrize("package", [harness, harness_kd])
def test_other_names_are_not_made_up(package: Any) -> None:
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'evalute'"):
        _ = package.evalute


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, harness.Evaluated]:
    """Both shipped models on a few articles."""
    output = tmp_path_factory.mktemp("results")
    return {
        name: harness.evaluate(
            models.path(name), [TASK], output=output, metadata=FEW, batch_size=24, device="cpu"
        )
        for name in ("student", "teacher")
    }


def test_an_evaluation_holds_what_the_command_prints_and_records_keep(
    evaluated: Mapping[str, harness.Evaluated], capsys: pytest.CaptureFixture[str]
) -> None:
    found = evaluated["teacher"]
    (record,) = from_lm_eval(found.folder)
    assert found.records == {TASK: record}
    words = ["eval", str(models.path("teacher")), "--tasks", TASK, "--output", str(found.folder.parent)]
    words += ["--metadata", json.dumps(FEW), "--batch-size", "24", "--device", "cpu"]
    assert main(words) == 0
    assert str(found) in capsys.readouterr().out
    faithful = found.scores[TASK]["oracle_faithfulness"]
    share = sum(record.column("oracle_faithfulness").values()) / 24
    assert faithful.value == pytest.approx(share)
    assert faithful.n == 24
    assert faithful.low is not None
    assert faithful.high is not None
    assert 0 < faithful.low < faithful.value < faithful.high < 1


def test_a_comparison_is_that_of_the_command_whatever_it_was_given(
    evaluated: Mapping[str, harness.Evaluated], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student, teacher = evaluated["student"], evaluated["teacher"]
    found = harness.compare(student, teacher)
    paths = [import_results(one.folder, tmp_path)[0] for one in (student, teacher)]
    capsys.readouterr()
    assert main(["compare", *map(str, paths), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found.to_dict()
    assert main(["compare", *map(str, paths)]) == 0
    assert capsys.readouterr().out == f"{found}\n"
    others = [
        harness.compare(student.folder, str(teacher.folder)),
        harness.compare(student.records[TASK], teacher.records[TASK]),
        harness.compare(paths[0], teacher, task=TASK),
    ]
    assert all(other.to_dict() == found.to_dict() for other in others)
    assert found.verdict.startswith("teacher is better than student on oracle_faithfulness: +")
    (score,) = harness.compare(student, teacher, scores=["rougeL"], names=("A", "B")).scores.values()
    assert (score.key, score.tests) == ("rougeL", 1)


def test_what_cannot_be_compared_is_said(evaluated: Mapping[str, harness.Evaluated], tmp_path: Path) -> None:
    student, teacher = evaluated["student"], evaluated["teacher"]
    with pytest.raises(HarnessError, match="needs one task, has none of that name"):
        harness.compare(student, teacher, task="kd_xsum_factual")
    with pytest.raises(HarnessError, match="teacher has no score chrf"):
        harness.compare(student, teacher, scores=["chrf"])
    with pytest.raises(HarnessError, match="none: no such record"):
        harness.compare(student, tmp_path / "none")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tasks": "kd_nosuch"}, "no task is called 'kd_nosuch'"),
        ({"limit": 0, "batch_size": "many"}, "limit 0 leaves no document\n.*batch_size many is neither"),
        ({"model": "./no/such/model"}, "no model here"),
        ({"metadata": {"metrics": ["no_such_metric"]}}, "no_such_metric"),
    ],
)
def test_what_cannot_be_evaluated_is_said(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    given = {"model": models.path("student"), "tasks": TASK, "output": tmp_path / "out", **options}
    with pytest.raises(HarnessError, match=said):
        harness.evaluate(**given)
    assert not list(tmp_path.rglob("results_*"))


def test_training_is_that_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    lines = [
        {"prompt": newsworld.prompt(row["article"]), "response": row["summary"]}
        for row in newsworld.rows("train", 8, seed=5)
    ]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    student, output = models.path("student"), tmp_path / "student"
    assert harness_kd.train(student=student, data=rows, output=output, epochs=1) == output
    made = (output / "run.json").stat().st_mtime_ns
    words = ["--student", str(student), "--data", str(rows), "--output", str(output), "--epochs", "1"]
    assert main(["train-kd", *words]) == 0  # the same run: finished
    assert capsys.readouterr().out.strip() == str(output)
    plan = harness_kd.TrainPlan(student=str(student), data=str(rows), output=str(output), epochs=1)
    assert harness_kd.train(plan) == output
    assert (output / "run.json").stat().st_mtime_ns == made
    with pytest.raises(HarnessError, match=r"holds another run: .*learning_rate"):
        harness_kd.train(student=student, data=rows, output=output, epochs=1, learning_rate=1e-4)


def test_everything_wrong_with_a_training_run_is_said_at_once() -> None:
    options: dict[str, Any] = {"studnet": "a", "data": 3, "epochs": "many", "bf16": 1, "kd_ratio": True}
    with pytest.raises(HarnessError) as caught:
        harness_kd.train(**options)
    said = [
        "studnet: no such option; closest is student",
        "data: is str, not 3",
        "epochs: is float, not 'many'",
        "bf16: is bool, not 1",
        "kd_ratio: is float, not True",
        "student: is needed",
        "output: is needed",
    ]
    assert re.findall(r"(?m)^  - (.*)$", caught.value.problem) == said
    with pytest.raises(HarnessError, match="kd_ratio above 0 needs a teacher"):
        harness_kd.train(student="a", data="b", output="c", kd_ratio=1)
    plan = harness_kd.TrainPlan(student="a", data="b", output="c")
    with pytest.raises(HarnessError, match="a plan, and seed beside it"):
        harness_kd.train(plan, seed=3)  # type: ignore[call-overload]
