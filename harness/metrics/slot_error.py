"""Slot errors in data-to-text: what a restaurant description adds to its data, gets wrong and leaves out.

The source is a meaning representation (``name[The Mill], eatType[pub]``); reading and counting are in `harness.metrics.e2e`. The
slot error rate is SER = (missing + added + wrong + repeated) / slots, summed over the corpus (Wen et al., 2015, arXiv 1508.01745,
section 5.1; with wrong values as in Dušek, Howcroft and Rieser, 2019, W19-8652, section 3). What a text invents and what it leaves
out are also given apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from harness.metrics.base import CorpusScore, Family, FloatArray, Metric, Options, Sample, Score, rates
from harness.metrics.e2e.errors import SlotErrors, slot_errors
from harness.metrics.e2e.meaning import parse
from harness.stats.bootstrap import ScoreFunction

FAITHFUL, CORRECT = "slot_faithful", "slot_correct"
RATE, HALLUCINATED, OMITTED = "slot_error_rate", "slot_hallucinated", "slot_omitted"
_COUNTS = {
    "slot_added": "values of the response for which the data ask nothing",
    "slot_wrong": "values of the response in the place of other values",
    "slot_missing": "values of the data that the response leaves out",
    "slot_repeated": "values of the response said again in the place of another",
}
SCORES = {
    FAITHFUL: Score(
        title="share of responses that state nothing but the data", kind="faithfulness", leading=True
    ),
    CORRECT: Score(title="share of responses that state all the data and nothing else", kind="faithfulness"),
    RATE: Score(
        title="slot errors for each slot of the data",
        kind="faithfulness",
        higher_is_better=False,
        high=None,
        corpus=True,
    ),
    HALLUCINATED: Score(
        title="added and wrong values for each slot of the data",
        kind="faithfulness",
        higher_is_better=False,
        high=None,
        corpus=True,
    ),
    OMITTED: Score(
        title="share of the data's slots that the responses leave out",
        kind="faithfulness",
        higher_is_better=False,
        corpus=True,
    ),
} | {
    key: Score(title=title, kind="faithfulness", unit="slots", higher_is_better=False, high=None)
    for key, title in _COUNTS.items()
}


class SlotError(Metric):
    """Rates of a corpus, shares of responses, and counts for each response."""

    scores = SCORES

    def score(self, samples: Sequence[Sample]) -> list[dict[str, float]]:
        """See `harness.metrics.base.Metric`; a sample whose source holds no ``slot[value]`` has no score."""
        scores = [_scores_of(sample) for sample in samples]
        if samples and not any(scores):
            reason = "No source holds a meaning representation such as name[The Mill], eatType[pub]."
            self.absent = dict.fromkeys(self.scores, reason)
        return scores

    def corpus_scores(self, _key: str, sums: FloatArray, /) -> FloatArray:
        """See `harness.metrics.base.Metric`; the sums are errors and slots, shape [b, 2]."""
        return rates(sums)

    def signature(self, key: str) -> str:
        """See `harness.metrics.base.Metric`."""
        return f"{key}|dusek2019|data:e2e|reading:rules1|version:1"


def _scores_of(sample: Sample) -> dict[str, float]:
    meaning = parse(sample.source)
    if not meaning:
        return {}
    found = slot_errors(meaning, sample.response)
    return {
        FAITHFUL: float(not found.hallucinated),
        CORRECT: float(not found.total),
        RATE: _rate(found.total, found),
        HALLUCINATED: _rate(found.hallucinated, found),
        OMITTED: _rate(found.missing, found),
        "slot_added": float(found.added),
        "slot_wrong": float(found.wrong),
        "slot_missing": float(found.missing),
        "slot_repeated": float(found.repeated),
    }


def _rate(errors: int, found: SlotErrors) -> CorpusScore:
    return CorpusScore(errors / found.slots, (errors, found.slots))


def from_options(_options: Options) -> SlotError:
    """Build from task metadata; there are no options."""
    return SlotError()


def corpus_scorer(_options: Options, key: str) -> ScoreFunction:
    """See `harness.metrics.base.Family`."""
    return partial(SlotError().corpus_scores, key)


def empty_statistics(key: str, statistics: Sequence[float]) -> tuple[float, ...]:
    """Of an empty response: every slot is left out, nothing is invented."""
    slots = statistics[1]
    return (0.0 if key == HALLUCINATED else slots, slots)


FAMILY = Family(
    scores=SCORES,
    from_options=from_options,
    corpus_scorer=corpus_scorer,
    empty_statistics=empty_statistics,
)
