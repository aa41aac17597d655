"""Judges on labelled text: the news world's oracle, and real text with human labels where it is at hand.

newsworld       1,000 generated pairs on articles that neither the embedded judge nor a shipped model has seen
factcc_rank19   373 news sentences, each with a correct and an incorrect claim (Falke et al., 2019; via BARTScore's repository)
faithbench      summaries by ten LLMs; "Unwanted" by any annotator against no annotation (Bao et al., 2024). They were picked
because detectors disagree on them, so chance is close: the AUROC of the HHEM scores that its authors
recorded is printed beside

python benchmarks/judge_quality.py [--judge embedded --judge hhem-2.1] [--data ../shared/data]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from harness.files import iter_jsonl
from harness.judges import load, ranking
from harness.judges.pairs import newsworld_pairs

Labelled = tuple[str, str, int]
"""Source, summary, 1 for consistent."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--judge", action="append", help="name, folder or hub name (default: embedded)")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    world = newsworld_pairs("judge-quality", 1000)
    sets: dict[str, list[Labelled]] = {
        "newsworld": [(pair.source, pair.summary, pair.label) for pair in world]
    }
    recorded: dict[str, dict[str, list[float]]] = {}
    factcc = arguments.data / "factcc_rank19" / "pairs.jsonl"
    if factcc.is_file():
        sets["factcc_rank19"] = list(read_factcc(factcc))
    faithbench = arguments.data / "faithbench" / "samples_batches_1_8.jsonl"
    if faithbench.is_file():
        sets["faithbench"], recorded["faithbench"] = read_faithbench(faithbench)
    print(
        "| judge | pairs | n (failed) | balanced accuracy | AUROC | ECE | found / missed | passed / rejected |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in arguments.judge or ["embedded"]:
        judge = load(name, unproven=True)  # on texts that it was not made for, which is what is measured
        for pairs_name, rows in sets.items():
            scores = judge.score([row[:2] for row in rows])
            print(line(name, pairs_name, scores, [label for *_, label in rows]))
    for pairs_name, columns in recorded.items():
        for column, scores in columns.items():
            print(
                line(f"{column}, as recorded", pairs_name, scores, [label for *_, label in sets[pairs_name]])
            )


def line(judge: str, pairs: str, scores: list[float], labels: list[int]) -> str:
    """A row of the table."""
    found = ranking.rank(scores, labels)
    return (
        f"| {judge} | {pairs} | {found.n} ({found.failed}) | {found.balanced_accuracy:.3f} | {found.auroc:.3f} | {found.ece:.3f} "
        f"| {found.true_positive} / {found.false_negative} | {found.true_negative} / {found.false_positive} |"
    )


def read_factcc(path: Path) -> Iterable[Labelled]:
    """Two pairs of each row."""
    for row in iter_jsonl(path):
        yield row["source"], row["correct"], 1
        yield row["source"], row["incorrect"], 0


def read_faithbench(path: Path) -> tuple[list[Labelled], dict[str, list[float]]]:
    """Clear cases alone (neither "Questionable" nor "Benign" as the worst label), and the HHEM scores recorded with them."""
    rows: list[Labelled] = []
    recorded: dict[str, list[float]] = {"hhemv1": [], "hhem-2.1": [], "hhem-2.1-english": []}
    for row in iter_jsonl(path):
        labels = {label for annotation in row["annotations"] for label in annotation["label"]}
        unwanted = any(label.startswith("Unwanted") for label in labels)
        if labels and not unwanted:
            continue
        rows.append((row["source"], row["summary"], int(not unwanted)))
        for name, scores in recorded.items():
            scores.append(float(row["metadata"][name]))
    return rows, recorded


if __name__ == "__main__":
    main()
