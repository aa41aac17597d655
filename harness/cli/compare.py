"""``harness compare`` says whether the difference between two records is real."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from harness.errors import HarnessError
from harness.plugins import Command


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("baseline", type=Path, metavar="BASELINE", help="record file")
    parser.add_argument("candidate", type=Path, metavar="CANDIDATE", help="record file of the same task")
    parser.add_argument(
        "--scores", nargs="+", metavar="KEY", help="scores to compare (default: all that both hold)"
    )


def _run(arguments: Namespace) -> int:
    from harness.board.compare import compare
    from harness.board.markdown import comparison_table, scale
    from harness.records import load_record

    baseline, candidate = load_record(arguments.baseline), load_record(arguments.candidate)
    keys = arguments.scores or [key for key in baseline.scores if key in candidate.scores]
    if not keys:  # a task of another author: its samples have scores, its metadata have no headlines
        shared = [
            {key for sample in record.samples for key in sample.scores} for record in (baseline, candidate)
        ]
        keys = sorted(shared[0] & shared[1])
    if not keys:
        raise HarnessError("the two records share no score", "Compare two runs of the same task.")
    comparison = compare(baseline, candidate, keys)
    print(comparison.verdict(baseline.model, candidate.model, percent=scale(keys[0]) == 100))
    print()
    print(comparison_table(comparison))
    return 0


COMMAND = Command(
    name="compare", help="test whether two records differ", add_arguments=_add_arguments, run=_run
)
