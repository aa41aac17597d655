"""Fields for lm-eval's sample log alone.

Whatever ``process_results`` returns is a metric to lm-eval 0.4.13: ``evaluate`` lists its keys under ``metrics`` and aggregates
every item (with a mean, where no aggregation is known, which fails on a list). But the log's row itself is made by
``example.update(metrics)``, and `dict.update` copies a dict subclass as it is stored. So a dict that *shows* its scores in ``keys``
and ``items``, and *stores* more, puts the rest into the log and nowhere else.
"""

from __future__ import annotations

from collections.abc import ItemsView, KeysView, Mapping
from typing import Any

from harness.metrics.base import CorpusScore
from harness.metrics.lookback import SCORES, WindowShare

WINDOWS = "lookback_windows"
STATISTICS = "statistics"


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


def with_fields(scores: Mapping[str, float]) -> dict[str, Any]:
    """A sample's scores, with what the log holds of them: windows, and the counts that cannot be had from the text again."""
    windows = [(key, score) for key, score in scores.items() if isinstance(score, WindowShare)]
    if not windows:
        return dict(scores)
    counted = {
        key: list(s.statistics)
        for key, s in scores.items()
        if key in SCORES and isinstance(s, CorpusScore)
    }
    return WithFields(
        scores, {WINDOWS: [list(w) for _, s in windows for w in s.windows], STATISTICS: counted}
    )
