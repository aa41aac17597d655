"""Length and extractiveness: what must stand beside a faithfulness score, since short or copied text is easily faithful.

Source: Grusky, Naaman and Artzi 2018 (Newsroom), section 4: greedy extractive fragments, coverage and density.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from harness.metrics.base import Sample

_WORD = re.compile(r"\w+|[^\w\s]")


class Surface:
    """Keys ``length`` (white-space separated words), ``coverage`` (0..1) and ``density`` (words)."""

    keys: Mapping[str, bool | None] = {"length": None, "coverage": None, "density": None}

    def score(self, samples: Sequence[Sample]) -> list[dict[str, float]]:
        """Without a source there is nothing to copy from: coverage and density are left out."""
        return [self._score(sample) for sample in samples]

    def _score(self, sample: Sample) -> dict[str, float]:
        scores = {"length": float(len(sample.response.split()))}
        summary = _WORD.findall(sample.response.lower())
        if sample.source and summary:
            fragments = fragment_lengths(_WORD.findall(sample.source.lower()), summary)
            scores["coverage"] = sum(fragments) / len(summary)
            scores["density"] = sum(length**2 for length in fragments) / len(summary)
        return scores

    def signature(self, key: str) -> str:
        """See `harness.metrics.base.Metric.signature`."""
        return (
            "length|words:whitespace"
            if key == "length"
            else f"{key}|source:newsroom|case:lower|tokens:words+marks"
        )


def fragment_lengths(source: Sequence[str], summary: Sequence[str]) -> list[int]:
    """Lengths of the longest shared token runs, found greedily from the left of the summary (Newsroom, figure 3)."""
    places = defaultdict(list)
    for index, token in enumerate(source):
        places[token].append(index)
    fragments: list[int] = []
    start = 0
    while start < len(summary):
        longest = max((_run(source, place, summary, start) for place in places[summary[start]]), default=0)
        if longest:
            fragments.append(longest)
        start += max(longest, 1)
    return fragments


def _run(source: Sequence[str], place: int, summary: Sequence[str], start: int) -> int:
    length = 0
    while (
        place + length < len(source)
        and start + length < len(summary)
        and source[place + length] == summary[start + length]
    ):
        length += 1
    return length
