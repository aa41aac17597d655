"""Scoring a whole task: every metric on every answer, then one summary with intervals.

The one path by which lm-eval tasks, boards and library users obtain a score.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.metrics import answers
from harness.metrics.answers import KINDS, AnswerRule
from harness.metrics.base import CorpusScore, FloatArray, Metric, Sample, Score
from harness.stats.bootstrap import ScoreFunction
from harness.stats.headline import headline, headline_value
from harness.stats.held_out import HeldOut

if TYPE_CHECKING:
    from harness.models.load import LanguageModel


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
        self._metric_of = {key: metric for metric in self.metrics for key in metric.scores}
        shared = len(self._metric_of) < sum(len(metric.scores) for metric in self.metrics)
        if shared or answers.SCORES.keys() & self._metric_of.keys():
            raise ValueError("two metrics of a suite share a key")
        self.scores: Mapping[str, Score] = {
            key: metric.scores[key] for key, metric in self._metric_of.items()
        } | answers.SCORES
        """What each key of `score` is; those of `harness.metrics.answers` come last."""

    @property
    def keys(self) -> Mapping[str, bool | None]:
        """Every score's name, and whether higher is better, in the order of `scores`."""
        return {key: score.higher_is_better for key, score in self.scores.items()}

    def signature(self, key: str) -> str:
        """Signature of one score."""
        return self.rule.signature(key) if key in answers.SCORES else self._metric_of[key].signature(key)

    def prepare(self, model: LanguageModel | None) -> None:
        """Show the evaluated model to the metrics that read its attention; None if it has none to show."""
        for metric in self.metrics:
            metric.prepare(model)

    def check_sources(self, sources: Sequence[str]) -> None:
        """Show the documents' sources to the metrics, of which some mean nothing on some texts; see `Metric.check_sources`."""
        for metric in self.metrics:
            metric.check_sources(sources)

    def held_out(self) -> dict[str, HeldOut | None]:
        """Of the scores that a fitted model gives, how well it tells faithful texts from others; None where nobody has said."""
        return {key: found for metric in self.metrics for key, found in metric.held_out().items()}

    @property
    def absent(self) -> dict[str, str]:
        """Scores that this run will not have, with the reason."""
        return {key: why for metric in self.metrics for key, why in metric.absent.items()}

    def score(self, samples: Sequence[Sample]) -> list[dict[str, float]]:
        """Score every sample, in order; a failed one has the scores of `harness.metrics.answers` alone."""
        scores = [self.rule.scores(sample) for sample in samples]
        answered = [i for i, sample in enumerate(samples) if self.rule.kind(sample.response) == "answered"]
        if answered:
            for metric in self.metrics:
                scored = _with_what_it_reads(metric, answered, samples)
                found = metric.score([samples[i] for i in scored]) if scored else []
                for i, own in zip(scored, found, strict=True):
                    scores[i].update(own)
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
        return headline_value(*_columns(scores), self._corpus_score(key, scores))

    def is_corpus_score(self, key: str) -> bool:
        """Whether the headline is computed on the corpus and not a mean over samples."""
        return key in self.scores and self.scores[key].corpus

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
        settings = asdict(bootstrap or Bootstrap())
        value, interval = headline(*_columns(values), self._corpus_score(key, values), **settings)
        return ScoreSummary(
            value=value,
            low=interval.low if interval else None,
            high=interval.high if interval else None,
            n=len(values),
            higher_is_better=self.scores[key].higher_is_better,
            signature=self.signature(key),
        )

    def _corpus_score(self, key: str, scores: Sequence[float]) -> ScoreFunction | None:
        if not isinstance(scores[0], CorpusScore):
            return None
        return partial(self._metric_of[key].corpus_scores, key)


def _with_what_it_reads(metric: Metric, answered: Sequence[int], samples: Sequence[Sample]) -> Sequence[int]:
    """Which samples a metric can score: those of overlap need references; where there are none at all, it says so."""
    if any(score.kind != "overlap" for score in metric.scores.values()):
        return answered
    found = [i for i in answered if samples[i].references]
    if not found:
        metric.absent = dict.fromkeys(metric.scores, "The data have no references.")
    return found


def _columns(scores: Sequence[float]) -> tuple[FloatArray, FloatArray | None]:
    """Scores, float [n], and the counts behind corpus scores, float [n, k]."""
    counts = [score.statistics for score in scores if isinstance(score, CorpusScore)]
    return np.array(scores, np.float64), np.array(counts, np.float64) if counts else None
