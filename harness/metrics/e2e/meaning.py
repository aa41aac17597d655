"""Meaning representations: ``name[The Mill], eatType[pub], priceRange[high]``."""

from __future__ import annotations

import re
from collections.abc import Mapping

Meaning = Mapping[str, tuple[str, ...]]
"""Slot -> its values, in order; a slot may have several, as in ``eatType[pub], eatType[restaurant]``."""

_SLOT = r"([A-Za-z][A-Za-z ]*)\[([^\[\]]*)\]"
_WHOLE = re.compile(rf"\s*{_SLOT}(?:\s*[,;\n]\s*{_SLOT})*\s*")


def parse(text: str) -> Meaning:
    """Read a text that is a meaning representation; slots stand apart by commas, semicolons or lines.

    Returns:
        The slots, each with at least one value; a slot without a value is left out. Empty if the text is anything else.
    """
    found: dict[str, tuple[str, ...]] = {}
    for slot, value in re.findall(_SLOT, text) if _WHOLE.fullmatch(text) else ():
        if (value := value.strip()) and value not in found.get(slot.strip(), ()):
            found[slot.strip()] = (*found.get(slot.strip(), ()), value)
    return found


def n_values(meaning: Meaning) -> int:
    """How many slots a text must state, a slot with two values counting twice."""
    return sum(map(len, meaning.values()))
