"""What a reader must know about a row."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from harness.records.compare import differing_conditions
from harness.records.evidence import no_evidence
from harness.records.record import Header, Scored

GOLD_BACKEND = "harness-gold"


class Footnotes:
    """Numbers each distinct text once."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, texts: Sequence[str]) -> tuple[int, ...]:
        """The numbers of some texts, from 1."""
        for text in texts:
            if text not in self.texts:
                self.texts.append(text)
        return tuple(sorted({self.texts.index(text) + 1 for text in texts}))


def is_gold(record: Header) -> bool:
    """Whether the responses are the references themselves."""
    return record.provenance.get("backend") == GOLD_BACKEND


def signature_parts(signature: str) -> dict[str, str]:
    """The settings of a signature by name."""
    return dict(part.split(":", 1) for part in signature.split("|") if ":" in part)


def reads_itself(signature: str) -> bool:
    """Whether a score comes from the evaluated model's own attention: then models of other layouts have other classifiers."""
    return "reader:evaluated" in signature.split("|")


def own_readers(record: Header, first: Header, keys: Sequence[str]) -> list[str]:
    """A note on each score that another classifier gave than in the first row."""
    notes = []
    for key in keys:
        here, there = record.summary(key), first.summary(key)
        if here and there and here.signature != there.signature:
            name = signature_parts(here.signature).get("classifier", "another classifier")
            notes.append(
                f"{key}: by {name}, made for this model's heads; not comparable with rows without this note."
            )
    return notes


def without_evidence(record: Header, keys: Sequence[str]) -> list[str]:
    """A note on each score that says nothing of faithfulness, whatever its value."""
    reasons = {key: reason for key in keys if record.summary(key) and (reason := no_evidence(record, key))}
    return [f"{key} is no evidence: it is {reason}." for key, reason in reasons.items()]


def deviations(record: Scored, first: Scored) -> list[str]:
    """How a row's run differs from the first row's, and from a complete one."""
    origin: Mapping[str, Any] = record.provenance
    found = []
    if is_gold(record):
        found.append(
            "The references, scored as if a model had written them; their overlap with themselves says nothing."
        )
    elif record.measured_elsewhere:
        where = ", ".join(str(origin[name]) for name in ("source", "url") if origin.get(name))
        accessed = f", accessed {origin['accessed']}" if origin.get("accessed") else ""
        found.append(f"Not measured here: published by {where or 'others'}{accessed}.")
    model = origin.get("model")
    if isinstance(model, dict) and (endpoint := model.get("endpoint")):
        found.append(f"Asked at an endpoint ({endpoint}): which weights answered is not known.")
    if first is not record and not is_gold(record):
        found += [f"Unlike the first row: {text}." for text in differing_conditions(first, record)]
    if not record.counts.get("answered", 1):
        found.append("Answered nothing.")
    if limit := origin.get("limit"):
        found.append(
            f"Only the first {limit:g} documents." if isinstance(limit, int | float) else f"Limit: {limit}."
        )
    if shortened := record.counts.get("shortened"):
        found.append(f"{shortened} sources were cut to fit the model's context.")
    if isinstance(dropped := origin.get("rows_dropped"), dict) and dropped:
        reasons = ", ".join(f"{number} {reason}" for reason, number in dropped.items())
        found.append(f"Rows of the data left out: {reasons}.")
    if re.search("-dirty$", str(origin["software"].get("commit") or "")):
        found.append("Made from a working tree with uncommitted changes.")
    return found
