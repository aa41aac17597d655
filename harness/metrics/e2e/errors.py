"""Slot errors of a text: what it adds, leaves out, gets wrong, or says twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from harness.metrics.e2e.meaning import Meaning, n_values
from harness.metrics.e2e.reading import mentions


@dataclass(frozen=True, kw_only=True)
class SlotErrors:
    """Counts of one text, in slots."""

    added: int = 0
    """Values that the text states of a slot for which the meaning asks no other in their place."""
    missing: int = 0
    """Values of the meaning that the text leaves out."""
    wrong: int = 0
    """Slots for which the text states another value in the place of the asked one."""
    repeated: int = 0
    """Times that a phrase which fits two asked values is said again where the other value should be."""
    slots: int = 0
    """Values that the meaning asks for."""

    @property
    def hallucinated(self) -> int:
        """Values that the meaning does not hold: added or wrong."""
        return self.added + self.wrong

    @property
    def total(self) -> int:
        """All errors."""
        return self.added + self.missing + self.wrong + self.repeated

    @property
    def kind(self) -> str:
        """The class of the text in the published counts.

        ``ok`` without errors, ``add`` with added or repeated values alone, ``miss`` with missing ones alone, else ``both``.
        """
        if not self.total:
            return "ok"
        if self.wrong or (self.missing and (self.added or self.repeated)):
            return "both"
        return "miss" if self.missing else "add"


def slot_errors(meaning: Meaning, text: str) -> SlotErrors:
    """Compare what a text says with what it should say; see `between`."""
    said = {
        slot: _resolved(values, meaning.get(slot, ())) for slot, values in mentions(text, meaning).items()
    }
    again = {slot: times for slot, (_, times) in said.items()}
    return between(meaning, {slot: values for slot, (values, _) in said.items()}, again)


def between(
    asked: Meaning, stated: Mapping[str, Iterable[str]], again: Mapping[str, int] = MappingProxyType({})
) -> SlotErrors:
    """Compare two meanings, slot by slot.

    Of a slot, values that only one side holds are paired: each pair is a wrong value, what is left over is added or missing.

    Args:
        asked: What a text should state.
        stated: What it states.
        again: Slot -> times that it says one asked value where another is asked.
    """
    added = missing = wrong = repeated = 0
    for slot in {**asked, **stated}:
        ours, theirs = set(asked.get(slot, ())), set(stated.get(slot, ()))
        extra, lacking = len(theirs - ours), len(ours - theirs)
        instead = min(again.get(slot, 0), lacking)
        lacking -= instead
        pairs = min(extra, lacking)
        added, missing, wrong = added + extra - pairs, missing + lacking - pairs, wrong + pairs
        repeated += instead
    return SlotErrors(added=added, missing=missing, wrong=wrong, repeated=repeated, slots=n_values(asked))


def _resolved(said: Sequence[tuple[str, ...]], asked: Sequence[str]) -> tuple[tuple[str, ...], int]:
    """The values that a text states of a slot, and how often it says one asked value again where another is asked.

    A phrase that fits several values states an asked one: one that the text states without doubt, else the first. Said again, it
    states nothing new.
    """
    fitting = [[value for value in values if value in asked] or list(values) for values in said]
    certain = [values[0] for values in fitting if len(values) == 1]
    stated, again = set(certain), 0
    for values in fitting:
        if not stated.intersection(values):
            stated.add(values[0])
        elif not set(certain).intersection(values):
            again += values[0] in asked
    return tuple(sorted(stated)), again
