"""How each value of a slot is said in English.

A space in a pattern is one space; ``~`` is any run of spaces and hyphens. A pattern may not begin or end within a word. Phrases
that fit several values name the value first that is meant where the meaning representation holds none of them.

Some readings are coarse, and kept because the published counts rest on them: after "price range" or "rating" up to three other
words may stand before the word that says how high it is, so "a high price range and an average rating" states two prices, and
"they do not allow children" and "aren't family-friendly" are read as friendly to families.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """A way to say one value, or one of several."""

    slot: str
    values: tuple[str, ...]
    """The values that it fits, the likeliest first."""
    pattern: re.Pattern[str]
    """Searched in lower case, with plain quotes and hyphens, and e for é."""


_CHEAP, _MODERATE, _DEAR = ("cheap", "less than £20"), ("moderate", "£20-25"), ("more than £30", "high")
_LOW, _AVERAGE, _HIGH = ("1 out of 5", "low"), ("3 out of 5", "average"), ("5 out of 5", "high")

_CHILD = "(?:famil(?:y|ies)|kids?|child(?:ren)?)"
_NOT = "(?:not?|isn't|non)"
_PRICE = r"(?:prices?|price range)"
_PRICED = r"price[sd]?"
_WHOSE = r"(?:\w+~){0,2}"
_RATING = r"(?:ratings?|rated|reviews?|quality)"
_RATED = r"(?:rat(?:ings?|ed|es?)|reviews?)"
_UP_TO_3, _UP_TO_2 = r"(?:\w+ ){0,3}", r"(?:\w+ ){0,2}"


def _stars(digit: str, word: str) -> list[str]:
    return [rf"(?:{digit}|{word}) (?:out )?of (?:5|five)(?:~stars?)?", rf"(?:{digit}|{word})~stars?"]


_TABLE: Mapping[str, Sequence[tuple[tuple[str, ...], Sequence[str]]]] = {
    "eatType": [
        (("coffee shop",), [r"coffee(?:~shops?)?", "coffeeshop", "cafes?"]),
        (("pub",), ["pub"]),
        (("restaurant",), ["restaurant"]),
    ],
    "food": [
        (("Chinese",), ["chinese", "chines"]),
        (("English",), ["english", "british"]),
        (("Fast food",), ["fast food"]),
        (("French",), ["french"]),
        (("Indian",), ["indian"]),
        (("Italian",), ["italian"]),
        (("Japanese",), ["japanese"]),
    ],
    "area": [
        (
            ("city centre",),
            [
                "(?:city|town) ?cent(?:re|er)",
                "cent(?:re|er) of (?:the )?(?:city|town)",
                "in the cent(?:re|er)",
            ],
        ),
        (
            ("riverside",),
            [
                "riverside",
                "(?:by|on|near|along) (?:the )?river(?:~(?:side|bank))?",
                "(?:at|off|beside|close to) the river",
            ],
        ),
    ],
    "priceRange": [
        (
            _CHEAP,
            [
                "cheap",
                "cheaply",
                "inexpensive",
                f"low~{_PRICED}(?:~range)?",
                f"{_PRICE} {_UP_TO_3}(?:low|cheap|inexpensive)",
            ],
        ),
        ((*_CHEAP, *_MODERATE), ["affordable", "affordably"]),
        (("less than £20", *_MODERATE), [f"moderately~{_PRICED}"]),
        (
            _MODERATE,
            [
                f"(?:moderate|averagely?|average)~{_PRICED}(?:~range)?",
                f"reasonable {_PRICED}",
                f"{_PRICE} {_UP_TO_3}(?:moderate|average|reasonable)",
                "mid~range~price[sd]?",
            ],
        ),
        (_DEAR, ["expensive", f"high~{_PRICED}", f"{_PRICE} {_UP_TO_3}(?:high|expensive)"]),
        (("less than £20",), ["(?:less than|under) [£€$]? ?20"]),
        (("£20-25",), ["[£€$]? ?20 ?(?:to)? ?25", "[£€$]? ?20~25"]),
        (("more than £30",), ["(?:more than|over) [£€$]? ?30"]),
    ],
    "customer rating": [
        (
            _LOW,
            [
                *_stars("1", "one"),
                f"(?:low|lowly|poor|poorly|bad)~{_WHOSE}{_RATING}",
                f"{_RATED} {_UP_TO_2}(?:low|poor|bad)",
                rf"not {_UP_TO_3}good {_WHOSE}{_RATING}",
            ],
        ),
        (
            _AVERAGE,
            [
                *_stars("3", "three"),
                f"(?:average|averagely|good|well)~{_WHOSE}{_RATING}",
                f"{_RATED} {_UP_TO_3}average",
            ],
        ),
        (
            _HIGH,
            [
                *_stars("5", "five"),
                f"(?:high|highly|great|excellent|very good)~{_WHOSE}{_RATING}",
                f"{_RATED} {_UP_TO_2}(?:high|excellent)",
            ],
        ),
    ],
    "familyFriendly": [
        (
            ("yes",),
            [
                f"{_CHILD}~(?:friendly|oriented|place)",
                f"for {_CHILD}",
                f"{_CHILD} (?:are|is) (?:welcome|allowed)",
                f"(?:welcomes?|allows?) {_CHILD}",
            ],
        ),
        (
            ("no",),
            [
                f"{_NOT}~{_UP_TO_2}{_CHILD}~(?:friendly|oriented)",
                f"(?:not?|isn't) {_CHILD}",
                f"(?:not?|isn't) (?:(?:friendly|good|suitable) (?:to|for|with)|for|to) {_CHILD}",
                f"(?:does not|doesn't) (?:allow|welcome) {_CHILD}",
                f"{_CHILD}~unfriendly",
                f"{_CHILD} are not (?:welcome|allowed)",
                f"no {_CHILD}~(?:friendly|oriented|allowed|place|policy)",
                "adults?~only",
                r"adult establish\w*",
            ],
        ),
    ],
}


def _phrase(slot: str, values: tuple[str, ...], pattern: str) -> Phrase:
    within = pattern.replace("~", "[ -]+")
    return Phrase(slot=slot, values=values, pattern=re.compile(rf"(?<!\w)(?:{within})(?!\w)"))


PHRASES = tuple(
    _phrase(slot, values, pattern)
    for slot, entries in _TABLE.items()
    for values, patterns in entries
    for pattern in patterns
)

SAID = {(phrase.slot, value) for phrase in PHRASES for value in phrase.values}
"""(slot, value) that have phrases; any other value is looked for as it is written."""

NAMES = tuple(
    """Alimentum|Aromi|Bibimbap House|Blue Spice|Browns Cambridge|Clowns|Cocum|Cotto|Fitzbillies|Giraffe|Green Man|Loch Fyne
Midsummer House|Strada|Taste of Cambridge|The Cambridge Blue|The Cricketers|The Dumpling Tree|The Eagle|The Golden Curry
The Golden Palace|The Mill|The Olive Grove|The Phoenix|The Plough|The Punter|The Rice Boat|The Twenty Two|The Vaults|The Waterman
The Wrestlers|Travellers Rest Beefeater|Wildwood|Zizzi""".replace("\n", "|").split("|")
)
PLACES = tuple(
    """All Bar One|Avalon|Burger King|Café Adriatic|Café Brazil|Café Rouge|Café Sicilia|Clare Hall|Crowne Plaza Hotel
Express by Holiday Inn|Rainbow Vegetarian Café|Raja Indian Cuisine|Ranch|The Bakers|The Portland Arms|The Rice Boat|The Six Bells
The Sorrento|Yippee Noodle Bar""".replace("\n", "|").split("|")
)
VERBATIM = {"name": NAMES, "near": PLACES}
"""Slot -> the values of the public data that a text may name though it was not told to."""
