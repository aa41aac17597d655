"""Peak memory of a block of code, for the benchmarks."""

from __future__ import annotations

import gc
from pathlib import Path

import torch


class PeakMemory:
    """``with PeakMemory(device) as peak: ...`` then ``peak.mib``: the most held inside the block above what was held before it.

    On a CPU this is the process's resident set, whose high-water mark Linux can reset; on a GPU the allocator's.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        self.mib = 0

    def __enter__(self) -> PeakMemory:
        gc.collect()
        if self._device == "cpu":
            Path("/proc/self/clear_refs").write_text("5")
            self._before = _status("VmRSS")
        else:
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated() // 1024
        return self

    def __exit__(self, *_: object) -> None:
        after = _status("VmHWM") if self._device == "cpu" else torch.cuda.max_memory_allocated() // 1024
        self.mib = (after - self._before) // 1024


def _status(field: str) -> int:
    """KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])
