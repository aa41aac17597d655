"""The precision that a model is saved in: by default the one that it came in, so that it is evaluated as its untuned self is."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.files import write_atomic
from harness.models.device import DTYPES
from harness.models.weights import weight_files

if TYPE_CHECKING:
    from torch import Tensor

_STORED = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""Names in the headers of safetensors files."""


def stored_dtype(folder: Path) -> str:
    """The one of `DTYPES` that most numbers of a model are stored in; ``float32`` where they are in none of them.

    Read from the headers of the weight files: config.json may say something else.
    """
    from safetensors import safe_open

    numbers: Counter[str] = Counter()
    for path in weight_files(folder):
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 - a safetensors file is no mapping
                tensor = file.get_slice(name)
                numbers[tensor.get_dtype()] += math.prod(tensor.get_shape())
    known = {_STORED[kind]: count for kind, count in numbers.items() if kind in _STORED}
    return max(known, key=known.__getitem__, default="float32")


def cast(state: Mapping[str, Tensor], dtype: str) -> dict[str, Tensor]:
    """A model's state on the processor, its floating-point numbers in ``dtype``; names of one tensor stay names of one.

    Raises:
        HarnessError: If a finite number is too large for ``dtype``.
    """
    import torch

    target: torch.dtype = getattr(torch, dtype)
    made: dict[tuple[int, torch.Size], Tensor] = {}
    found = {}
    for name, tensor in state.items():
        key = (tensor.data_ptr(), tensor.shape)
        if key not in made or not tensor.numel():
            made[key] = tensor.detach().to("cpu", target if tensor.is_floating_point() else tensor.dtype)
            require_finite(name, tensor, made[key])
        found[name] = made[key]
    return found


def require_finite(name: str, before: Tensor, after: Tensor) -> None:
    """Refuse a precision that a number does not fit in.

    Raises:
        HarnessError: If ``after`` has an infinity or NaN where ``before`` has none.
    """
    if not bool(after.isfinite().all()) and bool(before.isfinite().all()):
        kind = str(after.dtype).removeprefix("torch.")
        raise HarnessError(
            f"{name}: holds {before.abs().max().item():.3g}, which {kind} cannot",
            "Save with --save-dtype bfloat16 or float32.",
        )


def state_dtype(folder: Path, dtype: str) -> None:
    """Make the ``dtype`` in config.json, and in the configurations within it, the one that the weights are stored in."""
    path = folder / "config.json"
    write_atomic(
        path, json.dumps(_stated(json.loads(path.read_text("utf-8")), dtype), indent=2, sort_keys=True) + "\n"
    )


def _stated(config: dict[str, Any], dtype: str) -> dict[str, Any]:
    stated = {
        name: _stated(value, dtype) if isinstance(value, dict) else value for name, value in config.items()
    }
    return stated | ({"dtype": dtype} if config.get("dtype") in DTYPES else {})
