"""``harness compare`` says whether the difference between two records is real."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.plugins import Command

if TYPE_CHECKING:
    from harness.records import Record


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
    from harness.board.compare import compare, default_keys
    from harness.board.data import comparison_data
    from harness.board.markdown import comparison_table, scale

    baseline, candidate = (
        _record(path, arguments.task) for path in (arguments.baseline, arguments.candidate)
    )
    keys = arguments.scores or default_keys(baseline, candidate)
    if not keys:
        raise HarnessError("the two records share no score", "Compare two runs of the same task.")
    comparison = compare(baseline, candidate, keys)
    percent = scale(keys[0]) == 100
    verdict = comparison.verdict(baseline.model, candidate.model, percent)
    if arguments.json:
        print(json.dumps({"verdict": verdict, **comparison_data(comparison)}, indent=2, allow_nan=False))
        return 0
    print("\n".join([verdict, *(found.sentence() for found in comparison.disagreements())]))
    print()
    print(comparison_table(comparison))
    return 0


def _record(path: Path, task: str | None) -> Record:
    from harness.records import from_lm_eval, load_record

    if not path.is_dir():
        return load_record(path)
    records = [record for record in from_lm_eval(path) if task in (None, record.task)]
    if len(records) != 1:
        found = ", ".join(record.task for record in records) or "none of that name"
        raise HarnessError(f"{path}: needs one task, has {found}", "Name one with --task.")
    return records[0]


COMMAND = Command(
    name="compare", help="test whether two records differ", add_arguments=_add_arguments, run=_run
)
