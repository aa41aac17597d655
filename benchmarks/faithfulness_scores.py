"""Scores of faithfulness against labels: those that need no judge and no reference, beside a judge where there is one.

faithbench      summaries by ten LLMs, labelled by people: "Unwanted" by any annotator against no annotation (Bao et al., 2024).
                They were picked because detectors disagree on them. The scores of HHEM that its authors recorded are there
factcc_rank19   373 news sentences, lower case, each with a correct and an incorrect claim, labelled by people (Falke et al., 2019)
e2e             references of cleaned_test.csv against the data that their writers were given: invented where the authors' cleaning
                put a value into the data that was not there (Dušek, Howcroft and Rieser, 2019). Texts by people, labels by the
                authors' script

AUROC and its 95% interval resample sources. Balanced accuracy is at a threshold chosen on the other four fifths of the sources,
five times; its interval resamples sources too, with the verdicts as they are.

At the end the speed on news articles: 5 summaries of each of REALSumm's 100 CNN/DailyMail articles, some 745 and 60 words.

    python benchmarks/faithfulness_scores.py [--data ../shared/data] [--model minilm] [--window 254 --overlap 64]
"""

from __future__ import annotations

import argparse
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
from judge_quality import read_factcc, read_faithbench
from numpy.typing import NDArray
from slot_error import rows_of

from harness.data.columns import strip_marks
from harness.files import iter_jsonl
from harness.judges import load
from harness.metrics import source_precision
from harness.metrics.base import FloatArray, Metric, Sample
from harness.metrics.bertscore import LAYERS
from harness.metrics.e2e.errors import between
from harness.metrics.e2e.meaning import parse
from harness.metrics.encoders import Encoder
from harness.metrics.source_precision import SourcePrecision
from harness.metrics.surface import Surface
from harness.metrics.unsupported import Unsupported
from harness.stats.bootstrap import IntArray, percentile_interval
from harness.stats.held_out import HeldOut

FOLDS = 5


@dataclass(frozen=True)
class Labelled:
    """Pairs of a data set with their labels."""

    samples: list[Sample]
    labels: list[int]
    recorded: dict[str, list[float]] = field(default_factory=dict)
    """Scores that came with the data, higher for faithful."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="minilm", help="encoder of source_precision")
    parser.add_argument("--layer", type=int, help="its layer (default: the one known to suit it)")
    parser.add_argument("--window", type=int, default=source_precision.WINDOW)
    parser.add_argument("--overlap", type=int, default=source_precision.OVERLAP)
    parser.add_argument("--only", help="scores to show, with commas between")
    arguments = parser.parse_args()
    source_precision.WINDOW, source_precision.OVERLAP = arguments.window, arguments.overlap
    encoder = Encoder(arguments.model, layer=arguments.layer or LAYERS[arguments.model])
    scorers: dict[str, Callable[[Labelled], list[float]]] = {
        "source_precision": lambda data: column(SourcePrecision(encoder), data, "source_precision"),
        "unsupported_items": lambda data: column(Unsupported(), data, "unsupported_items", sign=-1),
        "unsupported_rate": lambda data: column(Unsupported(), data, "unsupported_rate", sign=-1),
        "coverage": lambda data: column(Surface(), data, "coverage"),
        "density": lambda data: column(Surface(), data, "density"),
        "embedded": lambda data: load("embedded", unproven=True).score(
            [(s.source, s.response) for s in data.samples]
        ),
    }
    wanted = arguments.only.split(",") if arguments.only else [*scorers]
    titles = [
        "data",
        "n (unfaithful)",
        "score",
        "AUROC",
        "balanced accuracy",
        "rejected: unfaithful, faithful",
        "pairs a second",
    ]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for name, data in read(arguments.data).items():
        for score in wanted:
            started = time.process_time()
            found = scorers[score](data)
            print(
                line(name, data, score, found, f"{len(found) / (time.process_time() - started):,.0f}"),
                flush=True,
            )
        for score, found in data.recorded.items():
            print(line(name, data, f"{score}, as recorded", found, ""), flush=True)
    articles = Labelled(news(arguments.data / "realsumm"), [])
    for score in ("unsupported_items", "source_precision"):
        started = time.process_time()
        n = len(scorers[score](articles))
        print(
            f"realsumm: {score}, {n} summaries, {n / (time.process_time() - started):,.1f} a second and core"
        )


def column(metric: Metric, data: Labelled, key: str, sign: float = 1.0) -> list[float]:
    """One score of each pair, NaN where it has none."""
    return [sign * found.get(key, math.nan) for found in metric.score(data.samples)]


def line(name: str, data: Labelled, score: str, found: Sequence[float], speed: str) -> str:
    """A row of the table."""
    sources = [sample.source for sample in data.samples]
    area = HeldOut.measure(found, data.labels, sources)
    passed = verdicts(found, data.labels, sources)
    value, low, high = balanced_accuracy(passed, data.labels, sources)
    wrong, right = (np.mean(~passed[np.array(data.labels) == label]) for label in (0, 1))
    return (
        f"| {name} | {area.n} ({area.n - sum(data.labels)}) | {score} | {area.auroc:.3f} [{area.low:.3f}, {area.high:.3f}] "
        f"| {value:.3f} [{low:.3f}, {high:.3f}] | {wrong:.0%}, {right:.0%} | {speed} |"
    )


def verdicts(scores: Sequence[float], labels: Sequence[int], sources: Sequence[str]) -> NDArray[np.bool_]:
    """Which pairs pass, at thresholds chosen out of fold."""
    values, truth = np.array(scores), np.array(labels)
    fold = np.array([int(sha256(source.encode()).hexdigest()[:8], 16) % FOLDS for source in sources])
    passed = np.zeros(len(values), bool)
    for k in range(FOLDS):
        passed[fold == k] = values[fold == k] >= best_threshold(values[fold != k], truth[fold != k])
    return passed


def balanced_accuracy(
    passed: NDArray[np.bool_], labels: Sequence[int], sources: Sequence[str]
) -> tuple[float, float, float]:
    """Balanced accuracy of verdicts, with its interval."""
    truth = np.array(labels)
    number = {source: i for i, source in enumerate(dict.fromkeys(sources))}
    members: list[list[int]] = [[] for _ in number]
    for i, source in enumerate(sources):
        members[number[source]].append(i)
    groups = [np.array(found) for found in members]

    def measured(index: IntArray) -> float:
        rows = np.concatenate([groups[i] for i in index])
        shares = [
            np.mean(passed[rows][truth[rows] == label] == label)
            for label in (0, 1)
            if (truth[rows] == label).any()
        ]
        return float(np.mean(shares)) if len(shares) == 2 else math.nan

    interval = percentile_interval(measured, len(groups))
    return measured(np.arange(len(groups))), interval.low, interval.high


def best_threshold(values: FloatArray, labels: NDArray[np.int64]) -> float:
    """The least score that passes, where the mean of both classes' accuracies is best."""
    from sklearn.metrics import roc_curve

    false_rate, true_rate, thresholds = roc_curve(labels, values)
    return float(thresholds[np.argmax(true_rate - false_rate)])


def read(data: Path) -> dict[str, Labelled]:
    """The sets that are there."""
    rows, recorded = read_faithbench(data / "faithbench" / "samples_batches_1_8.jsonl")
    found = {
        "faithbench": of_rows(rows, recorded),
        "factcc_rank19": of_rows(list(read_factcc(data / "factcc_rank19" / "pairs.jsonl")), {}),
    }
    pairs = [
        (row["orig_mr"], row["ref"], int(not between(parse(row["orig_mr"]), parse(row["mr"])).hallucinated))
        for row in rows_of(data / "e2e" / "cleaned_test.csv")
    ]
    found["e2e"] = of_rows(pairs, {})
    return found


def news(folder: Path) -> list[Sample]:
    """Five summaries of each article, by the first systems."""
    articles = {row["doc_id"]: row["source"] for row in iter_jsonl(folder / "docs.jsonl")}
    taken: Counter[str] = Counter()
    found = []
    for row in iter_jsonl(folder / "outputs.jsonl"):
        taken[row["doc_id"]] += 1
        if taken[row["doc_id"]] <= 5:
            found.append(
                Sample(
                    source=articles[row["doc_id"]],
                    references=(),
                    response=strip_marks(row["summary"], ("<t>", "</t>")),
                )
            )
    return found


def of_rows(rows: Sequence[tuple[str, str, int]], recorded: dict[str, list[float]]) -> Labelled:
    """Pairs of source, text and label."""
    samples = [Sample(source=source, references=(), response=text.strip()) for source, text, _ in rows]
    return Labelled(samples, [label for *_, label in rows], recorded)


if __name__ == "__main__":
    main()
