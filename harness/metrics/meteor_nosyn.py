"""METEOR without the synonym stage: lower than METEOR, comparable only with itself, and named so."""

from __future__ import annotations

from harness.metrics.base import Family, Options
from harness.metrics.meteor import SCORES_WITHOUT_SYNONYMS, Meteor


def from_options(_options: Options) -> Meteor:
    """Build from task metadata; there are no options."""
    return Meteor(None)


FAMILY = Family(scores=SCORES_WITHOUT_SYNONYMS, from_options=from_options)
