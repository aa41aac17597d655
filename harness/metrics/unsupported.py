"""Names, numbers, dates and quantities of a response that its source does not hold, found by rule.

No judge, no reference, no download. What the rules take for an item, and when a source holds it, is in `harness.metrics.items`;
what they cannot see is in docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

from harness.metrics.base import CorpusScore, Family, FloatArray, Metric, Options, Sample, Score, rates
from harness.metrics.items.compare import VERSION, Source, items
from harness.stats.bootstrap import ScoreFunction

RESPONSES, RATE, COUNT = "supported_responses", "unsupported_rate", "unsupported_items"
SCORES = {
    RESPONSES: Score(
        title="share of responses whose names, numbers and dates all stand in the source",
        kind="faithfulness",
        leading=True,
    ),
    RATE: Score(
        title="share of the responses' names, numbers and dates that the source does not hold",
        kind="faithfulness",
        higher_is_better=False,
        corpus=True,
    ),
    COUNT: Score(
        title="names, numbers and dates of a response that the source does not hold",
        kind="faithfulness",
        unit="items",
        higher_is_better=False,
        high=None,
    ),
}

Span = tuple[int, int, str]
"""Start and end (characters of the stripped response) and kind: name, number or date."""


class Supported(float):
    """Whether a response is supported, 1 or 0, which carries its unsupported items for the sample log."""

    spans: tuple[Span, ...]

    def __new__(cls, score: float, spans: Sequence[Span] = ()) -> Supported:
        """A score with its spans."""
        self = super().__new__(cls, score)
        self.spans = tuple(spans)
        return self

    def __getnewargs__(self) -> Any:  # pickled between ranks
        return float(self), self.spans


class Unsupported(Metric):
    """`supported_responses` in 0..1, `unsupported_rate` in 0..1 of the corpus, `unsupported_items` for each response."""

    scores = SCORES

    def score(self, samples: Sequence[Sample]) -> list[dict[str, float]]:
        """See `harness.metrics.base.Metric`; a sample without a source has no score, one without any item is supported."""
        scores = [_scores_of(sample) for sample in samples]
        if samples and not any(scores):
            self.absent = dict.fromkeys(self.scores, "No document has a source.")
        return scores

    def corpus_scores(self, _key: str, sums: FloatArray, /) -> FloatArray:
        """See `harness.metrics.base.Metric`; the sums are unsupported items and items, shape [b, 2]."""
        return rates(sums)

    def signature(self, key: str) -> str:
        """See `harness.metrics.base.Metric`."""
        return f"{key}|names,numbers,dates|items:{VERSION}|version:1"


def unsupported_spans(source: str, response: str) -> list[Span]:
    """The items of a response that a source does not hold, in order; characters of the response as it is given."""
    return [
        (item.start, item.end, item.kind) for item in items(_indexed(source), response) if not item.supported
    ]


@lru_cache(maxsize=64)
def _indexed(source: str) -> Source:
    """The index of a source, kept for the responses of other models, or to rows that share it."""
    return Source(source)


def _scores_of(sample: Sample) -> dict[str, float]:
    if not sample.source.strip():
        return {}
    found = items(_indexed(sample.source), sample.response)
    spans = [(item.start, item.end, item.kind) for item in found if not item.supported]
    rate = len(spans) / len(found) if found else 0.0
    return {
        RESPONSES: Supported(float(not spans), spans),
        RATE: CorpusScore(rate, (len(spans), len(found))),
        COUNT: float(len(spans)),
    }


def from_options(_options: Options) -> Unsupported:
    """Build from task metadata; there are no options."""
    return Unsupported()


def corpus_scorer(_options: Options, key: str) -> ScoreFunction:
    """See `harness.metrics.base.Family`."""
    return partial(Unsupported().corpus_scores, key)


FAMILY = Family(scores=SCORES, from_options=from_options, corpus_scorer=corpus_scorer)
