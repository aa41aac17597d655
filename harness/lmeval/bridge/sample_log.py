"""A sample's scores on their way through lm-eval, and fields for its sample log alone.

Scores are made where all responses are at hand (`FactualTask.apply_filters`), and travel to ``process_results`` on the response.
Whatever ``process_results`` returns is a metric to lm-eval 0.4.13: ``evaluate`` lists its keys under ``metrics`` and aggregates
every item (with a mean, where no aggregation is known, which fails on a list). But the log's row itself is made by
``example.update(metrics)``, and `dict.update` copies a dict subclass as it is stored. So a dict that *shows* its scores in ``keys``
and ``items``, and *stores* more, puts the rest into the log and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import ItemsView, KeysView, Mapping, Sequence
from typing import Any

from harness.metrics.base import CorpusScore
from harness.metrics.lookback import WindowShare
from harness.metrics.unsupported import Supported
from harness.stats.rounding import rounded

WINDOWS = "lookback_windows"
STATISTICS = "statistics"
UNSUPPORTED = "unsupported_spans"


class WithFields(dict[str, Any]):
    """Scores, and beside them fields that only the sample log holds."""

    def __init__(self, scores: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
        super().__init__({**scores, **fields})
        self._scores = dict(scores)

    def keys(self) -> KeysView[str]:  # type: ignore[override]  # dict promises dict_keys, which cannot be subclassed
        """The scores' names."""
        return self._scores.keys()

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        """The scores."""
        return self._scores.items()


class Scored(str):
    """A response with its scores: plain text in every log, and the way from `apply_filters` to `process_results`."""

    scores: Mapping[str, float]

    def __new__(cls, text: str, scores: Mapping[str, float]) -> Scored:
        """A response with its scores."""
        self = super().__new__(cls, text)
        self.scores = scores
        return self


def unpack_scores(_doc: Mapping[str, Any], results: Sequence[Scored]) -> dict[str, Any]:
    """lm-eval's ``process_results``: the scores that `FactualTask.apply_filters` attached to the response."""
    return with_fields(results[0].scores)


def with_fields(scores: Mapping[str, float]) -> dict[str, Any]:
    """A sample's scores, with what the log holds beside them: the counts behind corpus scores, windows, and unsupported items.

    With the counts a headline is computed again from the log alone (`harness.records`); the texts need not be scored again.
    """
    counts = {
        key: [int(count) if float(count).is_integer() else count for count in score.statistics]
        for key, score in scores.items()
        if isinstance(score, CorpusScore)
    }
    windows = [list(w) for score in scores.values() if isinstance(score, WindowShare) for w in score.windows]
    has_windows = any(isinstance(score, WindowShare) for score in scores.values())
    spans = [list(span) for score in scores.values() if isinstance(score, Supported) for span in score.spans]
    fields: dict[str, Any] = {STATISTICS: counts} if counts else {}
    fields |= {WINDOWS: windows} if has_windows else {}
    fields |= {UNSUPPORTED: spans} if spans else {}
    return WithFields(scores, fields) if fields else dict(scores)


def as_published(scores: Mapping[str, float]) -> dict[str, float]:
    """A sample's scores with the digits that are published, so that a headline follows from them wherever it is computed.

    A number that is none (NaN) is left out: the sample failed.
    """
    return {key: _rounded(score) for key, score in scores.items() if math.isfinite(score)}


def _rounded(score: float) -> float:
    value = rounded(score)
    if isinstance(score, Supported):
        return Supported(value, score.spans)
    if not isinstance(score, CorpusScore):
        return value
    counts = [rounded(count) for count in score.statistics]
    if isinstance(score, WindowShare):
        return WindowShare(value, counts, score.windows)
    return CorpusScore(value, counts)
