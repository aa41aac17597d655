"""``train-kd --then-eval``: twin, students, evaluation and board in one command; ratios, self-distillation and presets."""

import json
from argparse import ArgumentParser
from pathlib import Path

import pytest
from harness_kd.plan import TrainPlan
from harness_kd.study import SELF, columns_of, default_tasks, sft_twin, students
from harness_kd.train_command import TRAIN_KD, plan_of

from harness.board import verify
from harness.cli import main
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


def test_one_command_ends_with_a_board_that_verifies(tmp_path, capsys):
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
    # again: nothing is trained or evaluated twice, and another ratio joins the same board
    more = words(
        tmp_path / "t", "--teacher", TEACHER, "--kd-ratio", "10", "--then-eval", "--eval-limit", "12"
    )
    assert main(command) == 0
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert main([*more, "--board", str(board)]) == 0
    assert len(json.loads(board.read_text())["rows"]) == 6
    verify(board)


def test_the_students_own_twin_can_teach(tmp_path, capsys):
    assert main(words(tmp_path / "s", "--teacher", SELF, "--kd-ratio", "1")) == 0
    assert (tmp_path / "s-sft" / "model.safetensors").exists()
    card = (tmp_path / "s" / "README.md").read_text()
    assert "s-sft" in card
    capsys.readouterr()
    assert main(words(tmp_path / "x", "--teacher", SELF)) == 2
    assert "teaches nothing" in capsys.readouterr().err


def test_a_student_for_each_ratio_stands_beside_the_twin():
    plan = TrainPlan(student="s", data="d", output="out/a", teacher="t", kd_ratio=0.1)
    runs = students(plan, (0.1, 1.0))
    assert [(run.output, run.kd_ratio) for run in runs.values()] == [("out/a-kd0.1", 0.1), ("out/a-kd1", 1.0)]
    assert sft_twin(plan).output == "out/a-sft"
    assert sft_twin(plan).teacher is None


def test_the_papers_settings_are_a_preset_that_options_override():
    parser = ArgumentParser()
    TRAIN_KD.add_arguments(parser)
    given = [
        "--student",
        "s",
        "--teacher",
        "t",
        "--data",
        "d",
        "--output",
        "o",
        "--kd-ratio",
        "0.1",
        "--epochs",
        "2",
    ]
    plan = plan_of(parser.parse_args([*given, "--preset", "paper"]))
    assert (plan.divergence, plan.learning_rate, plan.batch_size) == ("soft-cross-entropy", 1e-5, 8)
    assert (plan.epochs, plan.kd_ratio) == (2.0, 0.1)
    assert plan_of(parser.parse_args(given)).divergence == "forward-kl"


@pytest.mark.parametrize("ratios", ["x", "1,,2", "-1"])
def test_a_bad_ratio_is_refused(tmp_path, ratios):
    command = words(tmp_path / "s", "--teacher", TEACHER, f"--kd-ratio={ratios}")
    try:
        status = main(command)
    except SystemExit as error:
        status = error.code
    assert status == 2


def test_columns_that_speak_of_faithfulness_come_first():
    up, none = {"higher_is_better": True}, {"higher_is_better": None}
    scores = [
        {"rougeL": up, "length": none, "factual_consistency": up, "chrf": up},
        {"rougeL": up, "factual_consistency": up},
    ]
    assert columns_of(scores) == ["factual_consistency", "rougeL"]
    assert default_tasks("rows.jsonl") == ("kd_cnndm_factual", "kd_xsum_factual")


def test_an_online_teacher_trains_what_the_whole_cache_trains(tmp_path, student, teacher, data_file):
    """K = V, so that nothing is cut; the teacher's batches differ, and with them the last bits."""
    import torch
    from safetensors.torch import load_file

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
