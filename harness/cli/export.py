"""``harness export`` writes records in a format that others read."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from harness.plugins import Command


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("records", type=Path, nargs="+", metavar="RECORD", help="records of models")
    parser.add_argument("--format", required=True, choices=("every-eval-ever",), help="whose schema")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder for the files, below DIR/data"
    )
    parser.add_argument(
        "--organization", required=True, metavar="NAME", help="who gives the results out; no record knows"
    )
    parser.add_argument(
        "--relationship",
        required=True,
        choices=("first_party", "third_party", "collaborative", "other"),
        help="of who evaluated to who made the models",
    )
    parser.add_argument("--developer", metavar="NAME", help="who made models whose name has no owner")
    parser.add_argument(
        "--collection", metavar="NAME", help="folder of the data store (default: the task's name)"
    )
    parser.add_argument(
        "--no-samples", action="store_true", help="headlines only, without responses and articles"
    )


def _run(arguments: Namespace) -> int:
    import time

    from harness.board.every_eval_ever import Publisher, export

    written, left_out = export(
        arguments.records,
        arguments.output,
        Publisher(
            organization=arguments.organization,
            relationship=arguments.relationship,
            developer=arguments.developer,
            collection=arguments.collection,
        ),
        now=int(time.time()),
        samples=not arguments.no_samples,
    )
    for path in written:
        print(path)
    for reason in left_out:
        print(f"left out: {reason}", file=sys.stderr)
    return 0


COMMAND = Command(
    name="export", help="write records in a schema that others read", add_arguments=_add_arguments, run=_run
)
