"""Headlines of an lm-eval run, computed from its samples and held against what its results state.

Our tasks state their headlines, with intervals and signatures, in their metadata. For any other task the headline is the mean
of its samples, kept only if it is the number that lm-eval states.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from harness.metrics.registry import corpus_scorer
from harness.records.headlines import headline
from harness.records.record import SampleRecord, Scored
from harness.records.samples import number
from harness.stats.rounding import rounded_tree

FIELDS = ("value", "low", "high", "n", "higher_is_better", "signature")
_TOLERANCE = 1e-6
"""Relative; samples are kept with nine digits."""
_NOISE = 1e-9
"""Absolute, for a limit that is 0 but for rounding errors."""


def recomputed(columns: Scored) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The headlines that the samples give, as a record states them, and where they are not what the results state.

    Args:
        columns: With the headlines of the results as its ``scores``; an interval that is None there is not compared.
    """
    scores: dict[str, dict[str, Any]] = {}
    problems = []
    for key, stated in columns.scores.items():
        found = headline(columns, key)
        if found is None:
            problems.append(f"{key} value is {stated['value']}, no sample has the score")
            continue
        scores[key] = {name: rounded_tree(getattr(found, name)) for name in FIELDS}
        for name in ("value", "low", "high", "n"):
            exact = getattr(found, name)
            if not _same(stated[name], exact) and not (stated[name] is None and name in ("low", "high")):
                problems.append(f"{key} {name} is {stated[name]}, the samples give {exact}")
    return scores, problems


def _same(stated: Any, exact: float | None) -> bool:
    if stated is None or exact is None or isinstance(exact, int):
        return bool(stated == exact)
    return bool(abs(stated - exact) <= _TOLERANCE * abs(exact) + _NOISE)


def of_our_task(metadata: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Headlines as the metadata of one of our tasks states them, and what is wrong with their form."""
    scores = {
        key: {name: score.get(name) for name in FIELDS}
        for key, score in metadata["scores"].items()
        if isinstance(score, dict)
    }
    problems = [
        f"{key}: no headline"
        for key in metadata["scores"]
        if key not in scores
        or number(scores[key]["value"]) is None
        or not isinstance(scores[key]["signature"], str)
    ]
    problems += [
        f"{key} {limit} is {scores[key][limit]!r}"
        for key in scores
        for limit in ("low", "high")
        if scores[key][limit] is not None and number(scores[key][limit]) is None
    ]
    return scores, problems


def without_counts(
    samples: Sequence[SampleRecord], families: Sequence[str], options: Mapping[str, Any]
) -> list[str]:
    """Corpus scores whose counts the sample log lacks, as logs of former versions did."""
    keys = sorted({key for sample in samples for key in sample.scores})
    return [
        key
        for key in keys
        if corpus_scorer(families, options, key) is not None
        and any(key in sample.scores and key not in sample.statistics for sample in samples)
    ]


def of_another_task(
    samples: Sequence[SampleRecord], results: Mapping[str, Any], task: str
) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """Headlines of a task that is not ours.

    Returns:
        The scores whose mean over samples is what lm-eval states, without intervals; and those for which it is not (perplexity,
        BLEU, a maximum over groups), as stated.
    """
    stated = {
        name: value
        for name, given in results["results"][task].items()
        if "," in name and "_stderr," not in name and (value := number(given)) is not None
    }
    filters = {name.partition(",")[2] for name in stated}
    directions = (results.get("higher_is_better") or {}).get(task) or {}
    scores: dict[str, dict[str, Any]] = {}
    left: dict[str, float] = {}
    for name, value in stated.items():
        metric, _, used_filter = name.partition(",")
        key = name if len(filters) > 1 else metric
        column = [sample.scores[key] for sample in samples if key in sample.scores]
        if not column or not _same(value, math.fsum(column) / len(column)):
            left[key] = value
            continue
        direction = directions.get(metric)
        scores[key] = {
            "value": value,
            "low": None,
            "high": None,
            "n": len(column),
            "higher_is_better": direction if isinstance(direction, bool) else None,
            "signature": f"{metric}|lm_eval:{results['lm_eval_version']}"
            f"|task:{task}:{results['versions'].get(task)}|filter:{used_filter}",
        }
    return scores, left


def counts_of(stated: Mapping[str, Any] | None, n: int) -> dict[str, int]:
    """Counts of a record; what a task did not know (``shortened``, where a backend shows no tokenizer) is left out."""
    return (
        {"n": n} if stated is None else {name: count for name, count in stated.items() if count is not None}
    )
