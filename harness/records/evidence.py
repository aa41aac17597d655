"""Whether a score that a fitted model gave is evidence: what a record says of how well that model tells faithful texts from others.

A record's provenance may hold ``held_out``: by key, the AUROC of the judge or lookback classifier behind the score on documents
that it was not fitted on, or null where nobody has said. Records made before it was stated have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.metrics.base import is_true
from harness.metrics.registry import FAMILIES, family
from harness.records.record import Header
from harness.stats.held_out import HeldOut

_INSISTING = {"consistency": "judge_unproven", "lookback": "lookback_unproven"}
"""Family -> the option by which a user insists on a model of which nothing shows that its scores mean anything."""


def held_out(record: Header, key: str) -> HeldOut | None:
    """How well the model behind a score does on held-out documents; None where the record does not say."""
    stated = _stated(record).get(key)
    return HeldOut.from_dict(stated) if stated else None


def proof_text(record: Header, key: str) -> str:
    """How well the model behind a score does, as it stands beside its name; empty where the record says nothing of it."""
    if key not in _stated(record):
        return ""
    found = held_out(record, key)
    if found is None:
        return "held-out AUROC not known"
    return f"held-out AUROC {found.auroc:.3f} [{found.low:.3f}, {found.high:.3f}]"


def no_evidence(record: Header, key: str) -> str | None:
    """Why a score is no evidence, as a phrase; None where nothing says that it is none."""
    found = held_out(record, key)
    if found and not found.beats_chance:
        return f"no better than chance: {found}"
    for name, option in _INSISTING.items():
        if (
            name in record.metrics
            and key in family(name).scores
            and is_true(record.metric_options.get(option))
        ):
            return f"taken from a model of which nothing shows that it can tell ({option})"
    return None


def wrong_measurements(record: Header) -> list[str]:
    """What a record states as a measurement and is none."""
    stated = record.provenance.get("held_out", {})
    if not isinstance(stated, dict):
        return ["held_out is no measurement by key"]
    known = {key for name in record.metrics if name in FAMILIES for key in family(name).scores}
    problems = [f"held_out of {key}, which is no score of these metrics" for key in stated.keys() - known]
    for key, found in stated.items():
        try:
            if found is not None:
                HeldOut.from_dict(found)
        except (TypeError, ValueError, AttributeError) as error:
            problems.append(f"held_out of {key} is no measurement ({error})")
    return sorted(problems)


def _stated(record: Header) -> Mapping[str, Any]:
    found: Mapping[str, Any] = record.provenance.get("held_out") or {}
    return found
