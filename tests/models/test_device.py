"""One choice of device and precision for everyone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.errors import HarnessError
from harness.models import device
from harness.models.device import choose_device, choose_dtype, free_memory, placed, room_of_container


def test_the_processor_is_taken_where_there_is_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert choose_device() == choose_device("cpu") == torch.device("cpu")


def test_each_process_takes_an_accelerator_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four of them, on a machine that need not have one: torch's "meta" device stands for the kind."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("meta"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 4)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert choose_device() == choose_device("meta") == torch.device("meta", 0)
    for rank, index in (("0", 0), ("3", 3), ("6", 2)):
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert choose_device().index == choose_device("meta").index == index
    assert choose_device("meta:1").index == 1
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.skipif(torch.accelerator.is_available(), reason="an accelerator is there")
@pytest.mark.parametrize("wanted", ["cuda", "cuda:7", "abacus", "mps", ""])
def test_a_device_that_is_not_here_is_refused(wanted: str) -> None:
    with pytest.raises(HarnessError, match=f"--device={wanted}: "):
        choose_device(wanted, option="--device")


def test_precisions_are_named() -> None:
    assert [choose_dtype(name) for name in device.DTYPES] == [torch.float32, torch.bfloat16, torch.float16]
    with pytest.raises(HarnessError, match="judge_dtype=float8 is unknown"):
        choose_dtype("float8", option="judge_dtype")


def test_a_placed_module_computes_what_it_did() -> None:
    torch.manual_seed(0)
    module, inputs = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Tanh()), torch.randn(3, 8)
    with torch.inference_mode():
        expected = module(inputs)
        found = placed(module, torch.device("cpu"), torch.float32)(inputs)
        half = placed(torch.nn.Linear(8, 4), torch.device("cpu"), torch.bfloat16)
    assert torch.allclose(found, expected, atol=1e-6)
    assert half.weight.dtype == torch.bfloat16


def test_free_memory_is_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert 1 << 20 < free_memory() < 1 << 50


def test_a_containers_limit_bounds_what_is_free(tmp_path: Path) -> None:
    assert room_of_container(tmp_path) is None
    files = {"memory.max": "max", "memory.current": "700", "memory.stat": "anon 500\ninactive_file 150"}
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n")
    assert room_of_container(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    assert room_of_container(tmp_path) == 1000 - 700 + 150
    former = tmp_path / "former" / "memory"
    former.mkdir(parents=True)
    for name, text in (("limit", "1000"), ("usage", "1200")):
        (former / f"memory.{name}_in_bytes").write_text(text + "\n")
    (former / "memory.stat").write_text("total_inactive_file 100\n")
    assert room_of_container(former.parent) == 0


def test_bfloat16_is_computed_where_the_processor_says_so() -> None:
    flags = Path("/proc/cpuinfo")
    if torch.accelerator.is_available() or not flags.exists():
        pytest.skip("read off /proc/cpuinfo of a machine without an accelerator")
    named = {"amx_bf16", "avx512_bf16"} & set(flags.read_text().split())
    assert device.computes_bfloat16() == bool(named)
