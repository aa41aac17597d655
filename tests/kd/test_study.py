"""``train-kd --then-eval``: twin, students, evaluation and board in one command; ratios, self-distillation and presets."""

import json
import math
import os
import subprocess
import sys
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from harness_kd.commands.train_kd import TRAIN_KD, plan_of
from harness_kd.plan import TrainPlan
from harness_kd.presets import differences
from harness_kd.studies.board import columns_of, comparable
from harness_kd.studies.then_eval import SELF, runs, sft_twin
from harness_kd.training.train import train
from safetensors.torch import load_file

from harness.board import verify
from harness.cli import main
from harness.errors import HarnessError
from harness.newsworld import models

STUDENT, TEACHER = str(models.path("student")), str(models.path("teacher"))


def words(output: Path, *more: str) -> list[str]:
    common = [
        "--data",
        "newsworld?n=48&seed=5",
        "--epochs",
        "1",
        "--batch-size",
        "16",
        "--learning-rate",
        "0.003",
    ]
    return ["train-kd", "--student", STUDENT, "--output", str(output), *common, *more]


def test_one_command_ends_with_a_board_that_verifies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = words(
        tmp_path / "s", "--teacher", TEACHER, "--kd-ratio", "1", "--then-eval", "--eval-limit", "12"
    )
    assert main(command) == 0
    board = tmp_path / "s-eval" / "leaderboard.json"
    spec = json.loads(board.read_text())
    assert {row["label"] for row in spec["rows"]} == {
        "student, untuned",
        "teacher",
        "s, SFT",
        "s, KD ratio 1",
    }
    assert spec["comparisons"] == [["s, SFT", "s, KD ratio 1"]]
    assert spec["columns"][0] == "oracle_faithfulness"
    verify(board)
    assert "teacher on kd_newsworld_factual: oracle_faithfulness" in capsys.readouterr().out
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("s*/**/*.safetensors")}
    assert len(made) == 2
    # again: nothing is trained or evaluated twice; another ratio joins the same board, whose twin is the same run
    more = words(
        tmp_path / "t", "--teacher", TEACHER, "--kd-ratio", "inf", "--then-eval", "--eval-limit", "12"
    )
    assert main(command) == 0
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert main([*more, "--board", str(board)]) == 0
    spec = json.loads(board.read_text())
    assert {row["label"] for row in spec["rows"]} == {
        "student, untuned",
        "teacher",
        "s, SFT",
        "s, KD ratio 1",
        "t, KD ratio inf",
    }
    assert spec["comparisons"] == [["s, SFT", "s, KD ratio 1"], ["s, SFT", "t, KD ratio inf"]]
    verify(board)


def test_the_students_own_twin_can_teach(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(tmp_path / "s", "--teacher", SELF, "--kd-ratio", "1")) == 0
    assert (tmp_path / "s-sft" / "model.safetensors").exists()
    card = (tmp_path / "s" / "README.md").read_text()
    assert "s-sft" in card
    capsys.readouterr()
    assert main(words(tmp_path / "x", "--teacher", SELF)) == 2
    assert "teaches nothing" in capsys.readouterr().err


def test_a_student_for_each_ratio_stands_beside_the_twin() -> None:
    plan = TrainPlan(student="s", data="d", output="out/a", teacher="t", kd_ratio=10.0, soft_labels="l")
    found = runs(plan, (0.1, 1.0, math.inf), compared=True)
    assert [(label, run.output, run.kd_ratio) for label, run in found.items()] == [
        ("a, SFT", "out/a-sft", 0.0),
        ("a, KD ratio 0.1", "out/a-kd0.1", 0.1),
        ("a, KD ratio 1", "out/a-kd1", 1.0),
        ("a, KD ratio inf", "out/a-kdinf", math.inf),
    ]
    assert list(runs(plan, (0.1, 1.0))) == ["a, KD ratio 0.1", "a, KD ratio 1"]  # nothing to compare with


def test_the_twin_has_hard_labels_alone_and_smoothing_is_an_arm_of_its_own() -> None:
    plan = TrainPlan(
        student="s", data="d", output="a", teacher="t", kd_ratio=1.0, label_smoothing=0.1, online_teacher=True
    )
    twin = sft_twin(plan)
    assert (twin.label_smoothing, twin.kd_ratio, twin.teacher, twin.online_teacher) == (0, 0, None, False)
    found = runs(plan, (0.0, 1.0), compared=True)
    smoothed = {label: (run.label_smoothing, run.kd_ratio) for label, run in found.items()}
    assert smoothed == {
        "a, SFT": (0, 0),
        "a, label smoothing 0.1": (0.1, 0),
        "a, KD ratio 1, label smoothing 0.1": (0.1, 1),
    }


@pytest.mark.parametrize("teacher", ["t", SELF])
def test_nothing_is_trained_twice(teacher: str) -> None:
    plan = TrainPlan(student="s", data="d", output="a", teacher=teacher, kd_ratio=1.0)
    found = runs(plan, (0.0, 1.0), compared=True)
    assert [run.output for run in found.values()] == ["a-sft", "a-kd1"]
    assert found["a, KD ratio 1"].teacher == ("a-sft" if teacher == SELF else "t")
    alone = TrainPlan(student="s", data="d", output="a")
    assert runs(alone, (0.0,), compared=True) == {"a, SFT": alone}
    smoothed = replace(alone, label_smoothing=0.1)
    assert runs(smoothed, (0.0,), compared=True) == {"a, label smoothing 0.1": smoothed}


def test_without_a_teacher_one_student_stands_beside_the_untuned_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = words(tmp_path / "s", "--then-eval", "--eval-limit", "8")
    assert main(command) == 0
    spec = json.loads((tmp_path / "s-eval" / "leaderboard.json").read_text())
    assert {row["label"] for row in spec["rows"]} == {"student, untuned", "s, SFT"}
    assert spec["comparisons"] == [["student, untuned", "s, SFT"]]
    assert not (tmp_path / "s-sft").exists()
    assert capsys.readouterr().out.count("\ntrain ") == 1


def test_a_dry_run_plans_everything_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--teacher", SELF, "--kd-ratio", "1,inf", "--then-eval", "--eval-limit", "8", "--dry-run"]
    assert main(words(tmp_path / "s", *more)) == 0
    printed = capsys.readouterr().out
    for run in ("s, SFT: ", "s, KD ratio 1: ", "s, KD ratio inf: "):
        assert run in printed
    assert printed.count("\nsoft labels    ") == 2
    assert "4 models on kd_newsworld_factual (8 documents, prompts of about " in printed
    assert "student, untuned; s, SFT; s, KD ratio 1; s, KD ratio inf" in printed
    assert str(tmp_path / "s-eval" / "leaderboard.md") in printed
    rows = printed.partition("\nstage  ")[2].partition("\n\n")[0].splitlines()[1:]
    stages = ["evaluate student, untuned", "train s-sft", "capture of soft labels by the twin"]
    stages += ["train s-kd1", "train s-kdinf", "evaluate s, SFT", "evaluate s, KD ratio 1"]
    stages += ["evaluate s, KD ratio inf", "together"]  # the students share one cache
    assert [row.partition("  ")[0] for row in rows] == stages
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("more", [["--teacher", SELF, "--kd-ratio", "1"], []])
def test_a_dry_run_looks_for_the_evaluations_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[Any]
) -> None:
    command = words(tmp_path / "s", *more, "--then-eval", "--dry-run")
    nowhere = ["--tasks", "kd_xsum_factual", "--eval-metadata", f"metrics=rouge,data_dir={tmp_path / 'none'}"]
    assert main([*command, *nowhere]) == 2
    assert f"no data at {tmp_path / 'none'}" in capsys.readouterr().err
    assert main([*command, "--eval-data", str(tmp_path / "none.jsonl")]) == 2
    assert "none.jsonl: no such file" in capsys.readouterr().err
    assert main([*words(tmp_path / "s"), "--eval-data", str(tmp_path / "none.jsonl")]) == 2
    assert "--eval-data describes an evaluation" in capsys.readouterr().err


def strict(path: Path) -> dict[str, dict[str, Any]]:
    return json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_pure_distillation_has_no_term_of_hard_labels(plan: TrainPlan, tmp_path: Path) -> None:
    pure = replace(plan, kd_ratio=math.inf)
    folder = train(pure)
    record = strict(folder / "run.json")
    assert record["identity"]["kd_ratio"] == record["plan"]["kd_ratio"] == "inf"
    for step in record["metrics"]["history"]:
        assert step["loss"] == pytest.approx(step["divergence"], abs=1e-4)
        assert step["cross_entropy"] > step["loss"] + 0.1
    card = (folder / "README.md").read_text()
    assert "| loss | forward-kl |" in card
    assert "| kd_ratio | inf |" in card
    made = (folder / "model.safetensors").stat().st_mtime_ns
    assert train(pure) == folder  # finished, and known as such
    assert (folder / "model.safetensors").stat().st_mtime_ns == made
    with pytest.raises(HarnessError, match=r"kd_ratio 'inf', not 1\.0"):
        train(plan)


def test_a_high_ratio_tends_to_pure_distillation(plan: TrainPlan, tmp_path: Path) -> None:
    trained = {
        ratio: load_file(
            train(replace(plan, kd_ratio=ratio, output=str(tmp_path / f"{ratio}"))) / "model.safetensors"
        )
        for ratio in (1.0, 1e6, math.inf)
    }
    for name, weight in trained[math.inf].items():
        torch.testing.assert_close(trained[1e6][name], weight, atol=1e-3, rtol=0)
    assert max((trained[1.0][name] - weight).abs().max() for name, weight in trained[math.inf].items()) > 5e-3


def test_an_interrupted_pure_distillation_goes_on(
    plan: TrainPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness_kd.training.trainer import DistillationTrainer

    whole = load_file(train(replace(plan, kd_ratio=math.inf)) / "model.safetensors")
    step = DistillationTrainer.training_step
    taken = []

    def interrupted(self: DistillationTrainer, *args: Any, **kwargs: Any) -> torch.Tensor | None:
        taken.append(1)
        if len(taken) == 9:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    monkeypatch.setattr(DistillationTrainer, "training_step", interrupted)
    again = replace(plan, kd_ratio=math.inf, output=str(tmp_path / "again"), checkpoint_steps=4)
    with pytest.raises(KeyboardInterrupt):
        train(again)
    resumed = load_file(train(again) / "model.safetensors")
    assert len(taken) == 9 + 4  # twelve steps, of which the first eight were kept
    for name, weight in whole.items():
        assert torch.equal(resumed[name], weight)


@pytest.mark.parametrize(
    ("options", "problem"),
    [({"label_smoothing": 0.1}, "smooths hard labels"), ({"divergence": "uld"}, "nothing says which token")],
)
def test_what_needs_hard_labels_is_refused_without_them(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(HarnessError, match=problem):
        TrainPlan(student="s", teacher="t", data="d", output="o", kd_ratio=math.inf, **options)


def preset(*more: str) -> TrainPlan:
    parser = ArgumentParser()
    TRAIN_KD.add_arguments(parser)
    given = ["--student", "s", "--teacher", "t", "--output", "o", "--kd-ratio", "0.1", "--epochs", "2"]
    return plan_of(parser.parse_args([*given, *more]))


def test_the_papers_settings_are_a_preset_that_options_override() -> None:
    plan = preset("--preset", "paper", "--data", "dolly")
    assert (plan.divergence, plan.learning_rate, plan.batch_size) == ("soft-cross-entropy", 1e-5, 8)
    assert (plan.epochs, plan.kd_ratio) == (2.0, 0.1)
    assert preset("--data", "d").divergence == "forward-kl"
    assert any("64 likeliest tokens" in line for line in differences("paper", plan))


@pytest.mark.parametrize(
    ("data", "dev"),
    [
        ("dolly", "dolly?split=dev&n=1000"),
        ("dolly?n=15000", "dolly?split=dev&n=1000"),
        ("dolly?path=a/b.jsonl&split=train", "dolly?split=dev&n=1000&path=a/b.jsonl"),
        ("cnndm?n=15000", "cnndm?split=dev&n=1000"),
        ("newsworld?n=48&noise=0.2", "newsworld?split=dev&n=1000&noise=0.2"),
    ],
)
def test_the_preset_keeps_the_epoch_of_the_best_dev_rouge(data: str, dev: str) -> None:
    plan = preset("--preset", "paper", "--data", data)
    assert (plan.select, plan.dev) == ("rougeL", dev)


@pytest.mark.parametrize("data", ["rows.jsonl", "dolly?path=rows.jsonl", "dolly?split=dev"])
def test_the_preset_asks_for_held_out_rows_where_it_knows_none(data: str) -> None:
    with pytest.raises(HarnessError, match="best ROUGE-L on held-out rows") as caught:
        preset("--preset", "paper", "--data", data)
    assert "--dev FILE" in caught.value.remedy
    assert preset("--preset", "paper", "--data", data, "--dev", "x").select == "rougeL"
    last = preset("--preset", "paper", "--data", data, "--select", "last")
    assert (last.select, last.dev) == ("last", None)


@pytest.mark.parametrize("ratios", ["x", "1,,2", "-1"])
def test_a_bad_ratio_is_refused(tmp_path: Path, ratios: str) -> None:
    command = words(tmp_path / "s", "--teacher", TEACHER, f"--kd-ratio={ratios}")
    try:
        status: Any = main(command)
    except SystemExit as error:
        status = error.code
    assert status == 2


def test_columns_that_speak_of_faithfulness_come_first() -> None:
    up, none = {"higher_is_better": True}, {"higher_is_better": None}
    scores: list[dict[str, Any]] = [
        {"rougeL": up, "length": none, "factual_consistency_rate": up, "chrf": up, "answer_rate": up},
        {"rougeL": up, "factual_consistency_rate": up},
    ]
    assert columns_of(scores) == ["factual_consistency_rate", "rougeL", "chrf"]
    assert comparable(scores) == ["factual_consistency_rate", "rougeL"]


def test_a_score_by_two_classifiers_never_ranks() -> None:
    first, second = ({"higher_is_better": True, "signature": f"lookback|{name}"} for name in "ab")
    up = {"higher_is_better": True, "signature": "x"}
    scores = [{"factual_rate": first, "rougeL": up}, {"factual_rate": second, "rougeL": up}, {"rougeL": up}]
    assert columns_of(scores) == ["rougeL", "factual_rate"]
    assert columns_of([{"factual_rate": first}, {"factual_rate": second}]) == ["answer_rate", "factual_rate"]


def test_an_online_teacher_trains_what_the_whole_cache_trains(
    tmp_path: Path, student: str, teacher: str, data_file: str
) -> None:
    """K = V, so that nothing is cut; the teacher's batches differ, and with them the last bits."""
    common = ["train-kd", "--student", student, "--teacher", teacher, "--data", str(data_file), "--kd-ratio", "1",
              "--epochs", "2", "--batch-size", "4", "--max-length", "64", "--max-prompt-length", "32", "--top-k", "1000",
              "--learning-rate", "0.01"]  # fmt: skip
    assert main([*common, "--output", str(tmp_path / "cached")]) == 0
    assert main([*common, "--output", str(tmp_path / "online" / "x"), "--online-teacher"]) == 0
    assert not (tmp_path / "online" / "soft-labels").exists()
    cached, online = (load_file(tmp_path / name / "model.safetensors") for name in ("cached", "online/x"))
    before = load_file(Path(student) / "model.safetensors")
    for name, weight in cached.items():
        torch.testing.assert_close(online[name], weight, atol=2e-3, rtol=0)
    assert max((cached[name] - before[name]).abs().max() for name in cached) > 0.02
    assert (
        main(
            [
                *common[:-2],
                "--output",
                str(tmp_path / "y"),
                "--online-teacher",
                "--soft-labels",
                str(tmp_path),
            ]
        )
        == 2
    )


@pytest.mark.slow
def test_two_processes_end_with_the_board_of_one(tmp_path: Path) -> None:
    """The first process evaluates, alone; both train. Weights differ in their last bits, so responses are not compared."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = words(
        tmp_path / "s", "--teacher", TEACHER, "--kd-ratio", "1", "--then-eval", "--eval-limit", "8"
    )
    run = subprocess.run(
        [sys.executable, *launcher, "-m", "harness", *command],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    board = tmp_path / "s-eval" / "leaderboard.json"
    verify(board)
    assert len(json.loads(board.read_text())["rows"]) == 4
    assert run.stdout.count("train s, KD ratio 1\n") == 1
    assert run.stdout.count(str(board.with_suffix(".html"))) == 1
    assert json.loads((tmp_path / "s" / "run.json").read_text())["identity"]["world_size"] == 2
    for results in (tmp_path / "s-eval" / "results").iterdir():
        (log,) = results.glob("*/samples_*.jsonl")
        assert len(log.read_text().splitlines()) == 8
