"""Scoring a record's texts again.

What `harness.records.check` cannot see, because it only holds a record against itself, is a score that its text never had. Every
score that follows from the texts by rule is computed anew and must be the same to the published digit; those of a judge, on
request, to `JUDGE_TOLERANCE`. The source is the whole document, also where the model was shown only its beginning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from harness.errors import HarnessError
from harness.judges.judge import THRESHOLD
from harness.metrics.answers import ANSWER_RATE, KINDS, LOOPING, TRUNCATED, AnswerRule
from harness.metrics.base import CorpusScore, Metric, Sample
from harness.metrics.consistency import MEAN, RATE
from harness.metrics.lookback import AT_HALF, AT_THRESHOLD, MEAN_P, WHOLLY
from harness.metrics.registry import FAMILIES, family
from harness.metrics.suite import Suite
from harness.metrics.unsupported import RESPONSES, unsupported_spans
from harness.records.documents import Document
from harness.records.record import Record, SampleRecord
from harness.stats.rounding import agrees

JUDGE_TOLERANCE = 1e-3
"""Absolute: what another processor, batch or release of torch changes in a judge's score of 0..1 is far below."""
_SHOWN = 3
_JUDGED = "consistency"
_LIBRARIES = re.compile(r"\|transformers:[^|]+\|torch:[^|]+")

Scores = Mapping[str, float]


@dataclass(kw_only=True)
class Recomputed:
    """What scoring the texts again gave."""

    keys: list[str] = field(default_factory=list)
    """Scores that were computed again."""
    left: dict[str, str] = field(default_factory=dict)
    """Scores that were not, with the reason."""
    problems: list[str] = field(default_factory=list)
    """Each score that differs, with the first samples; empty if none does."""


def recompute(record: Record, documents: Mapping[int, Document] | None, *, judge: bool = False) -> Recomputed:
    """Score the texts of a record again and compare.

    Args:
        record: With its texts.
        documents: What its documents file holds; None where it was not kept.
        judge: Also ask the judge that the record names.

    Raises:
        HarnessError: If the judge was asked for and cannot be had.
    """
    if (reason := _no_texts(record, documents)) is not None or documents is None:
        return Recomputed(left=dict.fromkeys(record.scores, reason or ""))
    found = Recomputed()
    responses = [(sample.response or "").strip() for sample in record.samples]
    rule = _answer_rule(record, responses, found)
    answered = [i for i, response in enumerate(responses) if rule.kind(response) == "answered"]
    texts = [_text(responses[i], documents[record.samples[i].doc_id]) for i in answered]
    for name in record.metrics:
        keys = [key for key in family(name).scores if key in record.scores]
        if not keys:
            continue
        why = _why_not(name, judge=judge)
        if name == "lookback":
            _compare_windows(record, keys, found)
        metric = None if why else _metric(name, keys, record, judge)
        if name == "unsupported" and not why:
            found.problems += _differing_spans(record, documents)
        if isinstance(metric, Metric):
            scores: list[Scores] = [{} for _ in responses]
            for i, given in zip(answered, metric.score(texts), strict=True):
                scores[i] = given
            _compare(record, keys, scores, found, _judged if name == _JUDGED else _by_rule)
            found.problems += _differing_counts(record, metric)
        else:
            found.left |= dict.fromkeys(keys, why or str(metric))
    return found


def _no_texts(record: Record, documents: Mapping[int, Document] | None) -> str | None:
    if record.measured_elsewhere:
        return "published by others, who scored it"
    if not record.metrics:
        return "of another author's task"
    if any(sample.response is None for sample in record.samples):
        return "responses were not passed on"
    if documents is None:
        return "the documents file was not kept"
    if any(sample.doc_id not in documents for sample in record.samples):
        return "documents are missing from the documents file"
    unknown = [name for name in record.metrics if name not in FAMILIES]
    return f"unknown metric {', '.join(unknown)}" if unknown else None


def _text(response: str, document: Document) -> Sample:
    return Sample(source=document.source, references=document.references, response=response)


def _answer_rule(record: Record, responses: Sequence[str], found: Recomputed) -> AnswerRule:
    """The rule that gives the record's counts, and the scores of responses as such compared.

    The signature states the least number of words; whether refusals were answers, only the counts show.
    """
    stated = re.search(r"\|words:>(\d+)", str(record.scores.get(ANSWER_RATE, {}).get("signature")))
    rules = [
        AnswerRule(min_words=int(stated[1]) if stated else 5, refusals=refusals) for refusals in (True, False)
    ]
    counts = [Suite((), rule).counts(responses) for rule in rules]
    fitting = [
        rule
        for rule, counted in zip(rules, counts, strict=True)
        if all(record.counts.get(kind) == counted[kind] for kind in KINDS)
    ]
    if not fitting:
        shown = ", ".join(f"{kind} {counts[0][kind]}" for kind in KINDS)
        found.problems.append(f"counts: the responses are {shown}")
    rule = (fitting or rules)[0]
    scores = [rule.scores(Sample(source="", references=(), response=text)) for text in responses]
    _compare(record, [ANSWER_RATE, LOOPING], scores, found, _by_rule)
    if TRUNCATED in record.scores:
        found.left[TRUNCATED] = "follows from the number of tokens, which only the model's tokenizer gives"
    return rule


def _why_not(name: str, *, judge: bool) -> str | None:
    """Why a family's scores do not follow from the texts; None if they do."""
    if name == _JUDGED:
        return None if judge else "asks the judge: --judge"
    if name == "lookback":
        return "follows from the logged windows, which only the model's attention gives"
    return None if family(name).contradiction is None or name == "meteor" else "needs its encoder"


def _metric(name: str, keys: Sequence[str], record: Record, judge: bool) -> Metric | str:
    """The metric as the record's options make it; the reason if it is another one here.

    Raises:
        HarnessError: If it is the judge, and the judge cannot be had.
    """
    options = {key: value for key, value in record.metric_options.items() if key != "judge_device"}
    try:
        metric = family(name).build(options)
    except HarnessError as error:
        if judge and name == _JUDGED:
            raise
        return error.problem
    except (TypeError, ValueError) as error:
        return f"its options cannot be read ({error})"
    for key in keys:
        ours, theirs = (
            _LIBRARIES.sub("", text) for text in (metric.signature(key), record.scores[key]["signature"])
        )
        if ours != theirs:
            return f"computed as {ours} here, as {theirs} in the record"
    return metric


def _compare(
    record: Record,
    keys: Sequence[str],
    scores: Sequence[Scores],
    found: Recomputed,
    same: Callable[[SampleRecord, str, Scores], bool],
) -> None:
    for key in keys:
        if key not in record.scores:
            continue
        found.keys.append(key)
        differing = [
            f"document {sample.doc_id} has {_shown(sample.scores.get(key))}, its text gives {_shown(given.get(key))}"
            for sample, given in zip(record.samples, scores, strict=True)
            if not same(sample, key, given)
        ]
        if differing:
            first = "; ".join(islice(differing, _SHOWN))
            found.problems.append(f"{key}: {len(differing)} of {len(scores)} samples differ ({first})")


def _shown(score: float | None) -> str:
    if score is None:
        return "none"
    counts = f" from {[*map(float, score.statistics)]}" if isinstance(score, CorpusScore) else ""
    return f"{score:.9g}{counts}"


def _by_rule(sample: SampleRecord, key: str, given: Scores) -> bool:
    """Whether score and counts are those of the text, to the published digit."""
    stated, exact = sample.scores.get(key), given.get(key)
    if stated is None or exact is None:
        return stated is exact
    counts = exact.statistics if isinstance(exact, CorpusScore) else ()
    logged = sample.statistics.get(key, ())
    return (
        agrees(stated, exact) and len(counts) == len(logged) and all(map(agrees, logged, map(float, counts)))
    )


def _judged(sample: SampleRecord, key: str, given: Scores) -> bool:
    """Whether a judge's score is the same within the tolerance; a verdict may turn where the score is that near the threshold."""
    stated, exact = sample.scores.get(key), given.get(key)
    if stated is None or exact is None:
        return stated is exact
    if key == RATE:
        return stated == exact or abs(given[MEAN] - THRESHOLD) <= JUDGE_TOLERANCE
    return abs(stated - exact) <= JUDGE_TOLERANCE


def _differing_counts(record: Record, metric: Metric) -> list[str]:
    return [
        f"counts say {name} = {record.counts.get(name)}, the texts give {count}"
        for name, count in metric.counts().items()
        if record.counts.get(name) != count
    ]


def _differing_spans(record: Record, documents: Mapping[int, Document]) -> list[str]:
    """Which samples mark other items as unsupported than their texts give."""
    differing = [
        f"document {sample.doc_id}"
        for sample in record.samples
        if RESPONSES in sample.scores
        and unsupported_spans(documents[sample.doc_id].source, (sample.response or "").strip())
        != list(sample.unsupported_spans or ())
    ]
    if not differing:
        return []
    return [
        f"unsupported_spans of {len(differing)} samples are not what their texts give ({', '.join(differing[:_SHOWN])})"
    ]


def _compare_windows(record: Record, keys: Sequence[str], found: Recomputed) -> None:
    """Hold the factual rate and its relatives against the windows of each response."""
    stated = re.search(r"\|p>=([0-9.e-]+)", str(record.scores.get(AT_THRESHOLD, {}).get("signature")))
    threshold = float(stated[1]) if stated else THRESHOLD
    scores = [
        _of_windows([p for *_, p in sample.lookback_windows or ()], threshold) for sample in record.samples
    ]
    checked = Recomputed()
    _compare(record, keys, scores, checked, _by_rule)
    found.problems += [problem.replace("its text gives", "its windows give") for problem in checked.problems]


def _of_windows(p: Sequence[float], threshold: float) -> Scores:
    if not p:
        return {}
    n = len(p)
    at_half, at_threshold = (float(sum(value >= least for value in p)) for least in (THRESHOLD, threshold))
    return {
        AT_HALF: CorpusScore(at_half / n, (at_half, n)),
        AT_THRESHOLD: CorpusScore(at_threshold / n, (at_threshold, n)),
        MEAN_P: CorpusScore(sum(p) / n, (sum(p), n)),
        WHOLLY: float(at_half == n),
    }
