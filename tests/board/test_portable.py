"""A board is the same on every machine: whatever the last bits of its numbers are there."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.board import publish, verify
from harness.records import Record, compare, failures, headlines
from harness.stats import Difference
from harness.stats.bootstrap import Interval
from harness.stats.matched import Estimate

ROOT = Path(__file__).resolve().parents[2]
MakeRecord = Callable[..., Record]
WriteBoard = Callable[..., Path]
KERNELS = ("Prescott", "Nehalem", "Sandybridge", "Haswell", "Zen", "SkylakeX")
NEEDS = {"Sandybridge": "avx", "Haswell": "avx2", "Zen": "avx2", "SkylakeX": "avx512f"}


def shaken(value: Any, generator: np.random.Generator) -> Any:
    """The same with every float moved by up to four units in its last place."""
    if isinstance(value, float):
        return value + float(generator.integers(-4, 5)) * float(np.spacing(value))
    if isinstance(value, np.ndarray) and value.dtype == np.float64:
        return value + generator.integers(-4, 5, value.shape) * np.spacing(value)
    if isinstance(value, Interval):
        return Interval(shaken(value.low, generator), shaken(value.high, generator))
    if isinstance(value, tuple):
        return tuple(shaken(item, generator) for item in value)
    if isinstance(value, Difference | Estimate):
        fields = {name: shaken(item, generator) for name, item in vars(value).items()}
        return type(value)(**fields)
    return value


def board(make_record: MakeRecord, write_board: WriteBoard) -> Path:
    generator = np.random.default_rng(0)
    hard = generator.random(120)
    rows = []
    for name, better in (("sft", 0.0), ("kd", 0.15), ("twin", 0.0), ("worse", -0.2)):
        right = (generator.random(120) < 0.4 + 0.4 * hard + better).astype(float)
        overlap = np.clip(hard * 0.6 + better + generator.normal(0, 0.1, 120), 0, 1)
        columns = {
            "oracle_faithfulness": list(right),
            "rougeL": list(np.round(overlap, 1)),  # many ties
            "length": list(generator.integers(5, 30, 120).astype(float)),
            "density": list(generator.integers(1, 90, 120) / 10),
        }
        rows.append(make_record(name, columns))
    return write_board(
        *rows, columns=["oracle_faithfulness", "rougeL"], comparisons=[["sft", "kd"], ["sft", "twin"]]
    )


def test_a_board_is_verified_where_every_statistic_differs_in_its_last_bits(
    make_record: MakeRecord, write_board: WriteBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = board(make_record, write_board)
    publish(path)
    generator = np.random.default_rng(1)

    def shake(module: Any, name: str) -> None:
        original = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, **k: shaken(original(*a, **k), generator))

    for name in ("compare_rates", "compare_means", "adjusted_mean", "matched_mean"):
        shake(compare, name)
    shake(headlines, "computed")
    for name in ("pairwise_p_values", "pairwise_p_statistics", "pseudo_values"):
        shake(failures, name)
    for _ in range(20):
        verify(path)


def kernels() -> list[str]:
    """Those that this processor can run."""
    if platform.machine() != "x86_64":
        return []
    try:
        flags = Path("/proc/cpuinfo").read_text().split("flags", 1)[1].splitlines()[0].split()
    except (OSError, IndexError):
        return []
    return [kernel for kernel in KERNELS if NEEDS.get(kernel, "sse2") in flags]


@pytest.mark.slow
@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("kernel", kernels())
def test_the_committed_boards_are_verified_under_other_kernels(kernel: str, threads: str) -> None:
    _verify_under(kernel, threads)


@pytest.mark.skipif(not kernels(), reason="OpenBLAS cannot be told its kernels here")
def test_the_committed_boards_are_verified_under_the_oldest_kernel() -> None:
    _verify_under(kernels()[0], "1")


def _verify_under(kernel: str, threads: str) -> None:
    specs = sorted(str(path) for path in ROOT.glob("leaderboards/*.json") if "." not in path.stem)
    environment = {
        **os.environ,
        "OPENBLAS_CORETYPE": kernel,
        "OPENBLAS_NUM_THREADS": threads,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}",
    }
    done = subprocess.run(
        [sys.executable, "-m", "harness", "verify", *specs],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("every cell follows") == len(specs)
