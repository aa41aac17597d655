"""No result depends on last bits: inputs are shaken by a few of them, and other kernels compute the same."""

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from harness.stats.rounding import agrees, rounded

SCRIPT = Path(__file__).parent / "portable.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("portable", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


portable = load()


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two results differ: numbers by more than 1e-9 of their size or when published, anything else at all."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [line for key in one for line in differences(one[key], other[key], f"{path}/{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [
            line
            for i, pair in enumerate(zip(one, other, strict=True))
            for line in differences(*pair, f"{path}/{i}")
        ]
    if type(one) is float and type(other) is float:
        if (
            "p_value" in path or "/many/" in path
        ):  # p-values agree in their own digits; the tail magnifies noise by ln p
            same = math.isclose(one, other, rel_tol=1e-9 * max(1.0, -math.log(min(one, other))), abs_tol=0.0)
        else:  # what one machine publishes is what another verifies
            same = math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9) and agrees(rounded(other), one)
        return [] if same else [f"{path}: {one!r} and {other!r}"]
    return [] if one == other and type(one) is type(other) else [f"{path}: {one!r} and {other!r}"]


def test_the_comparison_finds_what_differs() -> None:
    result = {"one": {"p_value": 1e-20, "delta": 0.5}, "names": ["a", None, True]}
    assert not differences(
        result, {"one": {"p_value": 1e-20, "delta": 0.5 + 1e-12}, "names": ["a", None, True]}
    )
    changed = {"one": {"p_value": 2e-20, "delta": 0.5 + 1e-8}, "names": ["a", 0.0, False]}
    assert len(differences(result, changed)) == 4
    assert differences(0.0, 1e-17)


def shaken(generator: np.random.Generator) -> Any:
    """A function that moves every number by up to 4 units in its last place."""

    def shake(values: np.ndarray) -> np.ndarray:
        return values + generator.integers(-4, 5, values.shape) * np.spacing(np.abs(values))

    return shake


def shakes(sizes: tuple[int, ...], repeats: int) -> None:
    still = portable.everything(sizes=sizes)
    for seed in range(repeats):
        moved = portable.everything(shaken(np.random.default_rng(seed)), sizes)
        assert not differences(still, moved)


@pytest.mark.parametrize(("size", "repeats"), [(3, 30), (9, 12), (20, 2), (30, 2), (60, 4), (300, 2)])
def test_a_few_units_in_the_last_place_change_nothing(size: int, repeats: int) -> None:
    shakes((size,), repeats)


@pytest.mark.slow
@pytest.mark.parametrize("size", [3, 4, 9, 16, 24, 30, 49, 50, 60, 300, 2000])
def test_a_few_units_in_the_last_place_change_nothing_often(size: int) -> None:
    shakes((size,), 20)


KERNELS = ("Prescott", "Nehalem", "Sandybridge", "Haswell", "Zen", "SkylakeX", "Cooperlake")


def computed(**settings: str) -> Any:
    """What another process computes; None where this processor cannot run the kernels asked for."""
    run = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[2]), **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode < 0:  # killed by a signal: an instruction that is missing here
        return None
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def architectures(**settings: str) -> str:
    """The kernels that numpy's BLAS takes under these settings."""
    code = (
        "import numpy, threadpoolctl; print([i.get('architecture') for i in threadpoolctl.threadpool_info()])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    return run.stdout.strip()


@pytest.fixture(scope="module")
def here() -> Any:
    return json.loads(json.dumps(portable.everything()))


def test_the_oldest_blas_kernel_computes_the_same(here: Any) -> None:
    found = computed(OPENBLAS_CORETYPE="Prescott", OPENBLAS_NUM_THREADS="2", OMP_NUM_THREADS="2")
    assert found is None or not differences(here, found)


@pytest.mark.slow
def test_every_blas_kernel_computes_the_same(here: Any) -> None:
    tried: set[str] = set()
    for kernel in KERNELS:
        name = architectures(OPENBLAS_CORETYPE=kernel)
        if not name or name in tried:  # an alias, or another BLAS that heeds no such setting
            continue
        tried.add(name)
        for count in ("1", "2"):
            found = computed(OPENBLAS_CORETYPE=kernel, OPENBLAS_NUM_THREADS=count, OMP_NUM_THREADS=count)
            assert found is None or not differences(here, found), (kernel, count)


def test_numpy_without_wide_vectors_computes_the_same(here: Any) -> None:
    from numpy._core import _multiarray_umath as core  # the names differ between releases

    names = [name for name in core.__cpu_dispatch__ if core.__cpu_features__.get(name)]
    found = computed(NPY_DISABLE_CPU_FEATURES=" ".join(names))
    assert found is not None
    assert not differences(here, found)
