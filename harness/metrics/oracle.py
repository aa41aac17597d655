"""Faithfulness in the news world, where a rule-based oracle knows the truth (`harness.newsworld.oracle`)."""

from __future__ import annotations

from collections.abc import Sequence

from harness.metrics.base import Family, Metric, Options, Sample, Score
from harness.newsworld.oracle import judge

_KINDS = {
    "faithful": "faithfulness",
    "intrinsic": "intrinsic",
    "extrinsic": "extrinsic",
    "unparsable": "unparsable",
}
SCORES = {
    "oracle_faithfulness": Score(
        title="share of summaries that the news world's oracle finds faithful",
        kind="faithfulness",
        leading=True,
    ),
    "oracle_intrinsic": Score(
        title="share of summaries that give a value of the article to the wrong role",
        kind="faithfulness",
        higher_is_better=False,
    ),
    "oracle_extrinsic": Score(
        title="share of summaries with a value that the article does not hold",
        kind="faithfulness",
        higher_is_better=False,
    ),
    "oracle_unparsable": Score(
        title="share of summaries that the oracle cannot read",
        kind="faithfulness",
        higher_is_better=False,
    ),
}


class Oracle(Metric):
    """Share of summaries of each kind, in 0..1; the four keys of a sample sum to 1."""

    scores = SCORES

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


def from_options(_options: Options) -> Oracle:
    """Build from task metadata; there are no options."""
    return Oracle()


FAMILY = Family(scores=SCORES, from_options=from_options)
