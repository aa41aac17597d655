"""A public leaderboard's own verdicts: FaithJudge's rates to the digit, and how many of its ranks a paired test tells apart.

github.com/vectara/FaithJudge publishes the responses of 46 models to 511 documents with a judge's verdict on each. Nothing of it is
kept here (it states no licence): clone it, then

    python benchmarks/published_verdicts.py --data FaithJudge [--accessed 2026-11-24]

The verdicts go through `harness.records.import_scores`, as with ``harness import-scores``; the rates are those of the records.
"""

from __future__ import annotations

import argparse
import json
import re
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from harness.errors import HarnessError
from harness.files import iter_jsonl
from harness.records.headlines import wrong_headlines
from harness.records.import_scores import Published, Scale, import_scores, load_ids
from harness.records.reading import load_scored
from harness.records.record import Scored
from harness.records.score_rows import ScoreRow
from harness.stats import holm, pairwise_p_values

KEY = "hallucination_rate"
COUNTED = {"Consistent": 0.0, "Inconsistent": 1.0, "Invalid": 1.0}
"""Their table counts a response that is no answer as a hallucination."""
TASKS = ("faithbench-summary", "ragtruth-summary", "ragtruth-qa", "ragtruth-data2txt")
"""In the order of their table's columns."""
ALPHA = 0.05


def verdict_rows(data: Path) -> list[ScoreRow]:
    """``eval_results/<owner>/<model>/[<judge>_]<task>_hallucination_eval.txt``, which are JSON Lines."""
    rows = []
    for path in sorted(data.glob("eval_results/*/*/*_hallucination_eval.txt")):
        task = next(task for task in TASKS if path.name.endswith(f"{task}_hallucination_eval.txt"))
        for number, line in enumerate(iter_jsonl(path), start=1):
            place = f"{path.relative_to(data)}, row {number}"
            if line.get("classification") not in COUNTED:
                raise HarnessError(
                    f"{place}: not a verdict as FaithJudge publishes it", "Clone the repository again."
                )
            rows.append(
                ScoreRow(
                    place=place,
                    document=f"{task}/{line['source_id']}",
                    model="/".join(path.parts[-3:-1]),
                    response=line["candidate_text"],
                    response_sha256=None,
                    judge="FaithJudge, o3-mini",
                    scores={KEY: COUNTED[line["classification"]]},
                )
            )
    if not rows:
        raise HarnessError(
            f"{data}: no eval_results/*/*/*_hallucination_eval.txt", "Give a clone of vectara/FaithJudge."
        )
    return rows


def published_table(readme: str) -> dict[str, tuple[str, ...]]:
    """Model -> cells of their table: overall, then by task, as ``6.26%`` and ``19.44% (14/72)``."""
    cells = [
        [cell.strip() for cell in line.strip("| ").split("|")]
        for line in readme.splitlines()
        if line.startswith("|")
    ]
    return {
        name[1]: tuple(row[4:9])
        for row in cells
        if len(row) == 9 and (name := re.match(r"\[([^\]]+)\]\(", row[1]))
    }


def our_cells(record: Scored, ids: dict[int, str]) -> tuple[str, ...]:
    """The same from a record."""
    values = record.values[KEY]
    tasks = np.array([ids[int(doc_id)].split("/")[0] for doc_id in record.doc_ids])
    parts = [values[(tasks == task) & ~np.isnan(values)] for task in TASKS]
    return (
        f"{100 * record.scores[KEY]['value']:.2f}%",
        *(f"{100 * part.mean():.2f}% ({int(part.sum())}/{len(part)})" for part in parts),
    )


def report(records: list[tuple[Scored, dict[int, str]]], theirs: dict[str, tuple[str, ...]]) -> None:
    """Each model, then what the paired tests say of their order."""
    records = sorted(records, key=lambda item: (item[0].scores[KEY]["value"], item[0].model))
    print(
        "| | model | hallucination rate | 95% interval | published | all five cells alike | p against the next |"
    )
    print("|---:|---|---:|---:|---:|---|---:|")
    values = np.stack([record.values[KEY] for record, _ in records])
    m = len(records)
    p_of = pairwise_p_values(values, rates=True)
    neighbours = [float(p_of[i, i + 1]) for i in range(m - 1)]
    alike = 0
    for i, (record, ids) in enumerate(records):
        score, cells, published = record.scores[KEY], our_cells(record, ids), theirs.get(record.model)
        alike += cells == published
        p = f"{neighbours[i]:.4f}" if i < m - 1 else ""
        after = "< 0.0001" if p == "0.0000" else p
        print(
            f"| {i + 1} | {record.model} | {cells[0]} | {100 * score['low']:.1f} to {100 * score['high']:.1f} "
            f"| {published[0] if published else '-'} | {'yes' if cells == published else 'NO'} | {after} |"
        )
    print(
        f"\n{alike} of {m} models have the published rates to the digit, in all and in each of {len(TASKS)} parts."
    )
    adjusted = np.ones((m, m))
    pairs = np.triu_indices(m, k=1)
    adjusted[pairs] = holm(p_of[pairs].tolist())
    count = len(pairs[0])
    beside = holm(neighbours)
    print(
        f"Neighbouring ranks that differ: {sum(p <= ALPHA for p in neighbours)} of {m - 1} at p <= {ALPHA} unadjusted,"
    )
    print(f"{sum(p <= ALPHA for p in beside)} after Holm over the {m - 1} neighbours,")
    print(f"{sum(adjusted[i, i + 1] <= ALPHA for i in range(m - 1))} after Holm over all {count} pairs.")
    from_first = holm(p_of[0, 1:].tolist())
    print(f"Not told apart from the first: {(p_of[0, 1:] > ALPHA).sum()} of {m - 1} unadjusted,")
    print(f"{sum(p > ALPHA for p in from_first)} after Holm over the {m - 1} comparisons with it,")
    print(f"{(adjusted[0, 1:] > ALPHA).sum()} after Holm over all {count} pairs.")


def main() -> None:
    """Import, check and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="a clone of vectara/FaithJudge")
    parser.add_argument(
        "--accessed", type=date.fromisoformat, default=date.today(), help="when it was cloned"
    )
    parser.add_argument("--records", type=Path, help="keep the records in this folder")
    arguments = parser.parse_args()
    with TemporaryDirectory() as temporary:
        paths = import_scores(
            verdict_rows(arguments.data),
            arguments.records or Path(temporary),
            task="faithjudge",
            published=Published(
                source="FaithJudge (Vectara)",
                url="https://github.com/vectara/FaithJudge",
                accessed=arguments.accessed.isoformat(),
            ),
            scale=Scale(higher_is_better=False),
        )
        records = [(load_scored(path), load_ids(load_scored(path), path) or {}) for path in paths]
    for record, _ in records:
        if wrong := wrong_headlines(record):
            raise HarnessError(f"{record.model}: {json.dumps(wrong)}", "This is a bug.")
    report(records, published_table((arguments.data / "README.md").read_text("utf-8")))


if __name__ == "__main__":
    main()
