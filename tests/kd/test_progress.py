"""What a user reads while a run goes and when it is over."""

import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from harness_kd import progress
from harness_kd.plan import TrainPlan
from harness_kd.progress import Progress, duration
from harness_kd.studies.closing import closing
from harness_kd.training.allocator import large_blocks_given_back
from harness_kd.training.summary import epoch_means, summary
from harness_kd.training.train import train

from harness.quiet import hide_loading_bars


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that have passed; what it holds is what the time is."""
    now = [0.0]
    monkeypatch.setattr("harness_kd.progress.time.monotonic", lambda: now[0])
    return now


def test_a_line_says_step_loss_and_time_left() -> None:
    shown = Progress("training", 600, unit="step", done=20, shown=False)
    shown.advance(100)
    said = shown.line(50.0, loss="1.234")  # 100 steps in 50 s, 480 to go
    assert said == "training: step 120 of 600, loss 1.234, 4.0 minutes left"
    assert Progress("capture", 1000, unit="token", shown=False).line(3.0) == "capture: token 0 of 1,000"


def test_off_a_terminal_a_line_comes_every_half_minute(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    said = {}
    with Progress("training", 1800, unit="step") as shown:
        for second in range(1, 181):
            clock[0] = float(second)
            shown.advance(10, loss=lambda: f"{3 - clock[0] / 100:.3f}")
            if line := capsys.readouterr().err:
                said[second] = line
    assert said == {
        30: "training: step 300 of 1,800, loss 2.700, 2.5 minutes left\n",
        60: "training: step 600 of 1,800, loss 2.400, 2.0 minutes left\n",
        90: "training: step 900 of 1,800, loss 2.100, 90 seconds left\n",
        120: "training: step 1,200 of 1,800, loss 1.800, 60 seconds left\n",
        150: "training: step 1,500 of 1,800, loss 1.500, 30 seconds left\n",
        180: "training: step 1,800 of 1,800, loss 1.200, 0 seconds left\n",
    }


def test_a_loss_is_asked_for_only_when_it_is_said(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[float] = []

    def loss() -> str:
        asked.append(clock[0])
        return "1.000"

    for shown in (Progress("training", 9, unit="step"), Progress("training", 9, unit="step", shown=False)):
        for _ in range(9):
            clock[0] += 10.0
            shown.advance(loss=loss)
    assert asked == [30.0, 60.0, 90.0]
    assert len(capsys.readouterr().err.splitlines()) == 3  # another process says nothing


def test_on_a_terminal_there_is_a_bar_and_no_line(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("training", 4, unit="step") as shown:
        for _ in range(4):
            clock[0] += 40.0
            shown.advance(loss=lambda: "0.500")
    written = terminal.getvalue()
    assert "4/4" in written
    assert "loss=0.500" in written
    assert "step 1 of 4" not in written


def test_a_run_in_a_batch_job_says_how_far_it_is(
    plan: TrainPlan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hide_loading_bars()  # as the command does
    monkeypatch.setattr(progress, "EVERY", 0.0)
    folder = train(replace(plan, dev=plan.data, select="dev-loss"))
    said = capsys.readouterr().err
    line = r"^training: step (\d+) of 12, loss (\d+\.\d{3}), \d+ seconds left$"
    shown = {int(step): float(loss) for step, loss in re.findall(line, said, re.MULTILINE)}
    history = json.loads((folder / "run.json").read_text())["metrics"]["history"]
    assert set(shown) == set(range(1, 13))
    assert shown == pytest.approx({entry["step"]: entry["loss"] for entry in history}, abs=6e-4)
    assert re.search(r"^teacher's soft labels: token \d+ of \d+, ", said, re.MULTILINE)
    assert re.search(r"^dev loss: batch 3 of 3, 0 seconds left$", said, re.MULTILINE)
    assert "%|" not in said


def test_off_a_terminal_the_bars_of_libraries_are_lines_too() -> None:
    code = """
from harness.quiet import plain_bars
plain_bars()
import time
from tqdm.auto import tqdm
for _ in tqdm(range(8), desc="requests"): time.sleep(0.1)
for _ in tqdm(range(9), desc="short"): pass
"""
    often = {**os.environ, "TQDM_DELAY": "0.25", "TQDM_MININTERVAL": "0.25"}
    done = subprocess.run([sys.executable, "-c", code], env=often, capture_output=True, text=True, check=True)
    assert re.search(r"^requests: \d of 8, \d\d:\d\d left$", done.stderr, re.MULTILINE)
    assert "%|" not in done.stderr
    assert "short" not in done.stderr
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("TQDM_")}
    done = subprocess.run([sys.executable, "-c", code], env=quiet, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_durations_are_in_the_largest_unit_of_which_there_are_two() -> None:
    assert [duration(one) for one in (0.4, 119, 120, 7199, 7200)] == [
        "0 seconds",
        "119 seconds",
        "2.0 minutes",
        "120.0 minutes",
        "2.0 hours",
    ]


def log(step: int, epoch: float, cross_entropy: float, divergence: float = 0.0) -> dict[str, float]:
    return {"step": step, "epoch": epoch, "cross_entropy": cross_entropy, "divergence": divergence}


def test_epochs_are_compared_by_the_means_over_their_steps() -> None:
    history = [
        log(3, 0.75, 2.0, 1.0),
        log(4, 1.0, 1.0, 0.5),
        log(6, 1.5, 0.8, 0.4),
        log(8, 2.0, 0.4, 0.2),
        log(9, 2.25, 9.0, 9.0),  # of an epoch that is not whole
    ]
    means = epoch_means(history)
    assert set(means) == {1, 2}
    assert means[1] == pytest.approx({"cross_entropy": (3 * 2 + 1) / 4, "divergence": (3 * 1 + 0.5) / 4})
    assert means[2] == pytest.approx({"cross_entropy": 0.6, "divergence": 0.3})
    assert epoch_means([log(2, 0.5, 1.5)]) == {1: {"cross_entropy": 1.5, "divergence": 0.0}}
    assert epoch_means([]) == {}


def test_the_summary_of_a_run_is_of_its_epochs(plan: TrainPlan) -> None:
    folder = train(replace(plan, epochs=3, batch_size=5))  # 10 steps an epoch, logged every second one
    history = json.loads((folder / "run.json").read_text())["metrics"]["history"]
    assert {1.0, 2.0, 3.0} <= {entry["epoch"] for entry in history}
    means = epoch_means(history)
    assert means[3]["cross_entropy"] < means[1]["cross_entropy"]
    first, last = (f"{means[epoch]['cross_entropy']:.3f}" for epoch in (1, 3))
    said = summary(folder)
    assert said.startswith("run: 30 steps, cross-entropy ")
    assert f"cross-entropy {first} in epoch 1 -> {last} in epoch 3 nats per token" in said
    assert "divergence" in said
    once = summary(train(replace(plan, epochs=1, kd_ratio=0.0, teacher=None, output=plan.output + "-once")))
    assert re.fullmatch(r"run-once: 6 steps, cross-entropy \d\.\d{3} in epoch 1 nats per token", once)


def test_freed_tensors_return_to_the_system() -> None:
    psutil = pytest.importorskip("psutil")
    if not sys.platform.startswith("linux"):
        pytest.skip("glibc alone keeps what is freed")

    def resident() -> int:
        return psutil.Process().memory_info().rss

    with large_blocks_given_back():
        before = resident()
        large = [torch.ones(1 << 19) for _ in range(100)]  # 2 MiB each
        small = [torch.ones(100) for _ in range(100)]
        held = resident()
        del large
        after = resident()
    assert held - before > 150e6
    assert after - before < 20e6
    assert len(small) == 100


def test_a_study_ends_with_verdict_table_and_page(tmp_path: Path) -> None:
    from harness_kd.plan import TrainPlan
    from harness_kd.studies.evaluation import plan_evaluation
    from harness_kd.studies.then_eval import TEACHER, UNTUNED, runs, then_eval

    from harness.newsworld import models

    data = "newsworld?n=16&seed=5"
    plan = TrainPlan(
        student=str(models.path("student")),
        teacher=str(models.path("teacher")),
        kd_ratio=1.0,
        data=data,
        output=str(tmp_path / "s"),
        epochs=1,
    )
    lines: list[str] = []
    evaluation = plan_evaluation(data, limit=8, metadata={"metrics": "oracle"})
    board = then_eval(plan, (1.0,), evaluation, lines.append)
    trained = [line for line in lines if " in epoch 1 nats per token" in line]
    assert [line.partition(": 2 steps, cross-entropy ")[0] for line in trained] == ["s-sft", "s"]
    said = closing(board, [UNTUNED, TEACHER, *runs(plan, (1.0,), compared=True)])
    verdict, table, page = said.split("\n\n")
    assert "s, KD ratio 1" in verdict
    assert "s, SFT" in verdict
    assert page == f"Page: {tmp_path / 's-eval' / 'leaderboard.html'}"
    header, *rows = table.splitlines()
    assert header.split()[:2] == ["model", "oracle_faithfulness"]
    assert {row.split("  ")[0] for row in rows} == {UNTUNED, TEACHER, "s, SFT", "s, KD ratio 1"}
    assert all(re.search(r"\d+\.\d \[\d+\.\d, \d+\.\d\]", row) for row in rows)
    assert {row.split("  ")[0] for row in closing(board, [TEACHER]).split("\n\n")[1].splitlines()[1:]} == {
        TEACHER
    }
