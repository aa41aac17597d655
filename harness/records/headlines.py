"""Headlines computed again from a record's samples.

Nothing but the record is needed: not the judge, the encoder or the word list that scored the samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.metrics.base import CorpusScore, Sample
from harness.metrics.registry import build, corpus_scorer
from harness.metrics.suite import Bootstrap, ScoreSummary, with_interval
from harness.records.documents import Document
from harness.records.record import Record, SampleRecord

_TOLERANCE = 1e-9


def values_of(record: Record, key: str) -> dict[int, float]:
    """One score by ``doc_id``; a `CorpusScore` where the samples carry its statistics."""
    return {
        sample.doc_id: CorpusScore(score, sample.statistics[key]) if key in sample.statistics else score
        for sample in record.samples
        if (score := sample.scores.get(key)) is not None
    }


def headline(record: Record, key: str) -> ScoreSummary | None:
    """One headline; None where no sample carries the score.

    Raises:
        HarnessError: If the score is a corpus score of a family that this version does not know.
    """
    values = list(values_of(record, key).values())
    if not values or key not in record.scores:
        return None
    value, low, high = with_interval(values, Bootstrap(**record.bootstrap), scorer_of(record, key))
    return ScoreSummary(**{**record.scores[key], "value": value, "low": low, "high": high, "n": len(values)})


def scorer_of(record: Record, key: str) -> Any:
    """How a corpus score follows from summed statistics; None for a mean.

    Raises:
        HarnessError: If no known family claims the key.
    """
    if not any(key in sample.statistics for sample in record.samples):
        return None
    scorer = corpus_scorer(record.metrics, record.metric_options, key)
    if scorer is None:
        raise HarnessError(
            f"{record.model} on {record.task}: {key} is a corpus score that no metric family here computes",
            "Use the version of harness that made the record.",
        )
    return scorer


def check_record(record: Record, path: Path) -> None:
    """Require that the headlines in a record are what its samples give.

    Raises:
        HarnessError: Naming each headline that differs.
    """
    problems = []
    for key, stated in record.scores.items():
        found = headline(record, key)
        for field in ("value", "low", "high", "n"):
            computed = None if found is None else getattr(found, field)
            if not _same(computed, stated[field]):
                problems.append(f"{path}: {key} {field} is {stated[field]}, the samples give {computed}")
    HarnessError.raise_for(problems, "Restore the files, or run the evaluation again.")


def _same(computed: float | None, stated: float | None) -> bool:
    if computed is None or stated is None:
        return computed is stated
    return abs(computed - stated) <= _TOLERANCE * max(1.0, abs(stated))


def corpus_statistics(
    samples: Sequence[SampleRecord],
    documents: Sequence[Document],
    families: Sequence[str],
    options: Mapping[str, Any],
    scores: Mapping[str, Mapping[str, Any]],
    made_by: str,
) -> tuple[SampleRecord, ...]:
    """Samples with the counts behind their corpus scores, which lm-eval's log leaves out: the texts are scored again.

    Raises:
        HarnessError: If this version computes such a score in another way than the one that made the results.
    """
    keys = [key for key in scores if corpus_scorer(families, options, key) is not None]
    missing = [key for key in keys if any(key in s.scores and key not in s.statistics for s in samples)]
    if not missing:
        return tuple(samples)
    owners = {key: family for family in families for key in missing if corpus_scorer([family], options, key)}
    metrics = {family: build([family], options)[0] for family in set(owners.values())}
    problems = [
        f"{key} was computed as {scores[key]['signature']}, and is {signature} here"
        for key, family in owners.items()
        if (signature := metrics[family].signature(key)) != scores[key]["signature"]
    ]
    HarnessError.raise_for(
        problems, f"Import the results with the version that made them: harness {made_by}."
    )
    texts = [
        Sample(source=document.source, references=document.references, response=sample.response.strip())
        for sample, document in zip(samples, documents, strict=True)
    ]
    found: list[dict[str, tuple[float, ...]]] = [dict(sample.statistics) for sample in samples]
    for family, metric in metrics.items():
        chosen = [
            i for i, s in enumerate(samples) if any(k in s.scores for k, f in owners.items() if f == family)
        ]
        for i, rescored in zip(chosen, metric.score([texts[i] for i in chosen]), strict=True):
            for key in missing:
                score = rescored.get(key)
                if key in samples[i].scores and isinstance(score, CorpusScore):
                    found[i][key] = score.statistics
    return tuple(
        replace(sample, statistics=statistics) for sample, statistics in zip(samples, found, strict=True)
    )


def headlines_of_means(
    samples: Sequence[SampleRecord], results: Mapping[str, Any], task: str, bootstrap: Bootstrap
) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """Headlines of a task that is not ours.

    Returns:
        The scores whose mean over samples is what lm-eval states, with intervals; and those for which it is not (perplexity,
        BLEU, a maximum over groups), as stated.
    """
    stated = {
        name: float(value)
        for name, value in results["results"][task].items()
        if "," in name and "_stderr," not in name and isinstance(value, int | float) and math.isfinite(value)
    }
    filters = {name.partition(",")[2] for name in stated}
    directions = (results.get("higher_is_better") or {}).get(task) or {}
    scores: dict[str, dict[str, Any]] = {}
    left: dict[str, float] = {}
    for name, value in stated.items():
        metric, _, used_filter = name.partition(",")
        key = name if len(filters) > 1 else metric
        column = [sample.scores[key] for sample in samples if key in sample.scores]
        if not column or not _same(math.fsum(column) / len(column), value):
            left[key] = value
            continue
        mean, low, high = with_interval(column, bootstrap)
        version = results["versions"].get(task)
        scores[key] = {
            "value": mean,
            "low": low,
            "high": high,
            "n": len(column),
            "higher_is_better": directions.get(metric),
            "signature": f"{metric}|lm_eval:{results['lm_eval_version']}|task:{task}:{version}|filter:{used_filter}",
        }
    return scores, left
