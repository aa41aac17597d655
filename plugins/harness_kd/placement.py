"""Where a teacher runs: on the device of this process, or spread over all that there are where its weights do not fit one."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.models.device import choose_device
from harness_kd.processes import world_size

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from harness.models.source import ModelSource

_WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
_SHARE = 0.85
"""Of a device's free memory that weights may take: activations and a chunk of logits need some."""


@dataclass(frozen=True, kw_only=True)
class FreeMemory:
    """Bytes that are free."""

    processor: int
    """Main memory."""
    accelerators: Mapping[int, int] = field(default_factory=dict)
    """Index -> bytes, of those that this process sees."""
    own: int | None = None
    """Index of this process's accelerator; None without one, or where its memory cannot be asked for."""
    sharers: int = 1
    """Processes on this machine, each of which would hold a model."""

    @classmethod
    def measured(cls) -> FreeMemory:
        """What is free now."""
        import psutil
        import torch

        processor = int(psutil.virtual_memory().available)
        sharers = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        place = choose_device()
        if place.type != "cuda":
            return cls(processor=processor, sharers=sharers)
        free = {index: torch.cuda.mem_get_info(index)[0] for index in range(torch.cuda.device_count())}
        return cls(processor=processor, accelerators=free, own=place.index, sharers=sharers)

    def holds(self, weights: int) -> bool:
        """Whether this many bytes of weights fit the device of this process, its part of the main memory without one."""
        free = self.processor / self.sharers if self.own is None else self.accelerators[self.own]
        return weights <= _SHARE * free

    def budget(self) -> dict[int | str, int]:
        """Bytes of weights for each device, as accelerate's ``max_memory``; what is over goes to disk."""
        shares: dict[int | str, int] = {
            index: int(_SHARE * free) for index, free in self.accelerators.items()
        }
        return {**shares, "cpu": int(_SHARE * self.processor)}


def weight_bytes(source: ModelSource, dtype: str) -> int:
    """Bytes of a model's weights in a precision."""
    return source.parameters * _WIDTHS[dtype]


def place(source: ModelSource, *, dtype: str, memory: FreeMemory | None = None) -> PreTrainedModel:
    """Load a model where it fits, and say so where that is no one device.

    Args:
        source: The model.
        dtype: Of its weights.
        memory: By default what is free now.
    """
    free = memory or FreeMemory.measured()
    needed = weight_bytes(source, dtype)
    if free.holds(needed):
        return source.placed(dtype=dtype)
    model = source.model(dtype=dtype, device_map="auto", max_memory=free.budget())
    print(
        f"{source.role} {source.name}: {needed / 1e9:.3g} GB do not fit one device: {_spread(model)}",
        file=sys.stderr,
    )
    return model


def require_own(source: ModelSource, dtype: str, memory: FreeMemory | None = None) -> None:
    """Refuse a model of which each of several processes needs one, and that does not fit one device.

    Raises:
        HarnessError: If it does not.
    """
    if world_size() > 1 and not (memory or FreeMemory.measured()).holds(weight_bytes(source, dtype)):
        raise HarnessError(
            f"--online-teacher: {source.name} does not fit one device, and each of the {world_size()} processes needs its own",
            "Leave --online-teacher out: one process then captures its labels first, with all devices.",
        )


def free_device() -> None:
    """Give the memory of models that are done with back to the device."""
    from accelerate.utils.memory import clear_device_cache

    clear_device_cache(garbage_collection=True)


def _spread(model: Any) -> str:
    """Where the parts of a model are, in words."""
    parts = Counter(
        f"cuda:{where}" if isinstance(where, int) else str(where) for where in model.hf_device_map.values()
    )
    slow = "; what is on disk is read at every step, which is slow" if "disk" in parts else ""
    return ", ".join(f"{count} parts on {where}" for where, count in parts.items()) + slow


def input_device(model: Any) -> torch.device:
    """The device that a model's inputs belong on; the weights of a spread one may be anywhere, or on none."""
    import torch

    hook = getattr(model.get_input_embeddings(), "_hf_hook", None)
    if hook is not None and hook.execution_device is not None:
        return torch.device(hook.execution_device)
    place: torch.device = next(model.parameters()).device
    return place
