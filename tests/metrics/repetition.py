"""A metric as a contributor would add it: this file, and one line in `harness.metrics.registry.FAMILIES`.

How much a response repeats itself: the share of its word 4-grams that occurred before (seq-rep-4 of Welleck et al., 2020, "Neural
Text Generation with Unlikelihood Training", section 6.1).
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.metrics.base import Family, Metric, Sample, Score

SCORES = {
    "repetition": Score(
        title="share of word 4-grams that occurred before", kind="style", higher_is_better=False, leading=True
    )
}


class Repetition(Metric):
    scores = SCORES

    def __init__(self, order: int) -> None:
        self._order = order

    def score(self, samples: Sequence[Sample]) -> list[dict[str, float]]:
        return [self._score_one(sample.response.split()) for sample in samples]

    def signature(self, key: str) -> str:
        return f"{key}|order:{self._order}|tok:space|version:1"

    def _score_one(self, words: list[str]) -> dict[str, float]:
        grams = [tuple(words[i : i + self._order]) for i in range(len(words) - self._order + 1)]
        return {"repetition": 1 - len(set(grams)) / len(grams)} if grams else {}


FAMILY = Family(
    scores=SCORES,
    from_options=lambda options: Repetition(int(options["repetition_order"])),
    options={"repetition_order": 4},
)
