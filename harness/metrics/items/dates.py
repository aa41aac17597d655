"""Dates: days, months, years and weekdays, in the ways in which English texts write them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_MONTHS = """january february march april may june july august september october november december""".split()
_MONTH_OF = {name: i for i, name in enumerate(_MONTHS, start=1)} | {
    name[:3]: i for i, name in enumerate(_MONTHS, start=1)
}
_MONTH_OF["sept"] = 9
WEEKDAYS = {
    "monday": ("mon",), "tuesday": ("tue", "tues"), "wednesday": ("wed",), "thursday": ("thu", "thur", "thurs"),
    "friday": ("fri",), "saturday": ("sat",), "sunday": ("sun",),
}  # fmt: skip
"""With their abbreviations."""

_MONTH = (
    "(?=[JFMASOND])(?:"
    + "|".join(name.title() for name in sorted(_MONTH_OF, key=len, reverse=True) if name != "may")
    + r"|May)\b\.?"
)
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?(?!\d)"
_YEAR = r"(?P<year>\d{4})(?!\d)"
_AFTER = "|".join(
    rf"(?<=\b[{word[0].upper()}{word[0]}]{word[1:]}\s)"
    for word in "in of by since until last next this".split()
)
_FULL = "|".join(name.title() for name in _MONTHS if name not in ("may", "march"))
_PATTERNS = [
    re.compile(rf"(?<!\d){_DAY}\s(?:of\s)?(?P<month>{_MONTH})(?:,?\s{_YEAR})?"),
    re.compile(rf"\b(?P<month>{_MONTH})\s{_DAY}(?:,?\s{_YEAR})?"),
    re.compile(rf"\b(?P<month>{_MONTH}),?\s{_YEAR}"),
    re.compile(rf"(?<!\d){_YEAR}-(?P<month>\d\d)-(?P<day>\d\d)(?!\d)"),
    re.compile(
        r"(?<![\d./])(?P<first>\d{1,2})(?P<mark>[/.])(?P<second>\d{1,2})(?P=mark)(?P<short>\d{4}|\d\d)(?![\d/])"
    ),
    re.compile(rf"\b(?=[JFASOND])(?P<month>{_FULL})\b|(?=M)(?:{_AFTER})(?P<ambiguous>May|March)\b"),
    re.compile(r"\b(?=[MTWFS])(?P<weekday>" + "|".join(name.title() for name in WEEKDAYS) + r")s?\b"),
]
"""The longest first: what one has taken no other takes."""

Reading = tuple[int | None, int | None, int | None]
"""Day, month and year as far as they are stated."""


@dataclass(frozen=True, kw_only=True)
class Date:
    """One date of a text."""

    start: int
    end: int
    readings: tuple[Reading, ...] = ()
    """What it may be: 3/4/2015 is of April or of March; none for a weekday."""
    weekday: str = ""


def dates(text: str) -> Iterator[Date]:
    """The dates of a text; a month or a weekday alone is one, a year alone is a number."""
    taken: list[tuple[int, int]] = []
    for pattern in _PATTERNS:
        for match in pattern.finditer(text):
            start, end = match.span()
            found = match.groupdict()
            readings = _readings(found)
            if (readings or found.get("weekday")) and not any(start < b and a < end for a, b in taken):
                taken.append((start, end))
                yield Date(
                    start=start, end=end, readings=readings, weekday=(found.get("weekday") or "").lower()
                )


def _readings(found: dict[str, str | None]) -> tuple[Reading, ...]:
    if first := found.get("first"):
        return _of_digits(int(first), int(found["second"] or 0), int(found["short"] or 0))
    name = (found.get("month") or found.get("ambiguous") or "").lower().rstrip(".")
    if not name:
        return ()
    month = int(name) if name.isdigit() else _MONTH_OF[name]
    day, year = (int(text) if (text := found.get(part)) else None for part in ("day", "year"))
    return ((day, month, year),) if _possible(day or 1, month) else ()


def _of_digits(a: int, b: int, year: int) -> tuple[Reading, ...]:
    """Readings of 3/4/15: the day or the month first, and a year of two digits from 1950 on."""
    year += 0 if year > 99 else 2000 if year < 50 else 1900
    return tuple(
        dict.fromkeys((day, month, year) for day, month in ((a, b), (b, a)) if _possible(day, month))
    )


def _possible(day: int, month: int) -> bool:
    return 1 <= day <= 31 and 1 <= month <= 12


def holds(readings: set[Reading], date: Reading, has: Callable[[float], bool]) -> bool:
    """Whether a source's dates hold a date: one of them has its month and contradicts neither day nor year.

    Args:
        readings: Of the source.
        date: To look for; it has a month.
        has: Whether the source holds a number: a day or a year that the source's date does not state may stand elsewhere.
    """
    day, month, year = date

    def fits(stated: int | None, ours: int | None) -> bool:
        return ours is None or stated == ours or (stated is None and has(ours))

    return any(m == month and fits(d, day) and fits(y, year) for d, m, y in readings)
