"""The file that a run leaves beside its output, and that repeats it: ``harness COMMAND --config OUTPUT.run.yaml``.

It holds the options that differ from their defaults, without secrets, and is there before the work starts. A call that ends
in an error message takes its file back, so that one which was refused leaves the file of the run that stands there.
"""

from __future__ import annotations

import contextlib
import os
import sys
from argparse import Action
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness import __version__
from harness.cli._config import Call
from harness.errors import HarnessError
from harness.files import write_atomic
from harness.plugins import settings
from harness.redaction import is_secret, without_secrets

SUFFIX = ".run.yaml"


@contextlib.contextmanager
def run_file(call: Call) -> Iterator[None]:
    """Write the file that repeats a call, and take it back if the block is refused with a `HarnessError`.

    Of several processes the first writes it, and a dry run writes none. A run whose file cannot be written goes on.
    """
    beside = vars(call.arguments).pop("run_file", None)
    vars(call.arguments).pop("config", None)
    dry = getattr(call.arguments, "dry_run", False) or os.environ.get("RANK", "0") != "0"
    output = None if beside is None or dry else beside(call.arguments)
    if output is None:
        yield
        return
    path = Path(f"{Path(output).resolve()}{SUFFIX}")
    made = [parent for parent in path.parents if not parent.exists()]
    before = path.read_bytes() if path.is_file() else None
    try:
        if (text := as_yaml(call)).encode() != before:
            write_atomic(path, text)
    except OSError as error:
        print(
            f"harness: warning: {path}: the run's options are not kept: {error.strerror}",
            file=sys.stderr,
        )
        yield
        return
    try:
        yield
    except HarnessError:
        with contextlib.suppress(OSError):
            _take_back(path, before, made)
        raise


def _take_back(path: Path, before: bytes | None, made: Sequence[Path]) -> None:
    if before is not None:
        write_atomic(path, before)
        return
    path.unlink()
    for folder in made:  # the innermost first; one that holds something else stays
        folder.rmdir()


def as_yaml(call: Call) -> str:
    """The file that repeats a call: what differs from the defaults, without secrets."""
    import yaml

    stated: dict[str, Any] = {"command": call.name, "harness": __version__}
    lines = [
        f"# `harness {call.name} --config FILE` repeats this run, from the folder in which it was called."
    ]
    for name, action in call.options.items():
        if name == "dry_run" or not hasattr(call.arguments, action.dest):
            continue
        value = getattr(call.arguments, action.dest)
        if value == (default := call.defaults[action.dest]) or (value == [] and not default):
            continue
        plain = value == action.const if action.nargs == 0 else _plain(value)
        kept = _kept(name, action, plain)
        if kept != plain:
            lines.append(f"# left out, since it looks like a secret: {name}{', in part' if kept else ''}")
        if kept == plain or kept:
            stated[name] = kept
    body = yaml.safe_dump(stated, sort_keys=False, allow_unicode=True, width=10_000)
    return "\n".join([*lines, body])


def _plain(value: Any) -> Any:
    """A value as YAML has it: a path, or what a type of its own made, as text."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str) else str(value)


def _kept(name: str, action: Action, value: Any) -> Any:
    if isinstance(value, list):
        return [item for item in value if not is_secret(name, item)]
    if action.type is settings:
        return without_secrets(str(value))
    return None if is_secret(name, value) else value
