"""Output folders: one run each, refused to another, finished whole or resumed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.files import exclusive_lock, write_atomic
from harness_kd.processes import agreed, rank
from harness_kd.training.contents import Contents, changes, contents

RUN_FILE = "run.json"


def partial_folder(output: Path) -> Path:
    """Where a run lives until it is finished."""
    return output.with_name(output.name + ".partial")


def is_finished(output: Path, identity: dict[str, Any]) -> bool:
    """Whether ``output`` already holds this very run.

    Args:
        identity: What decides the weights, as plain data.

    Raises:
        HarnessError: If the folder, or the unfinished run beside it, is another's, naming what differs; or if the finished model's
            files are no longer those that the run wrote.
    """
    for folder in (output, partial_folder(output)):
        _require_same(folder, identity)
    if not (output / RUN_FILE).exists():
        return False
    record = json.loads((output / RUN_FILE).read_text("utf-8"))
    written = record.get("files", {})  # a run from before there were hashes has none
    HarnessError.raise_for(
        [f"{output}: {change} since training finished" for change in changes(output, written)],
        f"Put the file back, or delete {output} to train it again, or choose another --output.",
    )
    return True


def model_contents(folder: Path) -> Contents:
    """Sizes and hashes of a model's files: weights, configurations and tokenizer."""
    return contents(folder, without=[RUN_FILE, "README.md"])  # a card may be written on


def _require_same(folder: Path, identity: dict[str, Any]) -> None:
    remedy = f"Choose another --output, or delete {folder} if it is not needed."
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folder.is_dir():
        raise HarnessError(f"{folder}: is a file, not a folder", remedy)
    if _has_computed_nothing(folder):
        return
    path = folder / RUN_FILE
    if not path.exists():
        raise HarnessError(f"{folder}: holds something that is not a training run", remedy)
    try:
        stored = json.loads(path.read_text("utf-8"))["identity"]
    except (ValueError, KeyError, TypeError) as error:
        raise HarnessError(f"{path}: damaged ({error})", remedy) from error
    differing = [
        f"{name} {stored.get(name)!r}, not {identity.get(name)!r}"
        for name in sorted({*stored, *identity})
        if stored.get(name) != identity.get(name)
    ]
    if differing:
        raise HarnessError(f"{folder}: holds another run: {'; '.join(differing)}", remedy)


def _has_computed_nothing(folder: Path) -> bool:
    """Whether an unfinished run stopped before its first checkpoint, so that another may take its place."""
    return folder.suffix == ".partial" and not any(child.is_dir() for child in folder.iterdir())


@contextmanager
def open_run(output: Path, identity: dict[str, Any]) -> Iterator[Path]:
    """Give the folder of an unfinished run, made and named if it is new, to this process alone.

    Of a distributed run, the first process holds the folder for all.

    Raises:
        HarnessError: If another run is training into the same output.
    """
    folder = partial_folder(output)
    if rank() > 0:
        agreed(lambda: None)  # that the first has it
        yield folder
        return
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(folder / "lock", f"{output}: another process is training it"):
        if not (folder / RUN_FILE).exists() or _has_computed_nothing(folder):
            write_atomic(folder / RUN_FILE, json.dumps({"identity": identity}, indent=2) + "\n")
        agreed(lambda: None)
        yield folder
