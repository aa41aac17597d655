"""Checkpoints of a run: sealed when they are whole, checked before they are used, the newest two kept.

A checkpoint is sealed by a marker file, written last, that holds the size and SHA-256 of every other file. One without it was cut
short; one whose files are others than those it names was damaged. Neither is resumed from.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from harness.files import canonical_json, write_atomic
from harness_kd.training.contents import changes, contents

MARKER = "complete"
_KEPT = 2
"""Sealed checkpoints that stay besides the best one; a third is written before the oldest goes."""
_STATE = "trainer_state.json"


def seal(checkpoint: Path) -> None:
    """Write the marker of a checkpoint whose files are all there."""
    write_atomic(
        checkpoint / MARKER, canonical_json({"files": contents(checkpoint, without=[MARKER])}) + "\n"
    )


def faults(checkpoint: Path) -> list[str]:
    """Why a checkpoint may not be used; empty for one that holds what was written."""
    try:
        stored = json.loads((checkpoint / MARKER).read_text("utf-8"))["files"]
        return changes(checkpoint, stored)
    except FileNotFoundError:
        return ["it was cut short"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [f"its marker '{MARKER}' holds no hashes"]


def usable_checkpoint(folder: Path, say: Callable[[str], None]) -> Path | None:
    """The newest checkpoint that holds what was written to it, and None without one.

    Those cut short are deleted. Damaged ones are moved to ``damaged-STEP``: they would stand in the way of the step's next
    checkpoint, and somebody may want to look at them.

    Args:
        folder: Of the unfinished run.
        say: Told about each checkpoint that is passed over, and what is done instead.
    """
    found = sorted(_checkpoints(folder), key=_step, reverse=True)
    for checkpoint in found:
        problems = faults(checkpoint) or _faults_of_best(checkpoint)
        if not problems:
            _tidy(folder, newest=checkpoint)
            if checkpoint != found[0]:
                say(f"training goes on from {checkpoint.name}, the newest that is whole")
            return checkpoint
        say(f"warning: {checkpoint} is not used: {'; '.join(problems)}")
        _put_aside(checkpoint)
    if found:
        say(f"warning: {folder} holds no whole checkpoint: training starts over")
    return None


def rotate(folder: Path, best: str | None = None) -> None:
    """Delete all sealed checkpoints but the newest `_KEPT` and the one named ``best``."""
    sealed = sorted((path for path in _checkpoints(folder) if (path / MARKER).exists()), key=_step)
    for checkpoint in sealed[:-_KEPT]:
        if checkpoint.name != best:
            _delete(checkpoint)


def best_checkpoint(checkpoint: Path) -> Path | None:
    """The checkpoint beside this one that was the best on dev data when this one was written."""
    step = json.loads((checkpoint / _STATE).read_text("utf-8")).get("best_global_step")
    return checkpoint.with_name(f"checkpoint-{step}") if step else None


def _faults_of_best(checkpoint: Path) -> list[str]:
    """Faults of the best checkpoint, which this one would end with."""
    best = best_checkpoint(checkpoint)
    if best is None or best == checkpoint:
        return []
    return [f"{best.name}, the best so far, is damaged: {problem}" for problem in faults(best)]


def _checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob("checkpoint-*") if path.is_dir()]


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.partition("-")[2])


def _tidy(folder: Path, *, newest: Path) -> None:
    """Delete older checkpoints that were cut short, as a kill within `rotate` leaves them."""
    for checkpoint in _checkpoints(folder):
        if _step(checkpoint) < _step(newest) and not (checkpoint / MARKER).exists():
            _delete(checkpoint)


def _put_aside(checkpoint: Path) -> None:
    if not (checkpoint / MARKER).exists():
        _delete(checkpoint)
        return
    aside = checkpoint.with_name(f"damaged-{_step(checkpoint)}")
    shutil.rmtree(aside, ignore_errors=True)
    checkpoint.rename(aside)


def _delete(checkpoint: Path) -> None:
    (checkpoint / MARKER).unlink(missing_ok=True)  # first, so that what a kill leaves counts as cut short
    shutil.rmtree(checkpoint, ignore_errors=True)
