"""The device that lm-eval's Hugging Face backend is told: one that it does not know, or that is not here, it replaces silently."""

from __future__ import annotations

import re

from harness.errors import HarnessError
from harness.models.device import choose_device

_KNOWN = re.compile(r"cpu|(cuda|npu)(:[0-9]+)?|mps(:0)?")
"""By these names (`lm_eval.models.huggingface.HFLM`); for any other it takes the processor, or the first GPU."""


def require_device(device: str | None, *, present: bool) -> None:
    """Refuse a device that would be replaced by another without a word.

    Args:
        device: As ``--device`` names it; None leaves the choice to us.
        present: Whether it must be on this machine; a command may be printed for another.

    Raises:
        HarnessError: If it is none, or is not here.
    """
    if device is None:
        return
    if not _KNOWN.fullmatch(device):
        raise HarnessError(
            f"--device {device}: no such device", "Choose cpu, cuda, cuda:N for one of several GPUs, or mps."
        )
    if present:
        choose_device(device, option="--device")
