"""The teacher asked anew at every step, in place of a cache: for data that is never seen twice, or a disk that is too small."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from harness_kd.data.examples import Example
from harness_kd.placement import input_device
from harness_kd.soft_labels.capture import label_batch
from harness_kd.soft_labels.labels import SoftLabels
from harness_kd.soft_labels.manifest import Manifest


class LabelSource(Protocol):
    """Where a batch's soft labels come from: a `SoftLabelCache` or an `OnlineTeacher`."""

    manifest: Manifest

    def of(self, batch: Sequence[Example]) -> list[SoftLabels]:
        """The labels of each example."""


class OnlineTeacher:
    """Labels as `capture` makes them, top-K and rounding included, so that a run differs from a cached one in nothing but cost."""

    def __init__(self, teacher: Any, manifest: Manifest) -> None:
        self._teacher, self.manifest = teacher.eval(), manifest

    def of(self, batch: Sequence[Example]) -> list[SoftLabels]:
        """The teacher's labels of a batch, by one forward pass."""
        return label_batch(self._teacher, batch, self.manifest, input_device(self._teacher))
