"""A judge as a model: by `harness eval` and in stock lm_eval, with the hook or without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import main
from harness.lmeval.models.judge import HarnessJudge
from harness.records.lm_eval_log import newest_results

TASK = ["--tasks", "kd_judge_newsworld", "--metadata", "n_documents=12"]


def test_harness_eval_ranks_a_judge_without_the_hook(tmp_path: Path) -> None:
    words = ["eval", "embedded", "--backend", "harness-judge", *TASK, "--output", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "harness", *words],
        env={**os.environ, "HARNESS_NO_LM_EVAL_HOOK": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    results = json.loads(newest_results(tmp_path / "embedded").read_text("utf-8"))
    score = results["configs"]["kd_judge_newsworld"]["metadata"]["scores"]["auroc"]
    assert 0.5 < score["value"] <= 1
    assert score["n"] == 12
    assert "embedded" in score["signature"]
    assert results["results"]["kd_judge_newsworld"]["auroc,none"] == score["value"]
    assert not (tmp_path / ".responses").exists()  # its key would not hold the judge's weights


def test_a_judge_that_is_none_and_a_task_that_is_none_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--backend", "harness-judge", "--output", str(tmp_path)]
    assert main(["eval", "nosuch", *words, *TASK]) == 2
    assert "nosuch" in capsys.readouterr().err
    news = ["--tasks", "kd_newsworld_factual", "--metadata", "n_documents=2,metrics=oracle"]
    assert main(["eval", "embedded", *words, *news]) == 2
    assert "harness-judge judges pairs of source and summary and nothing else" in capsys.readouterr().err


def test_an_unknown_backend_is_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more in ([], ["--dry-run"]):
        words = ["eval", "m", "--backend", "nosuch", "--output", str(tmp_path / "out"), *more]
        assert main([*words, "--tasks", "kd_newsworld_factual"]) == 2
        error = capsys.readouterr().err
        assert error.startswith("harness: error: no model backend is called 'nosuch'\nKnown: ")
        assert "harness-judge" in error
        assert "local-chat-completions" in error
    assert not (tmp_path / "out").exists()


def test_lm_evals_own_device_stands_for_the_one_that_is_there() -> None:
    assert (
        HarnessJudge(judge="embedded", device="cuda:0").judge_signature
        == HarnessJudge("embedded").judge_signature
    )
