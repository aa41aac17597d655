"""``harness judge``: test, use and train the judges behind `factual_consistency`; heavy imports stay inside functions."""

from __future__ import annotations

import math
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.plugins import Command, add_run_file

_JUDGE_HELP = "hhem-2.1, hhem-1.0, embedded, a folder, or a CrossEncoder's hub name (default: hhem-2.1)"


def _add_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    test = actions.add_parser("test", help="check that a judge is what it claims to be")
    test.add_argument("judge", nargs="?", default="hhem-2.1", metavar="JUDGE", help=_JUDGE_HELP)
    _add_how(test)
    score = actions.add_parser("score", help="score a pair, a jsonl file or a folder of lm-eval samples")
    score.add_argument(
        "input", nargs="?", type=Path, metavar="PATH", help="jsonl file, or lm-eval's output folder"
    )
    score.add_argument("--source", metavar="TEXT", help="the source of one pair")
    score.add_argument("--summary", metavar="TEXT", help="the summary of one pair")
    score.add_argument("--judge", default="hhem-2.1", metavar="JUDGE", help=_JUDGE_HELP)
    score.add_argument(
        "--output",
        type=Path,
        default=Path("judge-scores.jsonl"),
        metavar="FILE",
        help="scores of a file or folder (default: judge-scores.jsonl)",
    )
    _add_how(score)
    _add_unproven(score)
    add_run_file(score, lambda arguments: arguments.output if arguments.input else None)
    _add_fit(actions.add_parser("fit", help="train a judge on labelled pairs"))


def _add_how(parser: ArgumentParser) -> None:
    parser.add_argument("--device", help="torch device (default: the accelerator, else the processor)")
    parser.add_argument("--dtype", default="float32", help="float32, bfloat16 or float16 (default: float32)")


def _add_unproven(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--unproven",
        action="store_true",
        help="take the judge where nothing shows that its scores mean anything: one that learned nothing, or embedded on texts "
        "outside the news world",
    )


def _add_fit(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, required=True, metavar="FILE", help="jsonl with source, summary, label"
    )
    parser.add_argument(
        "--base", required=True, metavar="MODEL", help="encoder to start from: folder, hub name, embedded"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the judge")
    parser.add_argument("--epochs", type=int, default=5, help="passes over the data, at most (default: 5)")
    parser.add_argument(
        "--patience", type=int, default=2, help="epochs without improvement that end it (default: 2)"
    )
    parser.add_argument("--batch-size", type=int, default=16, help="pairs per step (default: 16)")
    parser.add_argument(
        "--learning-rate", type=float, default=2e-5, help="peak of the schedule (default: 2e-5)"
    )
    parser.add_argument(
        "--max-length",
        type=int,
        default=512,
        help="tokens of a pair, in training and of the judge ever after (default: 512)",
    )
    parser.add_argument(
        "--held-out",
        type=float,
        default=0.1,
        help="share of documents for calibration, and for the test (default: 0.1)",
    )
    parser.add_argument(
        "--calibration",
        default="temperature",
        choices=["none", "temperature", "isotonic"],
        help="default: temperature",
    )
    parser.add_argument("--seed", type=int, default=0, help="of split, order and dropout (default: 0)")
    parser.add_argument("--device", help="torch device (default: the accelerator, else the processor)")
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything, print the plan, write nothing"
    )
    add_run_file(parser, lambda arguments: arguments.output)


def _run(arguments: Namespace) -> int:
    return {"test": _test, "score": _score, "fit": _fit}[arguments.action](arguments)


def _test(arguments: Namespace) -> int:
    _quieten()
    from harness.judges.load import checks

    judge, found = checks(arguments.judge, device=arguments.device, dtype=arguments.dtype)
    print(judge.signature())
    for check in found:
        print(f"{'ok    ' if check.passed else 'FAILED'}  {check.name}: {check.detail}")
    if not any(check.name == "stored scores" for check in found):
        print("note    nothing is stored to compare this judge's scores with")
    HarnessError.raise_for(
        [f"judge {judge.identity.name}: {check.name}" for check in found if not check.passed],
        "It is not the judge it claims to be, or does not work here: its scores are not to be published.",
    )
    return 0


def _score(arguments: Namespace) -> int:
    one = arguments.source is not None or arguments.summary is not None
    if one == (arguments.input is not None) or (one and None in (arguments.source, arguments.summary)):
        raise HarnessError(
            "nothing, or too much, to score", "Give a PATH, or --source TEXT and --summary TEXT."
        )
    _quieten()
    from harness.judges import load
    from harness.judges.score_file import Item, forget, read_items, score_items

    pair = [Item(id="pair", source=arguments.source or "", summary=arguments.summary or "")]
    items = pair if one else read_items(arguments.input)
    judge = load(arguments.judge, device=arguments.device, dtype=arguments.dtype, unproven=arguments.unproven)
    work = arguments.output.parent / f".{arguments.output.name}.parts"
    rows = score_items(judge, items, work)
    print(judge.signature())
    print(f"held out: {judge.held_out or 'nobody has said how good it is'}")
    if one:
        forget(work)
        _show(rows[0])
        if rows[0]["score"] is None:
            raise HarnessError(f"the pair has no score: {rows[0]['failed']}", "Give two texts.")
        return 0
    from harness.files import write_jsonl

    write_jsonl(arguments.output, rows)
    forget(work)
    _summarise(rows, judge)
    print(f"scores: {arguments.output}")
    return 0


def _show(row: dict[str, Any]) -> None:
    if row["score"] is not None:
        print(f"{row['score']:.4f}  {'consistent' if row['consistent'] else 'not consistent'}")
    if "note" in row:
        print(f"note: {row['note']}")
    for sentence in row["sentences"]:
        score = sentence["score"]
        print(f"  {'  none' if score is None else f'{score:.4f}'}  {sentence['text']}")


def _summarise(rows: list[dict[str, Any]], judge: Any) -> None:
    scored = [row for row in rows if row["score"] is not None]
    if scored:
        mean = math.fsum(row["score"] for row in scored) / len(scored)
        rate = sum(row["consistent"] for row in scored) / len(scored)
        print(f"factual_consistency {mean:.4f}  factual_consistency_rate {rate:.4f}  n {len(scored)}")
    longer = sum("note" in row for row in rows)
    counts = judge.counts
    print(
        f"without a score: {len(rows) - len(scored)}; longer than their source: {longer}; "
        f"in the last chunk, sentences included: {counts.truncated} cut, {counts.over_length} over the trained length"
    )


def _fit(arguments: Namespace) -> int:
    from harness.judges.train import FitPlan, describe, fit

    names = ("data", "base", "output", "epochs", "patience", "batch_size", "learning_rate", "max_length", "held_out",
             "calibration", "seed", "device")  # fmt: skip
    plan = FitPlan(**{name: getattr(arguments, name) for name in names})
    _quieten()
    if arguments.dry_run:
        print(describe(plan))
        return 0
    found = fit(plan)
    for name, value in found.rows():
        print(f"{name:32} {value}")
    print(f"judge: {plan.output}")
    if not found.held_out.beats_chance:
        print(
            "It learned nothing that shows: the interval of its held-out AUROC holds 0.5, which is chance. Whatever loads it "
            "refuses it, unless told: --metadata judge_unproven=true, or harness judge score --unproven."
        )
    return 0


def _quieten() -> None:
    import logging

    from harness.quiet import hide_loading_bars

    hide_loading_bars()
    logging.getLogger("transformers").setLevel(logging.ERROR)


COMMAND = Command(
    name="judge",
    help="test, use or train a judge of factual consistency",
    add_arguments=_add_arguments,
    run=_run,
)
