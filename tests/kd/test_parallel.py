"""The fused loss inside sharded models: FSDP2 on two gloo processes gives the weights of one."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

SCRIPT = Path(__file__).with_name("fsdp_step.py")
CONFIGURATIONS = Path(__file__).parents[2] / "plugins" / "harness_kd" / "accelerate"


@pytest.mark.slow
@pytest.mark.parametrize("tie", [True, False])
def test_fsdp2_on_two_processes_is_one(tmp_path: Path, build_model: Callable[..., str], tie: Any) -> None:
    model = build_model(tmp_path / "model", seed=3, tie=tie)
    for count in (1, 2):
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            str(count),
        ]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        output = tmp_path / f"{count}.safetensors"
        subprocess.run(
            [*command, str(SCRIPT), model, str(output)], check=True, env=environment, capture_output=True
        )
    one, two, before = (
        load_file(path)
        for path in (
            tmp_path / "1.safetensors",
            tmp_path / "2.safetensors",
            Path(model) / "model.safetensors",
        )
    )
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=0, atol=1e-6)
    assert max((one[name] - before[name]).abs().max() for name in before) > 0.01


def test_accelerate_configurations_are_shipped_and_say_how_to_use_them() -> None:
    found = {path.stem: yaml.safe_load(path.read_text()) for path in CONFIGURATIONS.glob("*.yaml")}
    assert {name: one["distributed_type"] for name, one in found.items()} == {
        "multi_gpu": "MULTI_GPU",
        "fsdp2": "FSDP",
        "deepspeed_zero2": "DEEPSPEED",
        "deepspeed_zero3": "DEEPSPEED",
    }
    assert all("accelerate launch" in path.read_text() for path in CONFIGURATIONS.glob("*.yaml"))
