"""``harness import-results`` turns a results folder of lm-eval into records."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from harness.plugins import Command


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="folder with results_*.json and samples_*.jsonl"
    )
    parser.add_argument("--records", type=Path, required=True, metavar="DIR", help="folder of the records")
    parser.add_argument("--model", help="name on boards (default: the last part of the model's path)")


def _run(arguments: Namespace) -> int:
    from harness.records import from_lm_eval, save_record

    for record in from_lm_eval(arguments.folder, model=arguments.model):
        print(save_record(record, arguments.records))
    return 0


COMMAND = Command(
    name="import-results",
    help="turn lm-eval results into records",
    add_arguments=_add_arguments,
    run=_run,
)
