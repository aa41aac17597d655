"""Reading published Lookback Lens classifiers, which are pickles of scikit-learn objects, without running anything of them.

A pickle names functions and calls them. Here the only names that resolve are the few that such a file needs, and they resolve to
inert stand-ins of this module: no numpy or scikit-learn object is built, and any other name ends the reading.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.files import sha256_bytes
from harness.lookback.classifier import Classifier

LARGEST = 64 << 20
"""Bytes; a published file has 9 thousand."""
_NUMBERS = {"f8", "f4", "i8", "i4"}


class _Parameters:
    """In place of ``LogisticRegression``."""

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Type:
    """In place of ``numpy.dtype``; call arguments are (code, align, copy), the state begins (version, byte order)."""

    def __init__(self, code: Any = None, *_: Any) -> None:
        self.code, self.order = code, "<"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def numpy(self) -> np.dtype[Any]:
        if self.code not in _NUMBERS or self.order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"numbers of type {self.order!r}{self.code!r}")
        found: np.dtype[Any] = np.dtype(self.order.replace("|", "=") + self.code)
        return found


class _Array:
    """In place of ``numpy.ndarray``; the state is (version, shape, type, Fortran order, bytes)."""

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, data = state
        self.values = _numbers(kind, data).reshape(shape, order="F" if fortran else "C")


def _numbers(kind: Any, data: Any) -> NDArray[Any]:
    if not isinstance(kind, _Type) or not isinstance(data, bytes):
        raise pickle.UnpicklingError("an array that is not of plain numbers")
    return np.frombuffer(data, kind.numpy())


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _scalar(kind: Any, data: Any) -> float:
    return float(_numbers(kind, data)[0])


_ALLOWED: Mapping[tuple[str, str], Any] = {
    ("sklearn.linear_model._logistic", "LogisticRegression"): _Parameters,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    **{
        (f"numpy.{core}.multiarray", name): function
        for core in ("core", "_core")
        for name, function in (("_reconstruct", _reconstruct), ("scalar", _scalar))
    },
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}") from None


def read_pickle(path: Path, *, layers: int | None = None) -> Classifier:
    """A published classifier, with the very weights of the file.

    Args:
        path: A pickle of ``{"clf": LogisticRegression, "best_threshold": float}``.
        layers: Of the model it was fitted on; the file does not say. None: as many as heads (32 x 32 for the published ones).

    Raises:
        HarnessError: If the file is anything else; nothing in it has run.
    """
    try:
        data = path.read_bytes()[: LARGEST + 1]
    except OSError as error:
        raise HarnessError(f"{path}: {error.strerror}", "Give the path of a published classifier.") from error
    try:
        if len(data) > LARGEST:
            raise ValueError(f"more than {LARGEST >> 20} MiB")
        content = _Reader(io.BytesIO(data)).load()
        state = content["clf"].state
        weight = np.asarray(state["coef_"].values, np.float64)
        bias = np.asarray(state["intercept_"].values, np.float64)
        classes = state["classes_"].values.tolist()
        threshold = float(content["best_threshold"])
        if weight.ndim != 2 or weight.shape[0] != 1 or bias.shape != (1,) or classes != [0, 1]:
            raise ValueError(f"weights of shape {weight.shape} for classes {classes}")
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise ValueError("weights that are not finite")
    except Exception as error:  # what a forged file can make the reader raise has no end
        raise HarnessError(
            f"{path}: refused, not a Lookback Lens classifier ({error})",
            "Only pickles with 'clf' (LogisticRegression) and 'best_threshold' are read; nothing in it was run.",
        ) from error
    size = weight.shape[1]
    layers = layers or round(size**0.5)
    if size % layers:
        raise HarnessError(
            f"{path}: {size} weights are not {layers} layers x a number of heads",
            "Say how many layers the model has: --layers N.",
        )
    info = {
        "imported_from": path.name,
        "pickle_sha256": sha256_bytes(data),
        "sklearn": str(state.get("_sklearn_version")),
    }
    return Classifier(weight=weight.reshape(layers, -1), bias=float(bias[0]), threshold=threshold, info=info)
