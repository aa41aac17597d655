"""What the scores of a record are: unit, direction, kind and range."""

from __future__ import annotations

from collections.abc import Iterable

from harness.errors import HarnessError
from harness.metrics.base import Score
from harness.metrics.registry import described, score_of
from harness.records.record import Header


def describe(record: Header, key: str) -> Score:
    """What a score of a record is.

    Our own keys are described by their metric family; imported ones by the record (``provenance.score``); of another author's task
    only the direction is known.

    Raises:
        HarnessError: If the record describes the key in a way that is none.
    """
    ours = score_of(key) if record.metrics and not record.measured_elsewhere else None
    if ours is not None:
        return ours
    stated = (record.provenance.get("score") or {}).get(key)
    if stated is None:
        better = record.scores.get(key, {}).get("higher_is_better")
        return Score(title=key, kind="other", higher_is_better=better, low=None, high=None)
    try:
        return Score(**{"title": key, **stated})
    except (TypeError, ValueError) as error:
        raise HarnessError(
            f"{record.model} on {record.task}: {key} is described in a way that is none ({error})",
            "Import the scores again.",
        ) from error


def in_order(keys: Iterable[str]) -> list[str]:
    """Distinct keys as they are shown where nobody chose: those of our families in their order, then the others by name."""
    place = {key: i for i, key in enumerate(described())}
    return sorted(set(keys), key=lambda key: (place.get(key, len(place)), key))
