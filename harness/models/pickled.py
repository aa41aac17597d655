"""Names and shapes of pickled weights, without running anything of the file.

lm-evaluation-harness loads such weights where a repository has no others (torch's reader admits tensors alone); here they are only
looked at. A pickle names functions and calls them: the few names that a file of weights needs resolve to stand-ins that keep shapes
and build no tensor, and any other name ends the reading.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from harness.errors import HarnessError
from harness.models.weights import Shapes, read_json

_SINGLE = "pytorch_model.bin"
_INDEX = "pytorch_model.bin.index.json"
LARGEST = 64 << 20
"""Bytes of the names and shapes; a model of 176 billion weights has 200 thousand."""


def pickled_files(folder: Path) -> list[Path]:
    """The files that transformers loads where there are no safetensors; none if there are none."""
    if (folder / _SINGLE).is_file():
        return [folder / _SINGLE]
    if not (folder / _INDEX).is_file():
        return []
    return sorted(folder / str(name) for name in set(read_json(folder / _INDEX)["weight_map"].values()))


def pickled_shapes(files: Sequence[Path]) -> Shapes:
    """Names and shapes of all weights in files that torch saved.

    Raises:
        HarnessError: For each file that holds anything else, or is damaged.
    """
    found: Shapes = {}
    problems = []
    for path in files:
        try:
            found |= _read(path)
        except Exception as error:  # what a forged file can make the reader raise has no end
            problems.append(f"{path}: refused, not a file of weights alone ({error or type(error).__name__})")
    HarnessError.raise_for(
        problems, "Have its maker save it with safetensors (save_pretrained does); nothing in it was run."
    )
    return found


def _read(path: Path) -> Shapes:
    with ZipFile(path) as archive:
        (entry,) = [info for info in archive.infolist() if info.filename.endswith("/data.pkl")]
        if entry.file_size > LARGEST:
            raise ValueError(f"names and shapes of more than {LARGEST >> 20} MiB")
        with archive.open(entry) as file:
            content = _Reader(file).load()
    if not isinstance(content, Mapping) or not all(isinstance(shape, tuple) for shape in content.values()):
        raise ValueError("it does not map names to tensors")
    return {str(name): shape for name, shape in content.items()}


def _tensor(_storage: None, _offset: int, size: Sequence[int], *_: Any) -> tuple[int, ...]:
    return tuple(int(length) for length in size)


def _parameter(shape: tuple[int, ...], *_: Any) -> tuple[int, ...]:
    return shape


_ALLOWED: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name.endswith("Storage"):
            return None
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}") from None

    def persistent_load(self, pid: Any) -> None:
        """In place of a storage: the numbers themselves are not read."""
