"""Which layer of an encoder BERTScore should read: correlation with human judgements of summaries.

REALSumm has, for 25 systems on 100 CNN/DailyMail articles, the share of the reference's content that humans found in the
summary. For each layer this prints how well BERTScore's recall agrees: Pearson correlation over the systems of one
article, averaged over articles (summary level), and over the 25 systems' means (system level). The layer with the highest
summary-level correlation is the default for `minilm` in harness/metrics/bertscore.py.

    python benchmarks/bertscore_layers.py PATH_OF_REALSUMM [--model minilm] [--layers 6] [--documents 100]
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import numpy as np

from harness.files import read_jsonl
from harness.metrics import Sample
from harness.metrics.bertscore import BertScore
from harness.metrics.encoders import Encoder


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--documents", type=int, default=100)
    arguments = parser.parse_args()
    references = {
        row["doc_id"]: plain(row["reference"]) for row in read_jsonl(arguments.folder / "docs.jsonl")
    }
    kept = set(list(references)[: arguments.documents])
    rows = [row for row in read_jsonl(arguments.folder / "outputs.jsonl") if row["doc_id"] in kept]
    samples = [
        Sample(source="", references=(references[row["doc_id"]],), response=plain(row["summary"]))
        for row in rows
    ]
    human = [row["scores"]["litepyramid_recall"] for row in rows]
    print(
        f"{arguments.model}, {len(rows)} summaries of {len(kept)} articles\n\n"
        "| layer | summary level | system level |\n|---|---|---|"
    )
    for layer in range(1, arguments.layers + 1):
        scores = BertScore(Encoder(arguments.model, layer=layer)).score(samples)
        ours = [score["bertscore_r"] for score in scores]
        by_document = [row["doc_id"] for row in rows]
        by_system = [f"{row['kind']}:{row['system']}" for row in rows]
        print(
            f"| {layer} | {within(by_document, ours, human):.3f} | {between(by_system, ours, human):.3f} |",
            flush=True,
        )


def plain(text: str) -> str:
    """The text without sentence marks."""
    return " ".join(re.sub(r"</?t>", " ", text).split())


def grouped(groups: list[str], *columns: list[float]) -> list[list[np.ndarray]]:
    """Columns split by group."""
    members = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    return [[np.array(column)[indices] for column in columns] for indices in members.values()]


def within(groups: list[str], ours: list[float], human: list[float]) -> float:
    """Mean over groups of the correlation inside a group; groups in which either side is constant have none."""
    pairs = [pair for pair in grouped(groups, ours, human) if all(column.std() > 0 for column in pair)]
    return fmean(float(np.corrcoef(*pair)[0, 1]) for pair in pairs)


def between(groups: list[str], ours: list[float], human: list[float]) -> float:
    """Correlation of the groups' means."""
    means = np.array([[column.mean() for column in pair] for pair in grouped(groups, ours, human)])
    return float(np.corrcoef(means.T)[0, 1])


if __name__ == "__main__":
    main()
