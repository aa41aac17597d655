"""``harness compare`` says whether the difference between two records is real."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from harness.api import compare
from harness.plugins import Command


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "baseline", type=Path, metavar="BASELINE", help="record file, or a results folder of lm-eval"
    )
    parser.add_argument("candidate", type=Path, metavar="CANDIDATE", help="the same, of the same task")
    parser.add_argument(
        "--scores",
        nargs="+",
        metavar="KEY",
        help="scores to compare, the verdict's first (default: all with a better direction, faithfulness first)",
    )
    parser.add_argument("--task", help="which task, where a results folder has several")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def _run(arguments: Namespace) -> int:
    found = compare(arguments.baseline, arguments.candidate, scores=arguments.scores, task=arguments.task)
    print(json.dumps(found.to_dict(), indent=2, allow_nan=False) if arguments.json else found)
    return 0


COMMAND = Command(
    name="compare", help="test whether two records differ", add_arguments=_add_arguments, run=_run
)
