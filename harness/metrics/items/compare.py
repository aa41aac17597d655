"""Whether a source holds the names, numbers and dates of a response."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from harness.metrics.items.dates import WEEKDAYS, Date, Reading, dates, holds
from harness.metrics.items.names import HONORIFICS, TOKEN, Name, names
from harness.metrics.items.numbers import Numbers, numbers

VERSION = "rules1"
"""Any change of what is found or held changes scores: raise it with them."""

Kind = Literal["name", "number", "date"]

_PART = re.compile(r"[^\W_]+")
_BETWEEN_INITIALS = frozenset("of the and for in on de la".split())
_SAME = [
    ("us", "united states", "america", "american", "americans", "usa"),
    ("uk", "united kingdom", "britain", "british", "great britain"),
    ("eu", "european union"), ("un", "united nations"),
    ("france", "french"), ("netherlands", "dutch", "holland"), ("spain", "spanish"), ("greece", "greek"), ("wales", "welsh"),
    ("switzerland", "swiss"), ("denmark", "danish"), ("poland", "polish"), ("philippines", "filipino"), ("thailand", "thai"),
    ("germany", "german"), ("tv", "television"), ("england", "english"), ("ireland", "irish"), ("scotland", "scottish"),
    ("turkey", "turkish"),
]  # fmt: skip
"""Ways to name one thing that no ending tells."""
_ENDINGS = (
    "",
    "n",
    "an",
    "ian",
    "nian",
    "ish",
    "ese",
    "i",
    "ic",
    "a",
    "e",
    "y",
    "ia",
    "ium",
    "ain",
    "en",
    "land",
    "stan",
)
_GENTILIC = frozenset("n an ian nian ish ese i ic".split())
_SHORTEST_STEM = 4
_CASE_MATTERS = frozenset("us it who un eu".split())


@dataclass(frozen=True, kw_only=True)
class Item:
    """A name, number or date of a response."""

    start: int
    end: int
    """Characters of the response."""
    kind: Kind
    supported: bool
    """Whether the source holds it."""


class Source:
    """A source, in which items are looked up; each part of its index is made when it is first needed."""

    def __init__(self, text: str) -> None:
        self._text = _plain(text)

    @cached_property
    def words(self) -> frozenset[str]:
        """Its words without case, those with a mark inside also joined: ``Covid-19`` is covid, 19 and covid19."""
        folded = self._text.casefold()
        marked = (_squashed(word) for word in TOKEN.findall(folded) if not word.isalnum())
        return frozenset(_PART.findall(folded)).union(marked)

    @cached_property
    def lower(self) -> frozenset[str]:
        """The words that it has in small letters."""
        return frozenset(word for word in _PART.findall(self._text) if word.islower())

    @cached_property
    def capitals(self) -> frozenset[str]:
        """The words that it has in capitals, such as US and U.S, joined; all words of a text without any capital."""
        if self._text.islower():
            return self.words
        return frozenset(
            _squashed(word) for word in TOKEN.findall(self._text) if word.isupper() and len(word) > 1
        )

    @cached_property
    def numbers(self) -> Numbers:
        """Its numbers."""
        return Numbers(numbers(self._text))

    @cached_property
    def dates(self) -> frozenset[Reading]:
        """Its dates; in a text without any capital, months have none either."""
        text = self._text.title() if self._text.islower() else self._text
        return frozenset(reading for date in dates(text) for reading in date.readings)

    @cached_property
    def initials(self) -> str:
        """First letters of its words in order, with bars where no name goes on: ``fbi|wh`` for Federal Bureau of Investigation."""
        letters = [
            word[0] if word[0].isupper() else "" if word in _BETWEEN_INITIALS else "|"
            for word in _PART.findall(self._text)
        ]
        return "".join(letters).casefold()

    def holds_date(self, date: Date) -> bool:
        """Whether one of its dates, or a weekday, is this one."""
        if date.weekday:
            return not self.words.isdisjoint((date.weekday, f"{date.weekday}s", *WEEKDAYS[date.weekday]))
        return any(holds(set(self.dates), reading, self.numbers.has) for reading in date.readings)

    def lacks(self, text: str, name: Name) -> list[tuple[int, int]]:
        """The words of a name that it does not hold in any form that the rules know."""
        missing = [span for span in name.words if not self._has_word(text[slice(*span)])]
        if not missing:
            return []
        words = [_plain(text[slice(*span)]) for span in name.words]
        initials = "".join(word[0] for word in words).casefold()
        whole = " ".join(words).casefold()
        known = (len(words) > 1 and initials in self.capitals) or self._has_same(whole)
        return [] if known else missing

    def _has_word(self, word: str) -> bool:
        word = _plain(word)
        squashed = _squashed(word)
        if squashed in _CASE_MATTERS:
            return squashed in self.capitals or self._has_same(squashed)
        parts = [part for part in _PART.findall(word.casefold()) if len(part) > 1 and part not in HONORIFICS]
        if squashed in self.words or all(part in self.words for part in parts):
            return True
        if word.isupper() and len(squashed) > 1 and squashed in self.initials:
            return True
        return all(part in self.words or self._has_relative(part) or self._has_same(part) for part in parts)

    def _has_relative(self, word: str) -> bool:
        """Whether it has the word with another ending: a plural, or Russian for Russia."""
        if any(
            other in self.words for other in (f"{word}s", word.removesuffix("s"), word.removesuffix("es"))
        ):
            return True
        return any(
            word[:cut] + other in self.words
            for own in _ENDINGS
            if word.endswith(own) and (cut := len(word) - len(own)) >= _SHORTEST_STEM
            for other in _ENDINGS
            if own in _GENTILIC or other in _GENTILIC
        )

    def _has_same(self, name: str) -> bool:
        return any(self._has_phrase(other) for group in _SAME if name in group for other in group)

    def _has_phrase(self, phrase: str) -> bool:
        if phrase in _CASE_MATTERS:
            return phrase in self.capitals
        return all(word in self.words for word in phrase.split())


def items(source: Source, response: str) -> list[Item]:
    """The names, numbers and dates of a response in order, and whether the source holds each."""
    found = list(_times(source, response))
    taken = [(item.start, item.end) for item in found]
    lower = source.lower | {word for word in _PART.findall(response) if word.islower()}
    for name in names(response, taken, lower):
        missing = source.lacks(response, name)
        start, end = (missing[0][0], missing[-1][1]) if missing else (name.start, name.end)
        found.append(Item(start=start, end=end, kind="name", supported=not missing))
    return sorted(found, key=lambda item: item.start)


def _times(source: Source, response: str) -> Iterator[Item]:
    """Dates, and numbers that are no part of one."""
    taken = []
    for date in dates(response):
        taken.append((date.start, date.end))
        yield Item(start=date.start, end=date.end, kind="date", supported=source.holds_date(date))
    for number in numbers(response):
        within = any(number.start < end and start < number.end for start, end in taken)
        # "two films": how many the source lists, unless the source counts films itself
        counts = number.small and not number.unit and number.of not in source.numbers.counted
        if not (within or counts or number.vague or _in_a_name(response, number.start)):
            yield Item(start=number.start, end=number.end, kind="number", supported=number in source.numbers)


def _in_a_name(text: str, start: int) -> bool:
    """Whether a number belongs to the word before it, as in Covid-19."""
    return bool(re.search(r"\b[A-Z]\w*-$", text[max(0, start - 30) : start]))


def _plain(text: str) -> str:
    """Text without accents, and with one kind of apostrophe."""
    if text.isascii():
        return text
    decomposed = unicodedata.normalize("NFKD", text.replace("’", "'"))
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def _squashed(word: str) -> str:
    return "".join(filter(str.isalnum, word)).casefold()
