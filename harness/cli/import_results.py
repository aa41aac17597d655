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
    parser.add_argument(
        "--no-documents",
        action="store_true",
        help="leave out articles and references, which the data's licence may not let you publish",
    )


def _run(arguments: Namespace) -> int:
    from harness.records import import_results

    for path in import_results(
        arguments.folder,
        arguments.records,
        model=arguments.model,
        documents=not arguments.no_documents,
    ):
        print(path)
    return 0


COMMAND = Command(
    name="import-results",
    help="turn lm-eval results into records",
    add_arguments=_add_arguments,
    run=_run,
)
