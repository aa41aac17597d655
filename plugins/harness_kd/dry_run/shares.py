"""What each of several processes holds of a model that they train together."""

from __future__ import annotations

import os
from dataclasses import dataclass

from harness_kd.processes import world_size


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Into how many parts the processes divide each thing that training holds; 1: each process has all of it."""

    weights: int = 1
    gradients: int = 1
    optimizer: int = 1
    exchange: bool = False
    """Whether gradients stand a second time in the buffers in which they are exchanged (DistributedDataParallel)."""

    @classmethod
    def launched(cls) -> Shares:
        """As ``accelerate launch`` or torchrun has set this process's environment."""
        processes = world_size()
        if os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true"):
            return cls(weights=processes, gradients=processes, optimizer=processes)
        if os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() in ("1", "true"):
            stage = int(os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2"))
            return cls(
                weights=processes if stage == 3 else 1,
                gradients=processes if stage >= 2 else 1,
                optimizer=processes if stage >= 1 else 1,
            )
        return cls(exchange=processes > 1)
