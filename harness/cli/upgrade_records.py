"""``harness upgrade-records`` converts the records of a former version."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from harness.plugins import Command


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="holds board specifications, with their records below it"
    )


def _run(arguments: Namespace) -> int:
    from harness.records.upgrade import upgrade

    done = upgrade(arguments.folder)
    for former, new in done.files:
        print(f"{former} -> {new.name}")
    if not done.files:
        print(f"{arguments.folder}: no record of a former version")
    for spec in done.specs:
        print(f"{spec}: names the new records; write its board again: harness publish {spec}")
    return 0


COMMAND = Command(
    name="upgrade-records",
    help="convert records of a former version",
    add_arguments=_add_arguments,
    run=_run,
)
