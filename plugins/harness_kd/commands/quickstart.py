"""``harness quickstart``; heavy imports stay inside."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import fields
from pathlib import Path

from harness.plugins import Command, add_run_file
from harness_kd.studies.quickstart import Quickstart

_HELP = {
    "teacher": "shipped teacher",
    "noise": "share of training references that state something unsupported",
    "kd_ratio": "weight of distillation relative to the hard labels",
    "rows": "training rows",
    "documents": "evaluation documents",
    "epochs": "passes over the training rows",
    "learning_rate": "peak of the cosine schedule",
    "batch_size": "rows per step",
    "seed": "of training data and training",
}


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--output", type=Path, default=Path("quickstart"), metavar="DIR", help="folder (default: quickstart)"
    )
    parser.add_argument(
        "--board",
        type=Path,
        metavar="FILE",
        help="board to write, NAME.json (default: leaderboard.json in DIR)",
    )
    for field in fields(Quickstart):
        if field.name in _HELP:
            parser.add_argument(
                "--" + field.name.replace("_", "-"),
                type=type(field.default),
                default=field.default,
                help=f"{_HELP[field.name]} (default: {field.default})",
                choices=["teacher", "teacher-clean"] if field.name == "teacher" else None,
            )
    parser.add_argument("--dry-run", action="store_true", help="print the plan, write nothing")
    add_run_file(parser, lambda arguments: arguments.output)


def _run(arguments: Namespace) -> int:
    from harness_kd.studies.quickstart import describe, run

    settings = Quickstart(**{field.name: getattr(arguments, field.name) for field in fields(Quickstart)})
    if arguments.dry_run:
        print(describe(settings))
    else:
        run(settings)
    return 0


QUICKSTART = Command(
    name="quickstart",
    help="distil, evaluate and rank small models, offline, in minutes",
    add_arguments=_add_arguments,
    run=_run,
)
