"""``harness compare`` says whether the difference between two records is real."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.plugins import Command

if TYPE_CHECKING:
    from harness.records.record import Scored


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
    from harness.board.data import comparison_data
    from harness.board.markdown import comparison_table
    from harness.records.compare import compare, default_keys, incompatibilities
    from harness.records.verdict import verdict
    from harness.stats.rounding import rounded_tree

    baseline, candidate = (
        _record(path, arguments.task) for path in (arguments.baseline, arguments.candidate)
    )
    task = baseline.task
    keys = arguments.scores or default_keys(baseline, candidate)
    lacking = [
        f"{record.model} has no score {key}"
        for key in keys
        for record in (baseline, candidate)
        if key not in record.scores and record.counts.get("answered", 1)
    ]
    problems = incompatibilities(baseline, candidate, keys) or (
        lacking if keys else ["the two records share no score"]
    )
    HarnessError.raise_for(
        problems,
        "Compare runs of one task on the same documents, prompts and decoding, scored in the same way.",
    )
    comparison = compare({task: baseline}, {task: candidate}, [(task, key) for key in keys])
    said = verdict(comparison, baseline.model, candidate.model)
    if arguments.json:
        print(
            json.dumps(
                rounded_tree({"verdict": said, **comparison_data(comparison)}), indent=2, allow_nan=False
            )
        )
        return 0
    print("\n".join([said, *(found.sentence() for found in comparison.disagreements())]))
    if comparison.scores:
        print(f"\n{comparison_table(comparison)}")
    return 0


def _record(path: Path, task: str | None) -> Scored:
    from harness.board.load import load_rows
    from harness.records import from_lm_eval
    from harness.records.record import scored

    if not path.is_dir():
        (record,) = load_rows([path])
        return record
    records = [record for record in from_lm_eval(path) if task in (None, record.task)]
    if len(records) != 1:
        found = ", ".join(record.task for record in records) or "none of that name"
        raise HarnessError(f"{path}: needs one task, has {found}", "Name one with --task.")
    return scored(records[0])


COMMAND = Command(
    name="compare", help="test whether two records differ", add_arguments=_add_arguments, run=_run
)
