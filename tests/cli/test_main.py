"""What the ``harness`` command does when all goes well, and when it does not."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import __version__
from harness.cli import main
from harness.errors import HarnessError

RunHarness = Callable[..., "subprocess.CompletedProcess[str]"]

HEAVY = [
    "torch",
    "transformers",
    "lm_eval",
    "datasets",
    "numpy",
    "scipy",
    "sklearn",
    "matplotlib",
    "nltk",
    "pyarrow",
]
IMPORTS_AFTER_HELP = """
import contextlib, io, json, sys
from harness.cli import command_groups, main
commands = [command.name for group in command_groups() for command in group.commands]
statuses = {}
with contextlib.redirect_stdout(io.StringIO()):
    statuses["--help"] = main(["--help"])
    for command in commands:
        statuses[command] = main([command, "--help"])
json.dump({"statuses": statuses, "modules": sorted({name.split(".")[0] for name in sys.modules})}, sys.stdout)
"""


def strangers_errors(stderr: str) -> str:
    """Standard error without the warnings about the broken plugins that are installed beside."""
    return re.sub(r"(?m)^harness: warning: .*\n", "", stderr)


def test_help_of_every_command_loads_nothing_heavy(strangers_environment: dict[str, str]) -> None:
    command = [sys.executable, "-c", IMPORTS_AFTER_HELP]
    done = subprocess.run(command, env=strangers_environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert set(found["statuses"].values()) == {0}
    assert {"--help", "echo"} <= found["statuses"].keys()
    assert "harness" in found["modules"]
    assert [name for name in HEAVY if name in found["modules"]] == []


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"harness {__version__}\n"


def test_no_command_shows_the_help_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: harness" in captured.err


def test_a_mistyped_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quikstart"]) == 2
    assert "harness: error: " in capsys.readouterr().err


def test_options_cannot_be_abbreviated(harness: RunHarness) -> None:
    done = harness("echo", "--te", "x")
    assert done.returncode == 2
    assert "--text" in done.stderr


def test_users_error_is_problem_then_remedy_without_a_traceback(harness: RunHarness) -> None:
    done = harness("fail")
    assert done.returncode == 2
    assert strangers_errors(done.stderr) == (
        "harness: error: rows.jsonl, row 3: no field 'article'\nName another with --article-field.\n"
    )


def test_a_bug_keeps_its_traceback(harness: RunHarness) -> None:
    done = harness("crash")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "RuntimeError: a bug" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full, the device that is always full")
def test_full_disk_is_one_clear_error(harness: RunHarness) -> None:
    done = harness("fill-disk")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "No space left on device" in done.stderr
    assert "run the same command again" in done.stderr


def test_full_disk_names_the_file(harness: RunHarness) -> None:
    assert "harness: error: /data/board.md: No space left on device\n" in harness("fill-named").stderr


def test_full_disk_is_known_by_the_words_of_libraries(harness: RunHarness) -> None:
    done = harness("fill-safetensors")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "run the same command again" in done.stderr


def test_impossible_outputs_are_named(harness: RunHarness, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, reason in [
        (tmp_path, "Is a directory"),
        (tmp_path / "file" / "x", "Not a directory|File exists"),
    ]:
        done = harness("write", str(path))
        assert done.returncode == 2, path
        assert "Traceback" not in done.stderr
        assert re.search(rf"harness: error: {re.escape(str(tmp_path))}.*: ({reason})\n", done.stderr)


@pytest.mark.skipif(
    not Path("/sys/kernel").is_dir(), reason="no /sys, where even the super-user makes no files"
)
def test_missing_permission_names_the_file(harness: RunHarness) -> None:
    done = harness("write", "/sys/kernel/board.md")
    assert done.returncode == 2
    reasons = "Permission denied|Operation not permitted|Read-only file system"
    assert re.search(rf"harness: error: /sys/kernel/board.md: ({reasons})\n", done.stderr)


def test_ctrl_c_says_how_to_go_on(strangers_environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "harness", "wait"]
    with subprocess.Popen(
        command,
        env=strangers_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell's `nohup ... &` starts its children deaf to Ctrl-C, and they inherit it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert strangers_errors(stderr) == "\nharness: interrupted; run the same command again to resume\n"


@pytest.mark.parametrize("arguments", [["--help"], ["echo", "--text", "x"]])
def test_a_reader_that_goes_away_is_no_error(harness: RunHarness, arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = harness(*arguments, capture_output=False, stdout=writer, stderr=subprocess.PIPE)
    finally:
        os.close(writer)
    assert done.returncode == 141
    assert strangers_errors(done.stderr) == ""


def test_all_problems_are_told_at_once() -> None:
    HarnessError.raise_for([], "nothing to do")
    with pytest.raises(HarnessError) as one:
        HarnessError.raise_for(["row 1: empty"], "Fill it.")
    assert str(one.value) == "row 1: empty\nFill it."
    with pytest.raises(HarnessError) as two:
        HarnessError.raise_for(["row 1: empty", "row 2: empty"], "Fill them.")
    assert two.value.problem == "2 problems:\n  - row 1: empty\n  - row 2: empty"
    assert two.value.remedy == "Fill them."
