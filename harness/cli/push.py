"""``harness push`` sends a checkpoint with its scores, or a board with its records, to the Hugging Face hub."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path

from harness.errors import HarnessError
from harness.plugins import Command


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, metavar="DIR", help="checkpoint to send")
    parser.add_argument("--to", metavar="OWNER/NAME", help="model repository for it; made if it is not there")
    parser.add_argument(
        "--records",
        type=Path,
        nargs="+",
        default=[],
        metavar="RECORD",
        help="records of the checkpoint: their scores go into the model card",
    )
    parser.add_argument(
        "--benchmark",
        type=_benchmark,
        action="append",
        default=[],
        metavar="TASK=SCORE",
        help="the score that a benchmark's leaderboard on the hub takes for one of its tasks (repeatable)",
    )
    parser.add_argument("--board", type=Path, metavar="SPEC", help="board to send, with its records")
    parser.add_argument("--board-to", metavar="OWNER/NAME", help="data set repository for it")
    parser.add_argument(
        "--no-documents",
        action="store_true",
        help="keep articles and references here, where their licence asks for it",
    )
    parser.add_argument("--private", action="store_true", help="make new repositories private")
    parser.add_argument(
        "--pull-request", action="store_true", help="open a pull request instead of committing"
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would go, send nothing")


def _run(arguments: Namespace) -> int:
    from harness.board.push import board_upload, model_upload, send

    _check(arguments)
    uploads = []
    if arguments.model:
        scores = dict(arguments.benchmark)
        uploads.append(model_upload(arguments.to, arguments.model, arguments.records, scores))
    if arguments.board:
        uploads.append(
            board_upload(arguments.board_to, arguments.board, documents=not arguments.no_documents)
        )
    for upload in uploads:
        print(upload.describe(), flush=True)
        if arguments.dry_run and isinstance(card := upload.files["README.md"], str):
            print("\n" + card.split("\n---\n")[0] + "\n---")
        elif not arguments.dry_run:
            print(send(upload, private=arguments.private, create_pr=arguments.pull_request))
    return 0


def _check(arguments: Namespace) -> None:
    problems = []
    for what, where in (("model", "to"), ("board", "board_to")):
        if bool(getattr(arguments, what)) != bool(getattr(arguments, where)):
            problems.append(f"--{what} and --{where.replace('_', '-')} go together")
    if arguments.records and not arguments.model:
        problems.append("--records belong to a --model")
    if arguments.benchmark and not arguments.records:
        problems.append("--benchmark belongs to --records")
    if not arguments.model and not arguments.board:
        problems.append("nothing to send")
    HarnessError.raise_for(problems, "`harness push --help` explains the options.")


def _benchmark(text: str) -> tuple[str, str]:
    task, equals, score = text.rpartition("=")
    if not (task and equals and score):
        raise ArgumentTypeError(f"{text!r} is not TASK=SCORE")
    return task, score


COMMAND = Command(
    name="push", help="send a checkpoint or a board to the hub", add_arguments=_add_arguments, run=_run
)
