"""What cannot be true of a record, whoever wrote it.

A record's name says that its content was not changed since, not that it was right to begin with. What follows from the rest is
therefore held against the rest: headlines against samples, samples against documents and counts, scores against their
definitions, signatures against options. At import, publish and verify alike; nothing that scored is needed.
`harness.records.deep` goes further and scores the texts again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from harness.metrics.answers import ANSWER_RATE, KINDS, LOOPING, SCORES
from harness.metrics.base import Score
from harness.metrics.registry import FAMILIES, corpus_scorer, score_of, signature_problem
from harness.metrics.suite import Bootstrap
from harness.records.described import describe
from harness.records.documents import Document
from harness.records.evidence import wrong_measurements
from harness.records.headlines import wrong_headlines
from harness.records.record import Header, Scored
from harness.stats.rounding import rounded
from harness.stats.ties import FloatArray

RESAMPLES = range(1000, 100_001)
"""Resamples that an interval printed as 95% may rest on: enough for its limits, and not so many that verifying never ends."""
_END_OF_TIME = 253_402_300_800  # the year 10000
_SHOWN = 3


def problems(record: Scored, documents: Mapping[int, Document] | None) -> list[str]:
    """What is wrong with a record, each as a phrase; empty if nothing is.

    Args:
        record: As read from its file.
        documents: What the documents file beside it holds; None where it was not kept.
    """
    settings = wrong_settings(record)
    return [
        *settings,
        *wrong_samples(record, documents),
        # with other settings of the bootstrap an interval is no interval of ours: there is nothing to compare
        *([] if settings else wrong_headlines(record)),
    ]


def wrong_settings(record: Header) -> list[str]:
    """What a header says that no record of ours does."""
    found = _bootstrap(record.bootstrap)
    found += [f"unknown metric family {name!r}" for name in record.metrics if name not in FAMILIES]
    if not 0 <= record.provenance["date"] < _END_OF_TIME:
        found.append(f"date {record.provenance['date']} is no time")
    found += wrong_measurements(record)
    if record.documents is None and not record.measured_elsewhere:
        found.append("no hash of the documents")
    if record.metrics and record.measured_elsewhere:
        found.append("scores measured elsewhere were computed by no metric family here")
    return found


def _bootstrap(stated: Mapping[str, Any]) -> list[str]:
    """Intervals are made in one way: who may choose seed or confidence may choose the interval."""
    usual = asdict(Bootstrap())
    fits: dict[str, Callable[[Any], bool]] = {
        "n_resamples": lambda value: type(value) is int and value in RESAMPLES,
        "confidence": lambda value: type(value) is float and value == usual["confidence"],
        "seed": lambda value: type(value) is int and value == usual["seed"],
    }
    if stated.keys() != fits.keys():
        return [f"bootstrap has {', '.join(sorted(stated)) or 'nothing'}, not {', '.join(sorted(fits))}"]
    allowed = {**usual, "n_resamples": f"{RESAMPLES.start} to {RESAMPLES.stop - 1}"}
    return [
        f"intervals with {name} {stated[name]}; they are made with {allowed[name]}"
        for name, fit in fits.items()
        if not fit(stated[name])
    ]


def wrong_samples(record: Scored, documents: Mapping[int, Document] | None) -> list[str]:
    """What samples say that contradicts the documents, the counts, or the definition of a score."""
    found = [*_documents(record, documents), *_counts(record)]
    for key in sorted({*record.scores, *record.values}):
        if key in record.scores:
            found += _statement(record, key)
        else:
            found.append(f"samples have {key}, which has no headline")
        if key in record.values:
            found += [f"{key}: {problem}" for problem in _column(record, key, record.values[key])]
    return found


def _documents(record: Scored, documents: Mapping[int, Document] | None) -> Iterator[str]:
    if (np.diff(record.doc_ids) <= 0).any():
        yield "documents occur twice or out of order"
    if documents is None:
        return
    ours = set(record.doc_ids.tolist())
    for name, ids in (("unknown", ours - documents.keys()), ("missing", documents.keys() - ours)):
        if ids:
            shown = ", ".join(map(str, sorted(ids)[:_SHOWN]))
            yield f"{len(ids)} of {len(documents)} documents {name} (first: {shown})"


def _counts(record: Scored) -> Iterator[str]:
    counts = record.counts
    if counts.get("n") != record.n:
        yield f"counts say n = {counts.get('n')}, there are {record.n} samples"
    for name, count in counts.items():
        if count > record.n:
            yield f"counts say {name} = {count} of {record.n}"
    if not record.metrics:
        return
    missing = [name for name in ("answered", "failed", *KINDS) if name not in counts]
    if missing:
        yield f"counts have no {', '.join(missing)}"
        return
    if counts["answered"] + counts["failed"] != record.n:
        yield f"answered {counts['answered']} and failed {counts['failed']} make not {record.n}"
    if counts["failed"] != sum(counts[kind] for kind in KINDS if kind != "answered"):
        yield f"the kinds of failure do not make {counts['failed']}"
    yield from _counted_scores(record)


def _counted_scores(record: Scored) -> Iterator[str]:
    """Whether as many samples carry scores as the counts say."""
    counts = record.counts
    answered = [record.answered(key) for key in record.values if key not in SCORES]
    scored = int(np.logical_or.reduce(answered).sum()) if answered else 0
    if scored > counts["answered"]:
        yield f"{scored} samples have scores, {counts['answered']} were answered"
    if (length := record.answered("length").sum()) != counts["answered"] and "surface" in record.metrics:
        yield f"{length} samples have a length, {counts['answered']} were answered"
    valid = int(np.nansum(record.values.get(ANSWER_RATE, np.zeros(1))))
    if not counts["answered"] <= valid <= counts["answered"] + counts["refused"]:
        yield f"{ANSWER_RATE} holds {valid} answers, the counts {counts['answered']} and {counts['refused']} refusals"
    judged = [counts.get(f"judge_{why}") for why in ("without_source", "longer_than_source", "failed")]
    left = counts["answered"] - sum(count or 0 for count in judged)
    if None not in judged and (n := record.answered("factual_consistency").sum()) != left:
        yield f"{n} samples have factual_consistency, the counts leave {left}"


def _statement(record: Scored, key: str) -> Iterator[str]:
    """What is wrong with a headline's direction and signature."""
    stated = record.scores[key]
    score = _definition(record, key)
    if score is not None and stated["higher_is_better"] != score.higher_is_better:
        yield f"{key}: higher_is_better is {stated['higher_is_better']}, by definition {score.higher_is_better}"
    if record.metrics:
        problem = signature_problem(key, stated["signature"], record.metrics, record.metric_options)
        yield from [problem] if problem else []
    elif not re.fullmatch(_foreign(record, key), stated["signature"]):
        whose = "of published scores" if record.measured_elsewhere else f"of lm-eval's on {record.task}"
        yield f"{key}: its signature {stated['signature']!r} is none {whose}"


def _foreign(record: Header, key: str) -> str:
    """The pattern of signatures of scores that are not ours: none of them can pass for one of ours."""
    if record.measured_elsewhere:
        return rf"{re.escape(key.replace('|', '/'))}\|published\|.+"
    task = re.escape(f"task:{record.task}:{record.task_version}")
    return rf"{re.escape(key.partition(',')[0])}\|lm_eval:[^|]+\|{task}\|filter:[^|]+"


def _column(record: Scored, key: str, values: FloatArray) -> Iterator[str]:
    """What is wrong with the samples' scores: range, digits, or the counts behind them."""
    score = _definition(record, key)
    if record.metrics and score is None:
        yield "no metric family here has such a score"
    if key in (ANSWER_RATE, LOOPING) and record.metrics and np.isnan(values).any():
        yield "a sample has none"
    if score is not None:
        low, high = (("any" if limit is None else f"{limit:g}") for limit in (score.low, score.high))
        for value in (np.nanmin(values), np.nanmax(values)):
            if not score.holds(float(value)):
                yield f"{value:g} is outside {low} to {high}"
    if (unrounded := _not_rounded(values)) is not None:
        yield f"{unrounded} is not rounded"
    yield from _statistics(record, key, values)


def _definition(record: Header, key: str) -> Score | None:
    """What a score is; None for a task that is not ours, whose author alone knows."""
    if record.measured_elsewhere:
        return describe(record, key)
    return score_of(key) if record.metrics else None


def _statistics(record: Scored, key: str, values: FloatArray) -> Iterator[str]:
    """The counts behind a corpus score: there for each sample, and such that they give its score."""
    scorer = corpus_scorer(record.metrics, record.metric_options, key)
    statistics = record.statistics.get(key)
    if (scorer is None) != (statistics is None):
        yield "has counts, and is no corpus score" if scorer is None else "a corpus score without its counts"
    if scorer is None or statistics is None:
        return
    present = ~np.isnan(values)
    if (np.isnan(statistics).any(axis=1) == present).any():
        yield "samples with the score and samples with its counts are not the same"
        return
    try:
        given = scorer(statistics[present])
    except (IndexError, ValueError) as error:
        yield f"the score does not follow from such counts ({error})"
        return
    apart = ~(np.abs(given - values[present]) <= 1e-6 * np.maximum(1.0, np.abs(given)))  # NaN is apart too
    if apart.any():
        first = int(np.flatnonzero(apart)[0])
        doc_id = record.doc_ids[present][first]
        yield f"document {doc_id} has {values[present][first]}, its counts give {given[first]}"


def _not_rounded(values: FloatArray) -> float | None:
    """The first value with more digits than are published; arithmetic finds the few that are worth a closer look."""
    size = np.abs(values)
    places = np.clip(8 - np.floor(np.log10(np.maximum(size, 0.1)) + 1e-12), 0, 8)
    scale = 10.0**places
    suspects = values[(np.rint(values * scale) / scale != values) & np.isfinite(values)]
    return next((value for value in suspects.tolist() if rounded(value) != value), None)
