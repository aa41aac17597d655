"""``harness verify`` recomputes every cell of a board from its records."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from harness.plugins import Command


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "spec", type=Path, nargs="+", metavar="SPEC", help="board specification (NAME.json beside NAME.md)"
    )


def _run(arguments: Namespace) -> int:
    from harness.board import verify

    for spec in arguments.spec:
        print(f"{spec.with_suffix('.md')}: every cell follows from its {verify(spec)} records")
    return 0


COMMAND = Command(
    name="verify", help="recompute every cell of a leaderboard", add_arguments=_add_arguments, run=_run
)
