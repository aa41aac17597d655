"""The entry point: which commands distillation adds to ``harness``. Imports nothing heavy."""

from __future__ import annotations

from harness.plugins import Command
from harness_kd import commands
from harness_kd.quickstart_command import QUICKSTART


class DistillationPlugin:
    """Adds ``quickstart``, ``train-kd`` and ``soft-labels``."""

    name = "distillation"

    def commands(self) -> list[Command]:
        """The commands, in the order of the help text."""
        return [QUICKSTART, commands.TRAIN_KD, commands.SOFT_LABELS]


PLUGIN = DistillationPlugin()
