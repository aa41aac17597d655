"""Memory of one process: what holds it at its fullest moment, and what is free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from harness.models.device import choose_device

PROCESS, LABELS, TEACHER, EXCHANGE, CACHE = "process", "soft labels", "teacher", "exchange", "cache"


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a process holds at its fullest moment."""

    parts: Mapping[str, int]
    """What holds it -> bytes. On a processor the process itself is among them; on an accelerator it is what its allocator gives."""
    note: str = ""
    """What of it is not known, and why."""

    @property
    def total(self) -> int:
        """Bytes."""
        return sum(self.parts.values())

    @property
    def yet(self) -> int:
        """Bytes that are to come: this process is there already."""
        return self.total - self.parts.get(PROCESS, 0)


@lru_cache(maxsize=1)
def process_bytes() -> int:
    """Resident bytes of this process with all that training imports, before any model; asked once, for probes leave something.

    0 where models run on an accelerator.
    """
    if choose_device().type != "cpu":
        return 0
    import psutil
    import transformers.trainer  # noqa: F401

    import harness_kd.training.trainer  # noqa: F401

    return int(psutil.Process().memory_info().rss)
