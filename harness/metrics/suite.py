"""Scoring a whole task: every metric on every answer, then one summary with intervals.

The one path by which lm-eval tasks, boards and library users obtain a score.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np

from harness.metrics.answers import KINDS, AnswerRule
from harness.metrics.base import CorpusMetric, CorpusScore, FloatArray, Metric, Sample
from harness.stats import Interval, bootstrap_interval, bootstrap_statistic, wilson_interval

ANSWER_RATE = "answer_rate"


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """How intervals are made."""

    n_resamples: int = 1000
    confidence: float = 0.95
    seed: int = 12345


@dataclass(frozen=True, kw_only=True)
class ScoreSummary:
    """One headline score."""

    value: float
    """In the metric's own unit: chrF in 0..100, shares and ROUGE in 0..1, length in words."""
    low: float | None
    """Lower limit of the interval; None where a single sample gives none."""
    high: float | None
    n: int
    """Samples that carry the score; the task's other samples failed."""
    higher_is_better: bool | None
    signature: str


@dataclass(frozen=True, kw_only=True)
class Summary:
    """All that a task reports about a set of responses."""

    counts: dict[str, int]
    """``n`` responses, of which ``answered``, and ``failed`` = ``empty`` + ``error`` + ``short`` + ``refused``."""
    scores: dict[str, ScoreSummary]
    bootstrap: Bootstrap

    def to_dict(self) -> dict[str, Any]:
        """Plain data without NaN, ready for JSON."""
        return asdict(self)


class Suite:
    """The metrics of a task and the rule that says which responses they see.

    Args:
        metrics: No two may share a key.
        rule: Which responses are answers.
    """

    def __init__(self, metrics: Sequence[Metric], rule: AnswerRule | None = None) -> None:
        self.metrics = tuple(metrics)
        self.rule = rule or AnswerRule()
        self._metric_of = {key: metric for metric in self.metrics for key in metric.keys}
        if (
            len(self._metric_of) != sum(len(metric.keys) for metric in self.metrics)
            or ANSWER_RATE in self._metric_of
        ):
            raise ValueError("two metrics of a suite share a key")

    @property
    def keys(self) -> Mapping[str, bool | None]:
        """Every score's name, and whether higher is better; the answer rate comes last."""
        return {key: metric.keys[key] for key, metric in self._metric_of.items()} | {ANSWER_RATE: True}

    def signature(self, key: str) -> str:
        """Signature of one score."""
        return self.rule.signature() if key == ANSWER_RATE else self._metric_of[key].signature(key)

    def score(self, samples: Sequence[Sample]) -> list[dict[str, float]]:
        """Score every sample, in order; a failed one has the answer rate alone."""
        scores: list[dict[str, float]] = [{ANSWER_RATE: float(self.rule.valid(s.response))} for s in samples]
        answered = [i for i, sample in enumerate(samples) if self.rule.kind(sample.response) == "answered"]
        if answered:
            subset = [samples[i] for i in answered]
            for metric in self.metrics:
                for i, found in zip(answered, metric.score(subset), strict=True):
                    scores[i].update(found)
        return scores

    def counts(self, responses: Sequence[str]) -> dict[str, int]:
        """Count responses by kind."""
        kinds = Counter(self.rule.kind(response) for response in responses)
        by_kind: dict[str, int] = {kind: kinds[kind] for kind in KINDS}
        return {"n": len(responses), "failed": len(responses) - kinds["answered"], **by_kind}

    def aggregate(self, key: str, scores: Sequence[float]) -> float:
        """The headline of one score: the mean, or the corpus score where the samples carry statistics."""
        if not scores:
            return math.nan
        if isinstance(scores[0], CorpusScore):
            metric = cast(CorpusMetric, self._metric_of[key])
            return float(metric.corpus_scores(key, statistics_of(scores).sum(axis=0, keepdims=True))[0])
        return math.fsum(scores) / len(scores)

    def metric_of(self, key: str) -> Metric:
        """The family that computes a score."""
        return self._metric_of[key]

    def is_corpus_score(self, key: str) -> bool:
        """Whether the headline is computed on the corpus and not a mean over samples."""
        return key in getattr(self._metric_of.get(key), "corpus_keys", ())

    def summarise(
        self,
        responses: Sequence[str],
        scores: Sequence[Mapping[str, float]],
        bootstrap: Bootstrap | None = None,
    ) -> Summary:
        """Aggregate per-sample scores, with a bootstrap interval for each headline.

        Args:
            responses: All responses, for the counts.
            scores: What `score` gave, in the same order: the bootstrap draws depend on it.
            bootstrap: Number of resamples, confidence and seed.
        """
        bootstrap = bootstrap or Bootstrap()
        summaries = {}
        for key in self.keys:
            values = [sample[key] for sample in scores if key in sample]
            if values:
                summaries[key] = self.summarise_key(key, values, bootstrap)
        return Summary(counts=self.counts(responses), scores=summaries, bootstrap=bootstrap)

    def summarise_key(
        self, key: str, values: Sequence[float], bootstrap: Bootstrap | None = None
    ) -> ScoreSummary:
        """One headline with its interval, from the values of the samples that carry the score."""
        interval = self._interval(key, values, bootstrap or Bootstrap()) if len(values) > 1 else None
        return ScoreSummary(
            value=self.aggregate(key, values),
            low=None if interval is None or math.isnan(interval.low) else interval.low,
            high=None if interval is None or math.isnan(interval.high) else interval.high,
            n=len(values),
            higher_is_better=self.keys[key],
            signature=self.signature(key),
        )

    def _interval(self, key: str, scores: Sequence[float], bootstrap: Bootstrap) -> Interval:
        if all(score in (0.0, 1.0) for score in scores):
            # a bootstrap of a rate near 0 or 1 has next to no width: docs/statistics.md has the measurement
            return wilson_interval(int(sum(scores)), len(scores), confidence=bootstrap.confidence)
        if not isinstance(scores[0], CorpusScore):
            return bootstrap_interval(scores, **asdict(bootstrap))
        metric = cast(CorpusMetric, self._metric_of[key])
        return bootstrap_statistic(
            statistics_of(scores), lambda sums: metric.corpus_scores(key, sums), **asdict(bootstrap)
        )


def statistics_of(scores: Iterable[float]) -> FloatArray:
    """Counts behind corpus scores, float [n, k]."""
    return np.array(
        [score.statistics for score in scores if isinstance(score, CorpusScore)], dtype=np.float64
    )
