"""Faithfulness in the news world, by its rule-based oracle: exact, and defined nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.metrics.base import Sample
from harness.newsworld.oracle import judge


class Oracle:
    """``oracle_faithfulness``, and the shares of the three ways to fail; the four add up to 1."""

    keys: Mapping[str, bool | None] = {
        "oracle_faithfulness": True,
        "oracle_intrinsic": False,
        "oracle_extrinsic": False,
        "oracle_unparsable": False,
    }

    def score(self, samples: Sequence[Sample]) -> list[dict[str, float]]:
        """1.0 for the kind of each response, 0.0 for the others."""
        kinds = [judge(sample.source, sample.response).kind for sample in samples]
        return [
            {
                "oracle_faithfulness": float(kind == "faithful"),
                "oracle_intrinsic": float(kind == "intrinsic"),
                "oracle_extrinsic": float(kind == "extrinsic"),
                "oracle_unparsable": float(kind == "unparsable"),
            }
            for kind in kinds
        ]

    def signature(self, key: str) -> str:
        """See `harness.metrics.base.Metric.signature`."""
        return f"{key}|world:newsworld|rules:1"
