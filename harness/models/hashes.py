"""Hashes of weight files: each file is read once, also over the processes that ask for it.

A checkpoint of 140 GB takes minutes to read, and a study names it in every task. What a file hashed to is therefore kept in the
user's cache, beside what tells that the file is still the same: its inode, size, and times of change to the nanosecond.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from harness.files import sha256_bytes, sha256_file, write_atomic
from harness.paths import cache_dir

_REMEMBERED_FROM = 64 << 20
"""Bytes; smaller files are read again in each process, which takes no longer than looking them up is worth."""
_SETTLED_NS = 2_000_000_000
"""A file changed this recently may change again within one tick of its file system's clock."""

State = tuple[int, int, int, int]


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, from memory where the file is unchanged since it was read.

    To find out whether the bytes on disk are what they were (bit rot changes no time), use `harness.files.sha256_file`.
    """
    path = path.resolve()
    return _in_process(path, state_of(path))


def state_of(path: Path) -> State:
    """What changes when a file does: inode, size, and times of its last change of content and of any kind."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@lru_cache(maxsize=4096)
def _in_process(path: Path, state: State) -> str:
    if state[1] < _REMEMBERED_FROM:
        return sha256_file(path)
    entry = cache_dir() / "hashes" / f"{sha256_bytes(os.fsencode(path))[:32]}.json"
    return _remembered(entry, state) or _read_and_remember(path, state, entry)


def _remembered(entry: Path, state: State) -> str | None:
    try:
        kept = json.loads(entry.read_text("utf-8"))
        return str(kept["sha256"]) if tuple(kept["state"]) == state else None
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or a damaged one: it is written anew
        return None


def _read_and_remember(path: Path, state: State, entry: Path) -> str:
    found = sha256_file(path)
    settled = time.time_ns() - max(state[2:]) > _SETTLED_NS
    if settled and state_of(path) == state:
        with suppress(OSError):  # a cache that cannot be written costs time alone
            write_atomic(entry, json.dumps({"path": str(path), "state": state, "sha256": found}) + "\n")
    return found
