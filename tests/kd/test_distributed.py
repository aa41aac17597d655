"""Two processes with the shipped configurations of accelerate: they train, save, are killed, go on, and are one process.

On processors, by gloo. Each launch takes ten seconds of imports, so all are slow.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from harness_kd.plan import TrainPlan
from harness_kd.training.train import train
from safetensors.torch import load_file

SCRIPT = Path(__file__).with_name("launched.py")
CONFIGURATIONS = Path(__file__).parents[2] / "plugins" / "harness_kd" / "accelerate"
needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed"
)
KINDS = [
    pytest.param("multi_gpu", "DistributedDataParallel 0 ['Parameter']", id="ddp"),
    pytest.param("deepspeed_zero2", "DeepSpeedEngine 2 ['Parameter']", id="zero2", marks=needs_deepspeed),
    pytest.param("deepspeed_zero3", "DeepSpeedEngine 3 ['Parameter']", id="zero3", marks=needs_deepspeed),
    pytest.param("fsdp2", "FSDPLlamaForCausalLM 0 ['DTensor']", id="fsdp2"),
]
pytestmark = pytest.mark.slow


def weights(folder: Any) -> Any:
    return load_file(Path(folder) / "model.safetensors")


def difference(one: Any, other: Any) -> Any:
    one, other = weights(one), weights(other)
    assert one.keys() == other.keys()
    return max((tensor - other[name]).abs().max().item() for name, tensor in one.items())


def launched(configuration: Any, folder: Any, *plans: Any) -> Any:
    folder.mkdir(exist_ok=True)
    files = []
    for plan in plans:
        files.append(folder / f"{Path(plan.output).name}.json")
        files[-1].write_text(json.dumps(asdict(plan)))
    launch = [
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        str(CONFIGURATIONS / f"{configuration}.yaml"),
    ]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "CUDA_VISIBLE_DEVICES": "",
    }
    with open(folder / "log", "wb") as log:
        return subprocess.Popen(
            [sys.executable, *launch, "--main_process_port", "0", str(SCRIPT), *map(str, files)],
            env=environment,
            stdout=log,
            stderr=log,
        )


def finish(process: Any, folder: Any) -> None:
    status = process.wait(timeout=300)
    assert status == 0, (folder / "log").read_text()[-4000:]


def killed(process: Any, folder: Any, rank: Any, plan: TrainPlan) -> None:
    """Kill one process of the run with its first whole checkpoint; the launcher ends the other."""
    partial, deadline = Path(plan.output + ".partial"), time.monotonic() + 240
    before = set(partial.glob("checkpoint-*/complete"))
    while set(partial.glob("checkpoint-*/complete")) <= before:
        assert process.poll() is None, (folder / "log").read_text()[-4000:]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(int((folder / f"pid-{rank}").read_text()), signal.SIGKILL)
    assert process.wait(timeout=120) != 0
    assert not Path(plan.output).exists()


def flip_a_bit_of_the_second(partial: Any) -> Any:
    """Damage what the second process wrote to the newest checkpoint; the file's name."""
    sealed = sorted(
        partial.glob("checkpoint-*/complete"), key=lambda path: int(path.parent.name.split("-")[1])
    )
    assert len(sealed) >= 2
    newest = sealed[-1].parent
    files = [path for path in newest.rglob("*") if "rank_1" in path.name or path.name == "rng_state_1.pth"]
    file = max(files, key=lambda path: path.stat().st_size)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    return file.relative_to(newest).as_posix()


@pytest.fixture
def plan(plan: TrainPlan, data_file: str, tmp_path: Path) -> Any:
    """Twenty-four steps over 45 rows, so that the last step of an epoch is short and the two processes' shares are unequal."""
    data = tmp_path / "train.jsonl"
    data.write_text("".join(Path(data_file).read_text().splitlines(keepends=True)[:45]))
    return replace(plan, data=str(data), epochs=4, checkpoint_steps=5)


@pytest.mark.parametrize(("configuration", "sharding"), KINDS)
def test_two_processes_are_one_and_kills_change_nothing(
    plan: TrainPlan, tmp_path: Path, configuration: Any, sharding: Any
) -> None:
    """To 1e-6 one process; bit for bit the same two that were not killed."""
    one, folder = train(plan), tmp_path / "launch"
    assert json.loads((one / "run.json").read_text())["metrics"]["steps"] == 24
    two = replace(plan, batch_size=4)
    whole = replace(two, output=str(tmp_path / "whole"))
    finish(launched(configuration, folder, whole), folder)
    assert [(folder / f"sharding-{rank}").read_text() for rank in (0, 1)] == [sharding] * 2
    assert difference(one, whole.output) < 1e-6
    assert difference(one, plan.student) > 0.01

    again = replace(two, output=str(tmp_path / "again"), epochs=40, checkpoint_steps=4)
    long = replace(again, output=str(tmp_path / "long"))
    finish(launched(configuration, folder, long), folder)
    for rank in (0, 1):
        killed(launched(configuration, folder, again), folder, rank, again)
    damaged = flip_a_bit_of_the_second(Path(again.output + ".partial"))
    finish(launched(configuration, folder, again), folder)
    assert difference(long.output, again.output) == 0
    log = (folder / "log").read_text()
    assert log.count(f"{damaged} was altered") == 1  # the first process alone looks, and says so
    assert "training goes on from checkpoint-" in log


@pytest.mark.parametrize(("configuration", "sharding"), KINDS)
def test_one_process_after_another_trains_what_one_process_does(
    plan: TrainPlan, data_file: str, tmp_path: Path, configuration: Any, sharding: Any
) -> None:
    """Several runs in the same two processes: adapters, choices on dev data of which one process has a batch more, bfloat16."""
    dev = tmp_path / "dev.jsonl"
    dev.write_text("".join(Path(data_file).read_text().splitlines(keepends=True)[-17:]))
    plan = replace(plan, epochs=2)
    changes: dict[str, dict[str, Any]] = {
        "adapter": {"lora_rank": 4, "lora_dropout": 0.0, "bf16": True},
        "loss": {"dev": str(dev), "select": "dev-loss"},
        "words": {"dev": str(dev), "select": "rougeL"},
        "half": {"bf16": True},
    }
    folder = tmp_path / "launch"
    plans = {
        name: replace(plan, output=str(tmp_path / f"two-{name}"), batch_size=4, **change)
        for name, change in changes.items()
    }
    finish(launched(configuration, folder, *plans.values()), folder)
    assert (folder / "sharding-1").read_text() == sharding
    exact = {"loss": 1e-6, "words": 1e-6}  # bfloat16 rounds elsewhere in each of the frameworks
    for name, change in changes.items():
        one = train(replace(plan, output=str(tmp_path / f"one-{name}"), **change))
        assert difference(one, plans[name].output) < exact.get(name, 0.03)
        ours, theirs = (
            json.loads((Path(output) / "run.json").read_text()) for output in (one, plans[name].output)
        )
        for key in ("cross_entropy", "divergence"):
            mine, other = ([entry[key] for entry in run["metrics"]["history"]] for run in (ours, theirs))
            assert mine == pytest.approx(other, rel=exact.get(name, 0.02))
        assert [pytest.approx(scores, rel=1e-4) for scores in ours["metrics"]["dev"]] == theirs["metrics"][
            "dev"
        ]
    for name, after in weights(plans["half"].output).items():
        assert not torch.equal(after, after.bfloat16().float()), (
            f"{name}: saved as the copy that computes, not as the master"
        )
