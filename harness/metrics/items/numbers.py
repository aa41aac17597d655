"""Numbers and quantities: digits and words, with what they are of (percent, a currency), and how they are rounded."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_ONES = {
    word: value
    for value, word in enumerate(
        """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
        eighteen nineteen""".split()
    )
}
_TENS = {
    word: 10 * value
    for value, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)
}
_SCALES = {
    "dozen": 12, "hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9, "trillion": 10**12,
}  # fmt: skip
_SHORT_SCALES = {"k": 1_000, "m": 10**6, "mn": 10**6, "b": 10**9, "bn": 10**9, "tn": 10**12}
_ORDINALS = {
    word: value
    for value, word in enumerate(
        """first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth
        sixteenth seventeenth eighteenth nineteenth twentieth""".split(),
        start=1,
    )
} | {"thirtieth": 30}
_SMALL = {**_ONES, **_TENS, **_ORDINALS}
_CURRENCIES = {
    "$": "dollar", "£": "pound", "€": "euro", "¥": "yen", "₹": "rupee", "dollar": "dollar", "pound": "pound",
    "euro": "euro", "yen": "yen", "rupee": "rupee", "usd": "dollar", "gbp": "pound", "eur": "euro",
}  # fmt: skip
_VAGUE = frozenset({"one", "first", "second"})
"""Words that are mostly no number ("one of them", "at first", "a second later"): in a response they are no item."""
_LIST_MARK = re.compile(r"\W*\d{1,2}[.)]")
_NEXT_WORD = re.compile(r"[-\s]([A-Za-z]+)")
_YEAR_BEFORE = re.compile(r"\b([12]\d)\d\d\s?[-–—/]\s?$")
_ROUNDED_FROM = 1000.0
"""Whole numbers from here on may stand rounded for others; smaller ones are counts and must be the same."""

_UNIT = (
    r"(?:\s?(?P<percent>%|per\s?cent\b|percentage\spoints?\b)"
    r"|\s(?P<currency>dollar|pound|euro|yen|rupee|usd|gbp|eur)s?\b)?"
)
_DIGITS = re.compile(
    r"(?:(?P<sign>[$£€¥₹])\s?)?(?<![\w.])(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
    r"(?:(?P<ordinal>st|nd|rd|th)\b|-?\s?(?P<scale>dozen|hundred|thousand|million|billion|trillion|bn|tn|mn|[kmb])\b)?"
    + _UNIT,
    re.IGNORECASE | re.ASCII,
)


def _any(words: Iterable[str]) -> str:
    return "(?:" + "|".join(sorted(words, key=len, reverse=True)) + ")"


_SCALE = _any(_SCALES)
_BELOW_10 = _any(word for word, value in _SMALL.items() if 0 < value < 10)
_BELOW_100 = rf"(?:{_any(_TENS)}(?:[-\s]{_BELOW_10})?|{_any(_SMALL)})\b"
_AND_BELOW_100 = rf"(?:(?:-|\s(?:and\s)?){_BELOW_100})?"
_WORDS = re.compile(
    rf"\b(?=[aefnostz])(?P<words>(?:an?\s{_SCALE}\b{_AND_BELOW_100}|{_BELOW_100})(?:(?:[-\s]{_SCALE}\b)+{_AND_BELOW_100})*)"
    r"(?!-?\s?(?:halves|thirds|quarters|fifths|sixths|eighths|tenths)\b)" + _UNIT,
    re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True, kw_only=True)
class Number:
    """One number of a text."""

    start: int
    end: int
    """Characters of the text, unit included."""
    values: tuple[float, ...]
    """What it may be: ``5m`` is five million, or five metres."""
    unit: str
    """``%``, a currency such as ``dollar``, or nothing."""
    step: float
    """Place value of its last digit that is not 0: 100,000 for 2.5 million."""
    vague: bool = False
    """Whether it is a word that is mostly no number, or the mark of an item of a list."""
    small: bool = False
    """Whether it is a word for a whole number up to ten, in which texts count what others list."""
    of: str = ""
    """The word that follows it, in small letters and without a plural's s: what it counts."""


def numbers(text: str) -> list[Number]:
    """The numbers of a text, those in digits first, then those in words; a word next to digits is a part of them."""
    found = [_from_digits(match) for match in _DIGITS.finditer(text)]
    taken = [(number.start, number.end) for number in found]
    words = [_from_words(match) for match in _WORDS.finditer(text)]
    return found + [n for n in words if not any(n.start < end and start < n.end for start, end in taken)]


def _from_digits(match: re.Match[str]) -> Number:
    digits = match["digits"].replace(",", "")
    text, century = match.string, ""
    if len(digits) == 2 and (
        year := _YEAR_BEFORE.search(text[max(0, match.start("digits") - 8) : match.start("digits")])
    ):
        century = year[1]  # 2007-11
    scale = (match["scale"] or "").lower()
    factor = _SCALES.get(scale) or _SHORT_SCALES.get(scale) or 1
    value, whole = (
        float(digits),
        round(float(digits) * factor, 6),
    )  # 2.3 million is not exactly 2,300,000 in binary
    start = match.start("sign") if match["sign"] else match.start("digits")
    return Number(
        start=start,
        end=match.end(),
        values=_distinct(
            whole, value if scale in _SHORT_SCALES else whole, float(century + digits) if century else whole
        ),
        unit=_unit(match) or _CURRENCIES.get(match["sign"] or "", ""),
        step=_step(digits) * factor,
        vague=bool(_LIST_MARK.fullmatch(text[text.rfind("\n", 0, start) + 1 : match.end() + 1])),
        of=_counted(match),
    )


def _distinct(*values: float) -> tuple[float, ...]:
    return tuple(dict.fromkeys(values))


def _counted(match: re.Match[str]) -> str:
    following = _NEXT_WORD.match(match.string, match.end())
    return following[1].lower().removesuffix("s") if following else ""


def _step(digits: str) -> float:
    whole, _, part = digits.partition(".")
    if part := part.rstrip("0"):
        return float(10.0 ** -len(part))
    return float(10.0 ** (len(whole) - len(whole.rstrip("0")))) if whole.strip("0") else 1.0


def _from_words(match: re.Match[str]) -> Number:
    words = re.findall("[a-z]+", match["words"].lower())
    total, current, last = 0.0, 0.0, 1.0
    for word in words:
        if word in _SMALL:
            current += _SMALL[word]
            last = 10.0 if word in _TENS else 1.0
        elif word in _SCALES:
            scale = _SCALES[word]
            current = (current or 1.0) * scale
            last = float(scale)
            if scale >= 1000:
                total, current = total + current, 0.0
    return Number(
        start=match.start(),
        end=match.end(),
        values=(total + current,),
        unit=_unit(match),
        step=last,
        vague=len(words) == 1 and words[0] in _VAGUE,
        small=len(words) == 1 and _ONES.get(words[0], 11) <= 10,
        of=_counted(match),
    )


def _unit(match: re.Match[str]) -> str:
    return "%" if match["percent"] else _CURRENCIES.get((match["currency"] or "").lower(), "")


class Numbers:
    """The numbers of a source, to look others up in."""

    def __init__(self, found: Iterable[Number]) -> None:
        self._units: dict[float, set[str]] = {}
        self.counted: set[str] = set()
        """The words that follow its numbers, as `Number.of`."""
        for number in found:
            self.counted.add(number.of)
            for value in number.values:
                self._units.setdefault(value, set()).add(number.unit)

    def __contains__(self, number: Number) -> bool:
        """Whether the source holds this number, or one that comes to it when rounded or cut to its digits.

        The units must not contradict each other; one that is not stated contradicts none. Only a number of two digits or more that
        is 1,000 or more, or has decimals, may be rounded.
        """
        if any(self.has(value, number.unit) for value in number.values):
            return True
        value = number.values[0]
        rounded = (value >= _ROUNDED_FROM or number.step < 1) and value / number.step >= 10
        return rounded and any(
            abs(ours - value) < number.step and _agree(number.unit, units)
            for ours, units in self._units.items()
        )

    def has(self, value: float, unit: str = "") -> bool:
        """Whether the source holds a value, in a unit that does not contradict this one."""
        return value in self._units and _agree(unit, self._units[value])


def _agree(unit: str, units: set[str]) -> bool:
    return not unit or unit in units or "" in units
