"""Slot errors counted here against the published counts: 24 files of system outputs, and the noise of the references.

    python benchmarks/slot_error.py --data ../shared/data/e2e

The folder holds the files of github.com/tuetschek/e2e-dataset and e2e-cleaning (Dušek, Howcroft and Rieser, 2019, W19-8652):
``devset.csv``, ``testset_w_refs.csv``, ``cleaned_devel.csv``, ``cleaned_test.csv``, ``outputs/`` with one line for each distinct
meaning representation, and ``outputs_counts.json``, what the authors' script counts in each of those files.

Two kinds of truth. For the outputs, the script's totals and how many rows are of each class: rows that changed class both ways
cannot be seen, so the agreement printed is an upper bound. For the references, row by row: the cleaned sets hold beside each
reference the meaning that it was given and the one that the script reads from it; the difference is the script's count.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.data.sources import read_local
from harness.metrics.e2e.errors import SlotErrors, between, slot_errors
from harness.metrics.e2e.meaning import parse

KINDS = ("ok", "add", "miss", "both")
REFERENCES = {"cleaned_devel.csv": "devel", "cleaned_test.csv": "test"}
NOISY = ("devset.csv", "testset_w_refs.csv")
TESTS = {"orig": "testset_w_refs.csv", "clean": "cleaned_test.csv"}


def rows_of(file: Path) -> list[dict[str, str]]:
    """The rows of a csv file, as text."""
    rows, *_ = read_local(file, split="", missing=lambda _row: [])
    return [{column: str(value) for column, value in row.items()} for row in rows]


def totals(found: Iterable[SlotErrors]) -> dict[str, int]:
    """Errors and slots summed, and how many texts are of each class."""
    sums = Counter(dict.fromkeys(("added", "missing", "wrong", "repeated", "slots", "total", "n", *KINDS), 0))
    for errors in found:
        sums.update(
            added=errors.added,
            missing=errors.missing,
            wrong=errors.wrong,
            repeated=errors.repeated,
            slots=errors.slots,
            total=errors.total,
            n=1,
        )
        sums[errors.kind] += 1
    return dict(sums)


def outputs_table(data: Path) -> list[str]:
    """A row for each file of outputs, then one for all."""
    meanings = {
        name: list(dict.fromkeys(row["mr"] for row in rows_of(data / file))) for name, file in TESTS.items()
    }
    lines = [
        "| outputs | added | missing | wrong | repeated | all errors, ours / published | rows of the same class, at most |",
        "|---|---|---|---|---|---|---|",
    ]
    ours_all, theirs_all = Counter[str](), Counter[str]()
    for file, published in json.loads((data / "outputs_counts.json").read_text("utf-8")).items():
        asked = meanings[file.partition("_test-")[2].partition(".")[0]]
        texts = (data / "outputs" / file).read_text("utf-8").splitlines()
        ours = totals(slot_errors(parse(mr), text) for mr, text in zip(asked, texts, strict=True))
        theirs = {**published, "wrong": published["value"]}
        theirs["total"] = sum(theirs[key] for key in ("added", "missing", "wrong", "repeated"))
        lines.append(_outputs_row(f"`{file.removesuffix('.txt')}`", ours, theirs))
        ours_all.update(ours)
        theirs_all.update(theirs)
    return [*lines, _outputs_row("all", ours_all, theirs_all)]


def _outputs_row(name: str, ours: Mapping[str, int], theirs: Mapping[str, float]) -> str:
    if ours["slots"] != theirs["slots"]:
        raise SystemExit(f"{name}: {ours['slots']} slots here, {theirs['slots']} published")
    counts = [
        f"{ours[key]}" if ours[key] == theirs[key] else f"{ours[key]} ({theirs[key]:g})"
        for key in ("added", "missing", "wrong", "repeated")
    ]
    ratio = f"{ours['total'] / theirs['total']:.4f}" if theirs["total"] else f"{ours['total']} / 0"
    moved = sum(abs(ours[kind] - theirs[kind]) for kind in KINDS) / 2
    return f"| {name} | {' | '.join(counts)} | {ratio} | {100 * (1 - moved / ours['n']):.2f}% |"


def noise_table(data: Path) -> list[str]:
    """Errors of the references against the meaning that their writers were given."""
    lines = [
        "| references | rows | slots | added | missing | wrong | SER | rows without any error |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for file in (*NOISY, *REFERENCES):
        sums = totals(slot_errors(parse(row["mr"]), row["ref"]) for row in rows_of(data / file))
        lines.append(
            f"| {file} | {sums['n']:,} | {sums['slots']:,} | {sums['added']} | {sums['missing']} | {sums['wrong']} | "
            f"{100 * sums['total'] / sums['slots']:.2f}% | {100 * sums['ok'] / sums['n']:.1f}% |"
        )
    return lines


def rows_table(data: Path) -> list[str]:
    """Row by row: our count of a reference against the given meaning, and the script's."""
    lines = ["| references | rows | same class | same counts |", "|---|---|---|---|"]
    for file in REFERENCES:
        rows = rows_of(data / file)
        ours = [slot_errors(parse(row["orig_mr"]), row["ref"]) for row in rows]
        theirs = [between(parse(row["orig_mr"]), parse(row["mr"])) for row in rows]
        same = _share([a.kind == b.kind for a, b in zip(ours, theirs, strict=True)])
        equal = _share([a == b for a, b in zip(ours, theirs, strict=True)])
        lines.append(f"| {file} | {len(rows):,} | {same} | {equal} |")
    return lines


def _share(values: Sequence[bool]) -> str:
    return f"{100 * sum(values) / len(values):.2f}%"


def speed(data: Path) -> str:
    """Texts scored in a minute by one thread."""
    rows = [(row["mr"], row["ref"]) for row in rows_of(data / NOISY[0])]
    slot_errors(parse(rows[0][0]), rows[0][1])  # compiles the names
    begin = time.process_time()
    for mr, text in rows:
        slot_errors(parse(mr), text)
    return (
        f"{60 * len(rows) / (time.process_time() - begin):,.0f} texts a minute of processor time, one thread"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the E2E files")
    data = parser.parse_args().data
    print("Published counts in brackets where they differ.\n", *outputs_table(data), sep="\n", end="\n\n")
    print(*noise_table(data), sep="\n", end="\n\n")
    print(*rows_table(data), sep="\n", end="\n\n")
    print(speed(data))


if __name__ == "__main__":
    main()
