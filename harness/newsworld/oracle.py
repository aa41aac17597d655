"""The oracle: which facts a summary states, and whether the article supports each.

Both texts are parsed by rule, so the oracle needs no hidden record and judges any pair of texts. A fact is
one slot of one sentence:

* supported: the article states that value for that slot of that event;
* intrinsic error: the article holds the value, but not in that role ("the Bears have beaten the Bears");
* extrinsic error: the article does not hold the value at all.

A sentence that is not of the news world is unparsable: nothing can be said of it, and the summary does not
count as faithful.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean
from typing import Literal

from harness.newsworld.events import ASIDE, EVENTS, FILLERS, SLOT
from harness.newsworld.lexicon import SLOT_TYPES
from harness.newsworld.story import Record

Support = Literal["supported", "intrinsic", "extrinsic"]
Kind = Literal["faithful", "intrinsic", "extrinsic", "unparsable"]

_SENTENCE = re.compile(r"[^.\s][^.]*\.?")


@dataclass(frozen=True)
class Fact:
    """One stated value: `text[start:end]` of the summary is `value`."""

    event: str
    slot: str
    value: str
    start: int
    end: int
    support: Support


@dataclass(frozen=True)
class Verdict:
    """The oracle's finding on one summary.

    Attributes:
        facts: Every stated fact, in reading order.
        unparsable: (start, end) of each sentence that no template matches.
    """

    facts: tuple[Fact, ...]
    unparsable: tuple[tuple[int, int], ...]

    @property
    def kind(self) -> Kind:
        """The worst finding: extrinsic, then intrinsic, then unparsable (also: states nothing), else
        faithful.
        """
        found = {fact.support for fact in self.facts}
        if "extrinsic" in found:
            return "extrinsic"
        if "intrinsic" in found:
            return "intrinsic"
        return "unparsable" if self.unparsable or not self.facts else "faithful"

    @property
    def faithful(self) -> bool:
        """Whether at least one fact is stated and every sentence is parsed and supported."""
        return self.kind == "faithful"


def judge(article: str, summary: str) -> Verdict:
    """Checks each fact of `summary` against `article`."""
    records = read_article(article)
    facts: list[Fact] = []
    unparsable: list[tuple[int, int]] = []
    for start, end in _sentences(summary):
        readings = [_check(reading, records, article) for reading in _readings(summary, start, end)]
        if readings:
            facts.extend(max(readings, key=_supported))
        elif summary[start:end] not in FILLERS:
            unparsable.append((start, end))
    return Verdict(tuple(facts), tuple(unparsable))


def read_article(article: str) -> tuple[Record, ...]:
    """What an article states: one record per event told, main event first. Sentences that match no template
    are passed over.
    """
    records: list[tuple[str, dict[str, str]]] = []
    for start, end in _sentences(article):
        if article.startswith(ASIDE, start):
            start += len(ASIDE)
        sentence = article[start:end]
        for event, is_lead, pattern in _article_patterns():
            if match := pattern.fullmatch(sentence):
                if is_lead:
                    records.append((event, {}))
                # A detail belongs to the story being told; without one of its kind it states nothing that
                # can be placed.
                if records and records[-1][0] == event:
                    records[-1][1].update(match.groupdict())
                break
    return tuple(Record(event, values) for event, values in records)


@dataclass(frozen=True)
class _Reading:
    """One way to understand a sentence: an event, and (slot, value, start, end) for each of its slots."""

    event: str
    slots: tuple[tuple[str, str, int, int], ...]


def _readings(text: str, start: int, end: int) -> Iterator[_Reading]:
    for event, pattern in _summary_patterns():
        if match := pattern.fullmatch(text, start, end):
            found = [(slot, value, *match.span(slot)) for slot, value in match.groupdict().items()]
            yield _Reading(event, tuple(sorted(found, key=lambda slot: slot[2])))


def _check(reading: _Reading, records: Sequence[Record], article: str) -> list[Fact]:
    """The reading's facts against the record of that event which supports most of them."""
    candidates: list[Mapping[str, str]] = [
        record.values for record in records if record.event == reading.event
    ]
    best = max(
        candidates, key=lambda values: sum(values.get(s) == v for s, v, _, _ in reading.slots), default={}
    )
    return [
        Fact(reading.event, slot, value, start, end, _support(best.get(slot), value, article))
        for slot, value, start, end in reading.slots
    ]


def _support(stated: str | None, value: str, article: str) -> Support:
    if stated == value:
        return "supported"
    return "intrinsic" if re.search(rf"\b{re.escape(value)}\b", article) else "extrinsic"


def _supported(facts: Iterable[Fact]) -> float:
    return fmean(fact.support == "supported" for fact in facts)


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each sentence; values of the news world hold no full stop."""
    for match in _SENTENCE.finditer(text):
        yield match.start(), match.start() + len(match.group().rstrip())


def _compile(event: str, template: str) -> re.Pattern[str]:
    parts = SLOT.split(template)  # text, slot, text, slot, ..., text
    kinds = EVENTS[event].slots
    return re.compile(
        "".join(
            f"(?P<{part}>{SLOT_TYPES[kinds[part]].pattern})" if i % 2 else re.escape(part)
            for i, part in enumerate(parts)
        )
    )


@lru_cache(maxsize=1)
def _article_patterns() -> tuple[tuple[str, bool, re.Pattern[str]], ...]:
    """(event, whether it opens a story, pattern) for every sentence an article can hold."""
    return tuple(
        (name, is_lead, _compile(name, template))
        for name, event in EVENTS.items()
        for is_lead, templates in ((True, event.leads), (False, event.detail_sentences))
        for template in templates
    )


@lru_cache(maxsize=1)
def _summary_patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """(event, pattern) for every sentence a summary can hold: summary sentences, and copied leads and
    details.
    """
    return tuple(
        (name, _compile(name, template))
        for name, event in EVENTS.items()
        for template in (*event.summaries, *event.leads, *event.detail_sentences)
    )
