"""The entry point: which commands distillation adds to ``harness``. Imports nothing heavy."""

from __future__ import annotations

from harness.plugins import Command
from harness_kd.commands.quickstart import QUICKSTART
from harness_kd.commands.soft_labels import SOFT_LABELS
from harness_kd.commands.train_kd import TRAIN_KD


class DistillationPlugin:
    """Adds ``quickstart``, ``train-kd`` and ``soft-labels``."""

    name = "distillation"

    def commands(self) -> list[Command]:
        """The commands, in the order of the help text."""
        return [QUICKSTART, TRAIN_KD, SOFT_LABELS]


PLUGIN = DistillationPlugin()
