"""Length and extractiveness: what a response looks like, beside how good it is.

A model can raise its faithfulness by copying; coverage and density show it. They have no better direction, so none is claimed.

Source: Grusky, Naaman and Artzi (2018), "Newsroom", section 3.2: fragments are found greedily from left to right, each the longest
run of response words that stands in the source; coverage is the share of response words inside fragments, density the mean
of squared fragment lengths per response word. Words are ROUGE tokens without stemming (the paper used spaCy's).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from harness.metrics.base import Family, Metric, Options, Sample, Score
from harness.metrics.rouge import tokenize

SCORES = {
    "length": Score(
        title="words of the response", kind="style", unit="words", higher_is_better=None, high=None
    ),
    "coverage": Score(
        title="share of the response's words that are copied from the source",
        kind="style",
        higher_is_better=None,
    ),
    "density": Score(
        title="mean length of the copied fragment that a word of the response stands in",
        kind="style",
        unit="words",
        higher_is_better=None,
        high=None,
    ),
}


class Surface(Metric):
    """`length` in white-space words, `coverage` in 0..1, `density` in words."""

    scores = SCORES

    def score(self, samples: Sequence[Sample]) -> list[dict[str, float]]:
        """See `harness.metrics.base.Metric`. Without a source, or without words, only the length is given."""
        return [self._score_one(sample) for sample in samples]

    def signature(self, key: str) -> str:
        """See `harness.metrics.base.Metric`."""
        return (
            "length|unit:words|version:1"
            if key == "length"
            else f"{key}|grusky2018|tok:rouge_score+scripts|version:1"
        )

    def _score_one(self, sample: Sample) -> dict[str, float]:
        scores = {"length": float(len(sample.response.split()))}
        source, response = tokenize(sample.source), tokenize(sample.response)
        if source and response:
            fragments = fragment_lengths(source, response)
            scores["coverage"] = sum(fragments) / len(response)
            scores["density"] = sum(length**2 for length in fragments) / len(response)
        return scores


def fragment_lengths(source: Sequence[str], response: Sequence[str]) -> list[int]:
    """Lengths of the extractive fragments of a response, in order (Grusky et al., 2018, figure 3)."""
    wanted = set(response)
    positions: defaultdict[str, list[int]] = defaultdict(list)
    for index, word in enumerate(source):
        if word in wanted:
            positions[word].append(index)
    lengths: list[int] = []
    start = 0
    while start < len(response):
        longest = max((_run(source, response, i, start) for i in positions[response[start]]), default=0)
        if longest:
            lengths.append(longest)
        start += max(longest, 1)
    return lengths


def _run(source: Sequence[str], response: Sequence[str], i: int, j: int) -> int:
    start = j
    while i < len(source) and j < len(response) and source[i] == response[j]:
        i, j = i + 1, j + 1
    return j - start


def from_options(_options: Options) -> Surface:
    """Build from task metadata; there are no options."""
    return Surface()


FAMILY = Family(scores=SCORES, from_options=from_options)
