"""METEOR without the synonym stage: lower than METEOR, comparable only with itself, and named so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.metrics.meteor import Meteor

OPTIONS: Mapping[str, Any] = {}


def from_options(_options: Mapping[str, Any]) -> Meteor:
    """Build from task metadata; there are no options."""
    return Meteor(None)
