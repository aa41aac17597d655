"""What a text says of each slot."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache

from harness.metrics.e2e.meaning import Meaning
from harness.metrics.e2e.phrases import PHRASES, SAID, VERBATIM

Mentions = dict[str, list[tuple[str, ...]]]
"""Slot -> for each time that the text says it, the values that may be meant, the likeliest first."""
Span = tuple[int, int]

_PLAIN = str.maketrans("’‘é‐‑–—", "''e----")
"""Letters and marks that are written in several ways, each by one character."""


def mentions(text: str, meaning: Meaning) -> Mentions:
    """All that a text says, in the order of the text.

    Names, places and values without phrases are searched as they are written, in any case; their characters are then out of
    bounds, so that "Café Rouge" is no café. Of the other phrases one that lies inside a longer one does not count, of whatever
    slot; phrases of the same characters and slot are one mention with the values of all.

    Args:
        text: A description.
        meaning: What it should say; says what is searched verbatim.
    """
    plain = _plain(text)
    found: Mentions = {}
    for slot, value in _verbatim(meaning):
        name = _as_written(value)
        if name.search(plain):
            found.setdefault(slot, []).append((value,))
            plain = name.sub(lambda match: "#" * len(match[0]), plain)
    spans: dict[Span, dict[str, tuple[str, ...]]] = {}
    for phrase in PHRASES:
        for match in phrase.pattern.finditer(plain):
            slots = spans.setdefault(match.span(), {})
            slots[phrase.slot] = tuple(dict.fromkeys((*slots.get(phrase.slot, ()), *phrase.values)))
    for span in _outermost(spans):
        for slot, values in spans[span].items():
            found.setdefault(slot, []).append(values)
    return found


def _verbatim(meaning: Meaning) -> Iterator[tuple[str, str]]:
    """Slot and value of all that is searched as it is written: the meaning's own, longest first, then what else is known."""
    own = [(slot, value) for slot, values in meaning.items() for value in values if (slot, value) not in SAID]
    yield from sorted(own, key=lambda item: -len(item[1]))
    named = {value for _, value in own}
    yield from ((slot, value) for slot, values in VERBATIM.items() for value in values if value not in named)


@cache
def _as_written(value: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(_plain(value))}(?!\w)")


def _plain(text: str) -> str:
    return text.lower().translate(_PLAIN)


def _outermost(spans: Iterable[Span]) -> Iterator[Span]:
    """Those that lie inside no other, in order."""
    furthest = -1
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if end > furthest:
            yield start, end
            furthest = end
