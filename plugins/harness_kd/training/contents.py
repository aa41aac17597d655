"""What the files of a folder held when they were written, to tell later whether they still do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness.files import sha256_file

Contents = dict[str, dict[str, Any]]
"""Path relative to the folder -> ``bytes`` and ``sha256``."""
_READERS = 4
"""Files read at once: hashing leaves the interpreter's lock, and one thread alone hashes slower than a disk reads."""


def contents(folder: Path, *, without: Iterable[str] = ()) -> Contents:
    """Sizes and hashes of all files below a folder, but for those at the paths ``without``."""
    left_out = set(without)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in files]
    kept = [name for name in names if name not in left_out]
    with ThreadPoolExecutor(_READERS) as readers:
        hashes = list(readers.map(lambda name: sha256_file(folder / name), kept))
    return {
        name: {"bytes": (folder / name).stat().st_size, "sha256": digest}
        for name, digest in zip(kept, hashes, strict=True)
    }


def changes(folder: Path, stored: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is wrong with each of the ``stored`` files, such as ``optimizer.pt is missing``; files beside them do not count.

    Sizes are compared before anything is read.
    """
    found: dict[str, str] = {}
    for name, was in stored.items():
        path = folder / name
        if not path.is_file():
            found[name] = "is missing"
        elif path.stat().st_size != was["bytes"]:
            found[name] = f"has {path.stat().st_size} bytes, not {was['bytes']}"
    left = [name for name in stored if name not in found]
    with ThreadPoolExecutor(_READERS) as readers:
        for name, problem in zip(
            left, readers.map(lambda n: _altered(folder / n, stored[n]), left), strict=True
        ):
            if problem:
                found[name] = problem
    return [f"{name} {problem}" for name, problem in sorted(found.items())]


def _altered(path: Path, was: Mapping[str, Any]) -> str | None:
    try:
        same = sha256_file(path) == was["sha256"]
    except OSError as error:  # a disk that fails
        return f"cannot be read: {error.strerror}"
    return None if same else "was altered (its SHA-256 is another)"
