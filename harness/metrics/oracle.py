"""Faithfulness in the news world, where a rule-based oracle knows the truth (`harness.newsworld.oracle`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.metrics.base import Sample
from harness.newsworld.oracle import judge

OPTIONS: Mapping[str, Any] = {}
_KINDS = {
    "faithful": "faithfulness",
    "intrinsic": "intrinsic",
    "extrinsic": "extrinsic",
    "unparsable": "unparsable",
}


class Oracle:
    """Share of summaries of each kind, in 0..1; the four keys of a sample sum to 1."""

    keys: Mapping[str, bool | None] = {
        "oracle_faithfulness": True,
        "oracle_intrinsic": False,
        "oracle_extrinsic": False,
        "oracle_unparsable": False,
    }

    def score(self, samples: Sequence[Sample]) -> list[dict[str, float]]:
        """See `harness.metrics.base.Metric`; the source must be a news-world article."""
        scores = []
        for sample in samples:
            kind = judge(sample.source, sample.response).kind
            scores.append({f"oracle_{name}": float(kind == this) for this, name in _KINDS.items()})
        return scores

    def signature(self, key: str) -> str:
        """See `harness.metrics.base.Metric`."""
        return f"{key}|newsworld|unit:summary|version:1"


def from_options(_options: Mapping[str, Any]) -> Oracle:
    """Build from task metadata; there are no options."""
    return Oracle()
