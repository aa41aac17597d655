"""``harness publish`` writes a board from its records."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.plugins import Command

if TYPE_CHECKING:
    from harness.board import BoardSpec


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "spec", type=Path, nargs="+", metavar="SPEC", help="board specification (NAME.json beside NAME.md)"
    )
    new = parser.add_argument_group("a new board", "write the specification first; it must not be there yet")
    new.add_argument("--records", type=Path, nargs="+", metavar="RECORD", help="its rows")
    new.add_argument("--columns", nargs="+", metavar="KEY", help="its scores; the first one ranks")
    new.add_argument(
        "--compare",
        nargs=2,
        action="append",
        default=[],
        metavar=("BASELINE", "CANDIDATE"),
        help="two models of the records to test against each other; may be given again",
    )
    new.add_argument("--title", help="its title (default: the file's name)")


def _run(arguments: Namespace) -> int:
    import os

    from harness.board import publish

    new = _new_spec(arguments) if arguments.records else None
    if new is None and (arguments.columns or arguments.compare or arguments.title):
        raise HarnessError("--columns, --compare and --title describe a new board", "Give its --records too.")
    for spec in arguments.spec:
        print(publish(spec, new=new, workers=os.cpu_count() or 1))
    return 0


def _new_spec(arguments: Namespace) -> BoardSpec:
    from harness.board.spec import BoardSpec
    from harness.records.compare import default_keys
    from harness.records.reading import load_header

    (path, *more) = arguments.spec
    if more or path.exists():
        raise HarnessError(
            f"{path}: is there already"
            if path.exists()
            else "--records describe one board, and several are named",
            "Edit the specification, or name another.",
        )
    folder = path.resolve().parent
    outside = [file for file in arguments.records if not file.resolve().is_relative_to(folder)]
    HarnessError.raise_for(
        [f"{file}: lies outside {folder}" for file in outside],
        "Keep records below the board: its links lead to them.",
    )
    headers = {file: load_header(file) for file in arguments.records}
    first, *_ = headers.values()
    return BoardSpec(
        title=arguments.title or path.stem,
        columns=arguments.columns or default_keys(first, first)[:4],
        rows=[
            {"label": header.model, "record": file.resolve().relative_to(folder).as_posix()}
            for file, header in headers.items()
        ],
        comparisons=arguments.compare,
        notes=[],
    )


COMMAND = Command(
    name="publish", help="write a leaderboard from its records", add_arguments=_add_arguments, run=_run
)
