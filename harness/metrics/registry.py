"""The metric families by the name that a task's ``metadata.metrics`` uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.errors import HarnessError
from harness.metrics.base import Metric


def _rouge() -> Metric:
    from harness.metrics.rouge import Rouge

    return Rouge()


def _chrf() -> Metric:
    from harness.metrics.chrf import ChrF

    return ChrF()


def _oracle() -> Metric:
    from harness.metrics.oracle import Oracle

    return Oracle()


def _surface() -> Metric:
    from harness.metrics.surface import Surface

    return Surface()


FAMILIES: dict[str, Callable[[], Metric]] = {
    "oracle": _oracle,
    "rouge": _rouge,
    "chrf": _chrf,
    "surface": _surface,
}


def build(names: Sequence[str]) -> list[Metric]:
    """The named families, in order.

    Raises:
        HarnessError: If a name is unknown.
    """
    unknown = [name for name in names if name not in FAMILIES]
    if unknown:
        raise HarnessError(
            f"no metric is called {', '.join(unknown)}", f"Choose from: {', '.join(FAMILIES)}."
        )
    return [FAMILIES[name]() for name in names]
