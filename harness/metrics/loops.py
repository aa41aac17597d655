"""Responses that end in a loop: the same stretch of text over and over, as models write that find no end.

A response loops if its end is one stretch of text three times or more in a row, and this end makes up at least a fifth of it and
at least 40 characters. White space counts as one space. Characters are compared and not words, so that it holds for scripts without
spaces too. A list whose items are the same but for their numbers is not found.

Of 32 responses of SmolLM2-135M-Instruct that continue a dialogue without its chat template, 26 were cut at 256 tokens: 24 of these
are loops by this rule, the others go on about the same without repeating a sentence three times.
"""

from __future__ import annotations

from collections.abc import Sequence

REPEATS = 3
"""Times in a row that a stretch of text occurs."""
SHARE = 0.2
"""Least part of the response that the repeats make up."""
CHARACTERS = 40
"""Least length of all repeats together: shorter ones are emphasis ("very, very, very")."""

SIGNATURE = f"looping|repeats:{REPEATS}|share:{SHARE:g}|characters:{CHARACTERS}|version:1"


def loops(response: str) -> bool:
    """Whether a response ends in a loop, as the module says."""
    text = " ".join(response.split())
    return _repeated_end(text) >= max(CHARACTERS, SHARE * len(text))


def _repeated_end(text: str) -> int:
    """Length of the longest end of a text that is `REPEATS` times its own period, but for a space; 0 if there is none."""
    borders = _borders(text[::-1])
    lengths = (end for end in range(len(text), 0, -1) if end + 1 >= REPEATS * (end - borders[end - 1]))
    return next(lengths, 0)


def _borders(text: Sequence[str]) -> list[int]:
    """For each start of a text, how long the longest shorter start is that also ends it (Knuth, Morris and Pratt, 1977).

    What is n characters long and has a border of b has the period n - b.
    """
    found = [0] * len(text)
    length = 0
    for place in range(1, len(text)):
        while length and text[place] != text[length]:
            length = found[length - 1]
        length += text[place] == text[length]
        found[place] = length
    return found
