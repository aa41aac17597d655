"""``harness import-results`` turns results folders of lm-eval into records."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from harness.errors import HarnessError
from harness.plugins import Command


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="folder with results_*.json and samples_*.jsonl, or the folder above it: lm_eval's --output_path",
    )
    parser.add_argument("--records", type=Path, required=True, metavar="DIR", help="folder of the records")
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="what boards call the model, for results of one model (default: the last part of its path)",
    )
    parser.add_argument(
        "--no-documents",
        action="store_true",
        help="leave out articles and references, which the data's licence may not let you publish",
    )


def _run(arguments: Namespace) -> int:
    from harness.records import import_results
    from harness.records.lm_eval_log import results_folders

    folders: list[Path] = []
    errors: list[HarnessError] = []
    for given in arguments.folder:
        try:
            folders += results_folders(given)
        except HarnessError as error:
            errors.append(error)
    if arguments.model is not None and len(folders) > 1:
        raise HarnessError(
            f"--model names one model, and these are results of {len(folders)}", "Import them one by one."
        )
    for folder in folders:
        try:
            for path in import_results(
                folder, arguments.records, model=arguments.model, documents=not arguments.no_documents
            ):
                print(path)
        except HarnessError as error:
            errors.append(error)
    _report(errors)
    return 0


def _report(errors: Sequence[HarnessError]) -> None:
    """Raise what went wrong, after everything else was imported."""
    if len(errors) == 1:
        raise errors[0]
    remedies = dict.fromkeys(error.remedy for error in errors)
    HarnessError.raise_for([error.problem for error in errors], "\n".join(remedies))


COMMAND = Command(
    name="import-results",
    help="turn lm-eval results into records",
    add_arguments=_add_arguments,
    run=_run,
)
