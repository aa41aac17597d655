"""Our errors inside stock `lm_eval`, whose main is not ours: the message alone, as the `harness` command prints it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType

from harness.errors import HarnessError
from harness.redaction import masked


def install() -> None:
    """Print an uncaught `HarnessError` without its traceback, if this program is lm_eval and not one that uses us as a library."""
    program = Path(sys.argv[0])
    usual = sys.excepthook
    if not {"lm_eval", "lm-eval"} & {program.name, program.parent.name} or usual.__module__ == __name__:
        return

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if isinstance(error, HarnessError):
            print(masked(f"lm_eval: error: {error}"), file=sys.stderr)
        else:
            usual(kind, error, traceback)

    sys.excepthook = hook
