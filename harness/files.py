"""Reading and writing files: whole or not at all, with errors that name file and line.

Nothing else in the project opens a file for writing. A reader therefore never sees half a file, and a run
that was killed leaves either the old content or the new.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from harness.errors import HarnessError


@contextmanager
def atomic_writer(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` that takes its place when the block ends without an error.

    The bytes are on disk (fsync) before the rename, so a crash leaves the old file or the new one. A
    symbolic link is followed: its target is replaced. Missing parent folders are made.

    Raises:
        OSError: With ``path`` as its filename, also for a full disk, where the system names no file.
    """
    target = Path(os.path.realpath(path))
    temporary = target.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        _sync_folder(target.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def write_atomic(path: str | os.PathLike[str], data: str | bytes) -> None:
    """Write a whole file or nothing; text is UTF-8 with its line ends untouched. See `atomic_writer`."""
    with atomic_writer(path) as file:
        file.write(data.encode("utf-8") if isinstance(data, str) else data)


def write_jsonl(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> int:
    """Write one JSON object per line, all rows or none, and return their number.

    Raises:
        ValueError: If a row holds NaN or an infinity, which JSON does not have.
    """
    count = 0
    with atomic_writer(path) as file:
        for row in rows:
            file.write(_json_line(row))
            count += 1
    return count


def append_row(path: str | os.PathLike[str], row: Mapping[str, Any]) -> None:
    """Add a row to a log: a JSON Lines file that grows, of which a kill can tear the last line; `read_log` passes that over."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            torn = file.read(1) != b"\n"
            file.seek(0, os.SEEK_END)
            if torn:
                file.write(b"\n")
        file.write((json.dumps(row) + "\n").encode("ascii"))


def read_log(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """The whole rows of a log, see `append_row`; none where there is no file."""
    if not Path(path).is_file():
        return
    with open(path, "rb") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row


def _json_line(row: Mapping[str, Any]) -> bytes:
    try:
        return (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate has no UTF-8 form, but its JSON escape reads back the same
        return (json.dumps(row, allow_nan=False) + "\n").encode("ascii")


def read_jsonl(path: str | os.PathLike[str], *, allow_nan: bool = False) -> list[dict[str, Any]]:
    """All rows of a JSON Lines file. See `iter_jsonl`."""
    return list(iter_jsonl(path, allow_nan=allow_nan))


def iter_jsonl(path: str | os.PathLike[str], *, allow_nan: bool = False) -> Iterator[dict[str, Any]]:
    """Read a JSON Lines file row by row; blank lines are skipped.

    Args:
        path: UTF-8 file, with or without a byte-order mark.
        allow_nan: Accept the bare ``NaN`` and ``Infinity`` that Python's own writer, and so lm-eval, puts
            into files.

    Raises:
        HarnessError: If the file cannot be opened, or a line, which it names, is not UTF-8, not JSON or no
            object.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed by the with below; only opening may be translated
    except OSError as error:
        problem = f"{path}: cannot be read: {error.strerror}"
        raise HarnessError(problem, "Give the path of a JSON Lines file.") from error
    with file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = parse_json(line.decode("utf-8-sig" if number == 1 else "utf-8"), allow_nan=allow_nan)
                if not isinstance(row, dict):
                    raise ValueError(f"expected an object, found {type(row).__name__}")
            except (
                ValueError,
                RecursionError,
            ) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
                raise HarnessError(
                    f"{path}, line {number}: {error}", "Each line must be one JSON object in UTF-8."
                ) from error
            yield row


def parse_json(text: str, *, allow_nan: bool = False) -> Any:
    """What a JSON text says.

    Args:
        text: One value.
        allow_nan: As in `iter_jsonl`.

    Raises:
        ValueError: If it is not JSON.
        RecursionError: If it is nested too deeply.
    """
    return json.loads(text, parse_constant=None if allow_nan else _refuse_constant)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def canonical_json(value: Any) -> str:
    """The one JSON text of a value, for hashing: sorted keys, no spaces, ASCII only.

    Raises:
        ValueError: If the value holds NaN or an infinity.
        TypeError: If it holds something that JSON has no form for.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def sha256_bytes(data: bytes) -> str:
    """Hexadecimal SHA-256 of some bytes."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: str | os.PathLike[str]) -> str:
    """Hexadecimal SHA-256 of a file's content, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def replace_dir(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary folder beside ``path`` that takes its place when the block ends without an error.

    For outputs that are several files, such as a model: the folder appears whole or not at all. An existing
    folder is replaced by two renames; a crash exactly between them leaves the old one under a hidden name
    beside it.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_dir():
        raise HarnessError(
            f"{path}: is a file, but a folder is to be written", "Choose another output folder."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(8)
    temporary, old = target.parent / f".{token}.tmp", target.parent / f".{target.name}.{token}.old"
    try:
        temporary.mkdir()
        yield temporary
        for file in temporary.rglob("*"):
            _sync(file)
        if target.exists():
            target.rename(old)
        temporary.rename(target)
        _sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def exclusive_lock(path: str | os.PathLike[str], problem: str) -> Iterator[None]:
    """Hold a lock file for the length of the block; the empty file stays behind.

    The system releases the lock however the process ends, so a killed run never blocks the next one.

    Args:
        path: The lock file, in a folder that exists.
        problem: What to tell the user when another process holds it.

    Raises:
        HarnessError: At once, if another process holds the lock.
    """
    import fcntl  # Unix only: whoever takes no lock needs no Unix

    with open(path, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HarnessError(problem, "Wait for it to end, then run the same command again.") from None
        yield


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # some file systems, and Windows, cannot sync a folder; the rename itself is done
        _sync(folder)
