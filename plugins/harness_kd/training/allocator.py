"""glibc's allocator, told to give large blocks back when they are freed."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_M_MMAP_THRESHOLD = -3
_LARGE = 1 << 20
_USUAL = 32 << 20
"""What glibc raises its threshold to by itself (DEFAULT_MMAP_THRESHOLD_MAX of a 64-bit system)."""


@contextmanager
def large_blocks_given_back(wanted: bool = True) -> Iterator[None]:
    """Within the block, freed tensors of over 1 MiB on the processor return to the system at once.

    As it is, glibc keeps them in its heap, where small allocations split the holes, and the next tensor of the same size takes new
    memory: with gradient checkpointing, which frees and allocates most, much of what that saves (docs/log.md). New pages have to be
    cleared in return. Elsewhere than on glibc nothing changes.

    Args:
        wanted: Whether to do anything.
    """
    wanted = wanted and sys.platform == "linux"
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if wanted else None  # musl has none
    if set_option is None:
        yield
        return
    set_option(_M_MMAP_THRESHOLD, _LARGE)
    try:
        yield
    finally:
        set_option(_M_MMAP_THRESHOLD, _USUAL)
