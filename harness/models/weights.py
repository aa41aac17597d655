"""A model's weight files and the names and shapes that they hold, from their headers: no weight is read."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.errors import HarnessError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_model.safetensors"
_PICKLES = ("pytorch_model.bin", "model.pt", "model.pkl", "pytorch_model.bin.index.json")
_LFS = b"version https://git-lfs"

Shapes = dict[str, tuple[int, ...]]
"""Name of each weight -> its shape."""


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers loads, some of which may be missing; none if the folder names none.

    Repositories may hold the same weights again, in another layout or precision.

    Raises:
        HarnessError: If the index of a model in shards is damaged.
    """
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    index = folder / INDEX
    if not index.is_file():
        return []
    try:
        return sorted(folder / str(name) for name in set(read_json(index)["weight_map"].values()))
    except (KeyError, AttributeError, TypeError) as error:
        raise HarnessError(f"{index}: damaged: it has no weight_map", _AGAIN) from error


_AGAIN = "Download or save the model again, whole."


def local_weights(folder: Path) -> Path:
    """The safetensors file of a folder whose model is in one file.

    Raises:
        HarnessError: If there is none; a pickle is named and never opened.
    """
    weights = folder / SINGLE
    if weights.is_file():
        return weights
    if pickled := pickles(folder):
        raise HarnessError(
            f"{folder}: its weights are a pickle ({pickled[0]}), which can run any code when it is opened",
            "Have its maker save it with safetensors (save_pretrained does), or convert it where you trust it.",
        )
    raise HarnessError(
        f"{folder}: no {SINGLE}", "Give the folder of a model with weights in safetensors format."
    )


def pickles(folder: Path) -> list[str]:
    """Names of the pickled weights in a folder."""
    return [name for name in _PICKLES if (folder / name).exists()] + [
        path.name for path in sorted(folder.glob("*.bin")) if path.name not in _PICKLES
    ]


def shapes(files: Sequence[Path]) -> Shapes:
    """Names and shapes of all weights in some safetensors files.

    Raises:
        HarnessError: For each file that is none: empty, cut short, a pointer of Git LFS, or something else.
    """
    found: Shapes = {}
    problems = []
    for path in files:
        try:
            found |= _header(path)
        except Exception as error:  # safetensors' and the system's errors have no common type
            problems.append(f"{path}: {_why_unreadable(path, error)}")
    HarnessError.raise_for(problems, _AGAIN)
    return found


def parameters(files: Sequence[Path]) -> int:
    """Numbers in some safetensors files. Errors as in `shapes`."""
    return sum(math.prod(shape) for shape in shapes(files).values())


def _header(path: Path) -> Shapes:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _why_unreadable(path: Path, error: Exception) -> str:
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            start = file.read(len(_LFS))
    except OSError as unreadable:
        return f"cannot be read: {unreadable.strerror}"
    if size == 0:
        return "is empty"
    if start == _LFS:
        return "is a pointer of Git LFS, not the weights (git lfs pull brings them)"
    return f"is not a whole safetensors file ({error})"


def read_json(path: Path) -> dict[str, Any]:
    """The settings in a JSON file.

    Raises:
        HarnessError: If it cannot be read or is no JSON object.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__}, not an object")
    except OSError as error:
        raise HarnessError(f"{path}: cannot be read: {error.strerror}", _AGAIN) from error
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise HarnessError(f"{path}: damaged: {error}", _AGAIN) from error
    return found
