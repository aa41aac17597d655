"""``harness verify`` recomputes every cell of a board from its records, and on request the records' scores from their texts."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from harness.errors import HarnessError
from harness.plugins import Command


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "spec", type=Path, nargs="+", metavar="SPEC", help="board specification (NAME.json beside NAME.md)"
    )
    parser.add_argument(
        "--deep",
        action="store_true",
        help="also score the texts again: every score that needs no model; needs the documents file beside the records",
    )
    parser.add_argument("--judge", action="store_true", help="with --deep: ask the records' judge again too")


def _run(arguments: Namespace) -> int:
    from harness.board import verify

    if arguments.judge and not arguments.deep:
        raise HarnessError("--judge scores texts again", "Add --deep.")
    for spec in arguments.spec:
        rows = len(verify(spec, workers=2).spec.rows)
        print(f"{spec.with_suffix('.md')}: every cell follows from its {rows} records")
        if arguments.deep:
            _verify_texts(spec, judge=arguments.judge)
    return 0


def _verify_texts(spec: Path, *, judge: bool) -> None:
    """Score the texts behind a board again, and say of each record what was computed, what was not, and why.

    Raises:
        HarnessError: Naming the first samples of each score that differs.
    """
    from harness.board.spec import read_spec
    from harness.records import load_documents, load_record
    from harness.records.deep import recompute

    problems: list[str] = []
    for row in read_spec(spec).rows:
        path = spec.parent / row["record"]
        record = load_record(path)
        found = recompute(record, load_documents(record, path), judge=judge)
        problems += [f"{path}: {problem}" for problem in found.problems]
        print(f"  {record.model} on {record.task}:")
        print(f"    computed again from the texts: {', '.join(found.keys) or 'nothing'}")
        for reason in dict.fromkeys(found.left.values()):
            keys = [key for key, why in found.left.items() if why == reason]
            print(f"    not computed again: {', '.join(keys)} ({reason})")
    HarnessError.raise_for(problems, "These scores are not those of their texts: do not trust the record.")


COMMAND = Command(
    name="verify", help="recompute every cell of a leaderboard", add_arguments=_add_arguments, run=_run
)
