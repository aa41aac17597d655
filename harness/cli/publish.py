"""``harness publish`` writes a board from its records."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from harness.plugins import Command


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "spec", type=Path, nargs="+", metavar="SPEC", help="board specification (NAME.json beside NAME.md)"
    )


def _run(arguments: Namespace) -> int:
    from harness.board import publish

    for spec in arguments.spec:
        print(publish(spec))
    return 0


COMMAND = Command(
    name="publish", help="write a leaderboard from its records", add_arguments=_add_arguments, run=_run
)
