"""The words of the news world: what can fill each kind of slot.

Every value is made of whole words, contains no full stop, and begins with a consonant sound where a template
puts "a" before it, so that any value reads correctly in any template. Lists are ordered: a seed gives the
same story on every machine.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

FIRST_NAMES = """Anna Maria Elena Clara Nadia Priya Leila Ingrid Sofia Helen Ruth Grace Amina Yuki Mei
Rosa Irene Julia Laura Karen Diana Olga Petra Alice Nora Fiona Teresa Wendy Hana Zara Peter David Omar
Lucas Martin Victor Samuel Daniel Oscar Henry Ivan Rafael Kenji Hugo Felix Simon Walter George Amir
Tomas Erik Paul Marco Nikhil Andre Carl Louis Frank Jonas Leon Adam Bruno Cyrus Dario Edgar Farid Gavin
Hamid Isaac Jorge Kofi Liam Milan Nestor Pablo Quentin Ramon Stefan Tariq Ulrich Vera Yasmin Agnes Bella
Carmen Doris Esther Freya Gloria Hilda Ida Joan Kira Lydia Mona Naomi Paula Rita Selma Tanya""".split()

LAST_NAMES = """Alvarez Becker Castillo Dawson Eriksen Fischer Gupta Hansen Ibrahim Jensen Kowalski
Larsen Mendes Novak Okafor Petrov Quinn Romero Schmidt Tanaka Ueda Vargas Weber Xu Yilmaz Zhang Abbott
Barnes Coleman Duarte Ellis Foster Grant Hughes Ingram Jarvis Keller Lambert Morris Nash Osborne Parker
Reyes Sawyer Turner Underwood Vaughn Walsh Yates Ziegler Ahmed Bianchi Cohen Dubois Engel Farah Gomez
Haddad Ivanov Joshi Khan Lopez Moreau Nakamura Ortega Pereira Rossi Silva Torres Usman Vogel Wagner
Yamada Zimmer Archer Bishop Carver Drake Emerson Fletcher Garner Harlow Irving Jordan Knox Lowell Mercer
Norris Oakley Preston Ramsey Shepard Thornton Upton Vance Whitaker Yorke Zeller Aydin Bose Chandra
Diallo Eze Ferreira Goldman Horvat Iqbal Jansen""".split()


def _compounds(stems: str, endings: str, count: int) -> list[str]:
    return [stem + ending for ending in endings.split() for stem in stems.split()][:count]


TOWNS = _compounds(
    "Oak Ash Brook Elm Stone Fair Wood Lake Glen North West Har Kings Mill Red Sil Thorn Win Black Clear",
    "field mere ton ford bury haven",
    120,
)
BRANDS = _compounds(
    "Nor Vel Cor Zen Lum Tri Alt Omni Max Pel Qua Ver Sol Hex Bri Dex Kel Nym Orb Pax",
    "tex dyne lux vance gen",
    100,
)
SECTORS = """Foods Energy Bank Motors Airlines Media Steel Health Systems Retail Logistics Mining Telecom Insurance Textiles
Chemicals""".split()
NICKNAMES = "Lions Eagles Rovers Tigers Wolves Sharks Falcons Bears Comets Royals".split()
MONTHS = "January February March April May June July August September October November December".split()
NUMBERS = [str(n) for n in range(2, 100)]

COMPANIES = [f"{brand} {SECTORS[i * 7 % len(SECTORS)]}" for i, brand in enumerate(BRANDS)]
CLUBS = [f"{town} {NICKNAMES[i * 3 % len(NICKNAMES)]}" for i, town in enumerate(TOWNS)]


@dataclass(frozen=True)
class SlotType:
    """A kind of value: how to draw one, a pattern without groups that matches just those, and their words."""

    draw: Callable[[random.Random], str]
    pattern: str
    words: frozenset[str]


def _one_of(values: list[str]) -> SlotType:
    # Longest first: "chief executive" must not be cut short by a value that is its prefix.
    alternatives = "|".join(re.escape(v) for v in sorted(values, key=len, reverse=True))
    words = frozenset(word for value in values for word in value.split())
    return SlotType(lambda rng: rng.choice(values), f"(?:{alternatives})", words)


def _sequence(*parts: SlotType) -> SlotType:
    def draw(rng: random.Random) -> str:
        return " ".join(part.draw(rng) for part in parts)

    words = frozenset[str]().union(*(part.words for part in parts))
    return SlotType(draw, " ".join(part.pattern for part in parts), words)


_NUMBER = _one_of(NUMBERS)

SLOT_TYPES: Mapping[str, SlotType] = {
    "person": _sequence(_one_of(FIRST_NAMES), _one_of(LAST_NAMES)),
    "company": _one_of(COMPANIES),
    "club": _one_of(CLUBS),
    "town": _one_of(TOWNS),
    "money": _sequence(_NUMBER, _one_of(["million dollars", "billion dollars"])),
    "date": _sequence(_one_of(NUMBERS[:27]), _one_of(MONTHS)),
    "day": _one_of("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()),
    "month": _one_of(MONTHS),
    "year": _one_of([str(year) for year in range(2005, 2025)]),
    "number": _NUMBER,
    "hundreds": _one_of([str(n) for n in range(100, 1000, 50)]),
    "age": _one_of([str(n) for n in range(19, 80)]),
    "role": _one_of(
        [
            *["chief executive", "finance director", "chairman", "president", "head of research"],
            *["head of sales", "treasurer", "general counsel", "chief engineer", "spokesman"],
        ]
    ),
    "crime": _one_of("fraud robbery smuggling bribery forgery theft kidnapping burglary".split()),
    "site": _one_of(
        [
            "factory",
            "warehouse",
            "laboratory",
            "call centre",
            "shipyard",
            "data centre",
            "hospital",
            "training school",
        ]
    ),
    "hazard": _one_of("flood storm cyclone wildfire blizzard landslide tornado heatwave".split()),
    "party": _one_of("Liberal Labour Green Unity Reform Centre".split()),
    "cause": _one_of(
        [
            *["falling sales", "rising costs", "a weak market", "new rules"],
            *["a failed merger", "high debt", "a slow economy", "a software fault"],
        ]
    ),
}
