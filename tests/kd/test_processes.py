"""Processes that wait for each other, in processes of their own."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

PREAMBLE = """
import os, sys, time
from pathlib import Path
from harness.errors import HarnessError
from harness_kd import processes
from harness_kd.processes import agreed, alone, meet, rank, together

def told(function, *arguments):
    try:
        function(*arguments)
    except HarnessError as error:
        print("told:", error.problem.splitlines()[0])
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def started(code: str, ranks: list[int], **environment: Any) -> list[Popen[str]]:
    """One process for each rank, as a launcher starts them."""
    shared = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": "2",
        **environment,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    return [
        subprocess.Popen(
            [sys.executable, "-c", PREAMBLE + code],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ranks
    ]


def outputs(processes: list[Popen[str]]) -> list[tuple[str, str]]:
    return [process.communicate(timeout=120) for process in processes]


@pytest.mark.parametrize("alone", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_process_whose_peer_never_comes_says_that_it_waits_and_ends(alone: int) -> None:
    (process,) = started("processes._PATIENCE = 0.5; told(meet, 3)", [alone])
    start = time.monotonic()
    ((printed, warned),) = outputs([process])
    assert 3 <= time.monotonic() - start < 60
    assert printed.startswith(f"told: process {alone} of 2 waited 3 s for the other processes")
    assert f"process {alone} of 2 waits for the others at 127.0.0.1:" in warned


def test_the_command_ends_with_one_clear_error(student: str, data_file: str, tmp_path: Path) -> None:
    command = ["train-kd", "--student", student, "--data", data_file, "--output", str(tmp_path / "out")]
    code = (
        f"from harness.cli import main; sys.argv[1:] = {[*command, '--peer-timeout', '2']}; sys.exit(main())"
    )
    (process,) = started(code, [1])
    ((_, warned),) = outputs([process])
    assert process.returncode == 2
    assert "process 1 of 2 waited 2 s for the other processes" in warned
    assert "--peer-timeout" in warned
    assert "Traceback" not in warned
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.slow
def test_a_process_without_an_address_is_told_how_to_start() -> None:
    ((printed, _),) = outputs(started("told(meet, 3)", [0], MASTER_ADDR=""))
    assert "this is process 0 of 2, but" in printed
    assert "MASTER_ADDR" in printed


def test_the_first_decides_for_all_and_slow_ones_are_waited_for(tmp_path: Path) -> None:
    code = f"""
meet(60)
with together("work"):
    time.sleep(rank() * 1.0)
    Path({str(tmp_path)!r}, str(rank())).touch()
there = sorted(path.name for path in Path({str(tmp_path)!r}).iterdir())
print(there, agreed(lambda: {{"chosen": rank()}}), agreed(lambda: None))
"""
    assert outputs(started(code, [0, 1])) == [("['0', '1'] {'chosen': 0} None\n", "")] * 2


@pytest.mark.slow
@pytest.mark.parametrize("failing", [0, 1])
def test_those_that_wait_fail_with_the_one_that_failed(failing: Any) -> None:
    """A clear error is everyone's; one process waits in ``agreed`` or at the end of ``together``."""
    code = f"""
meet(60)
def work():
    with together("work"):
        if rank() == {failing}:
            raise HarnessError("the disk is full", "Free some.")
        agreed(lambda: 1)
told(work)
time.sleep(1)  # the first holds the store
"""
    assert [printed for printed, _ in outputs(started(code, [0, 1]))] == ["told: the disk is full\n"] * 2


@pytest.mark.slow
def test_a_bug_in_one_process_is_named_in_the_others() -> None:
    code = """
meet(60)
try:
    with together("capture"):
        if rank() == 1:
            raise ZeroDivisionError("oh")
except HarnessError as error:
    print(error.problem)
except ZeroDivisionError:
    print("mine")
time.sleep(1)
"""
    assert [printed for printed, _ in outputs(started(code, [0, 1]))] == [
        "process 1 failed in its capture: ZeroDivisionError('oh')\n",
        "mine\n",
    ]


@pytest.mark.slow
def test_one_that_waits_notices_that_the_first_is_gone() -> None:
    code = """
meet(60)
agreed(lambda: 1)
if rank() == 0:
    time.sleep(0.5)
    os._exit(9)
told(agreed, lambda: 1)
"""
    (_, (printed, _)) = outputs(started(code, [0, 1]))
    assert printed.startswith("told: process 1: the first process is gone")


def test_alone_hides_the_launcher_and_gives_it_back() -> None:
    code = """
import json
found = alone(os.getenv, "RANK"), alone(os.getenv, "WORLD_SIZE"), alone(os.getenv, "MASTER_PORT")
print(found, os.environ["RANK"], os.environ["WORLD_SIZE"])
"""
    (process,) = started(code, [1])
    ((printed, _),) = outputs([process])
    assert printed == "(None, None, None) 1 2\n"


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_whose_peer_dies_in_training_ends_with_one_clear_error(
    student: Any, data_file: str, tmp_path: Path, killed: Any
) -> None:
    """Without a launcher that would end it."""
    command = ["train-kd", "--student", student, "--data", data_file, "--output", str(tmp_path / "out")]
    limits = [
        "--max-length",
        "64",
        "--max-prompt-length",
        "32",
        "--epochs",
        "2000",
        "--checkpoint-steps",
        "5",
    ]
    code = f"from harness.cli import main; sys.argv[1:] = {[*command, *limits]}; sys.exit(main())"
    processes = started(code, [0, 1])
    deadline = time.monotonic() + 120
    while not list((tmp_path / "out.partial").glob("checkpoint-*/complete")):
        assert time.monotonic() < deadline
        assert processes[0].poll() is None
        time.sleep(0.01)
    processes[killed].kill()
    start = time.monotonic()
    _, warned = outputs(processes)[1 - killed]
    assert time.monotonic() - start < 60
    assert processes[1 - killed].returncode == 2
    assert f"process {1 - killed} of 2: another process ended or does not answer" in warned
    assert "Run the same command again: it goes on from the last checkpoint." in warned
    assert "Traceback" not in warned
