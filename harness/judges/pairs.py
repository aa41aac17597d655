"""Labelled pairs: a source, a text about it, and whether the source supports the text.

Pairs come from files (`read_pairs`) or from the news world (`newsworld_pairs`), whose oracle labels them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.rows import read_rows
from harness.newsworld import FULL, Shape, make_story
from harness.newsworld.events import EVENTS, fill, slots_of
from harness.newsworld.lexicon import SLOT_TYPES
from harness.newsworld.oracle import judge
from harness.newsworld.story import Record, Story

SOURCE_COLUMNS = ("source", "premise", "article", "document", "text1")
SUMMARY_COLUMNS = ("summary", "hypothesis", "claim", "sentence", "response", "text2")
LABEL_COLUMNS = ("label", "consistent", "faithful")

_WORDS = {
    "1": 1, "true": 1, "yes": 1, "consistent": 1, "faithful": 1, "supported": 1, "correct": 1,
    "0": 0, "false": 0, "no": 0, "inconsistent": 0, "hallucinated": 0, "unsupported": 0, "incorrect": 0,
}  # fmt: skip


_MOST_SENTENCES = 4


@dataclass(frozen=True, kw_only=True)
class LabelledPair:
    """One judgement, by a human or an oracle."""

    source: str
    summary: str
    """A sentence or a whole summary."""
    label: int
    """1 where the source supports all of it, else 0."""
    group: str = ""
    """What must stay together when data are split, such as the document; empty: the source itself."""
    spans: tuple[tuple[int, int, int], ...] = ()
    """(start, end, label) of parts of the summary that are judged on their own, where that is known."""


def read_pairs(path: Path) -> list[LabelledPair]:
    """Pairs of a JSON Lines file; every bad row is reported, up to five by name.

    Raises:
        HarnessError: If the file cannot be read or a row lacks a text or has a label that is neither of two.
    """
    return read_rows(
        path,
        pair_of,
        f"Each row needs a source ({', '.join(SOURCE_COLUMNS)}), a summary ({', '.join(SUMMARY_COLUMNS)}) "
        f"and a label ({', '.join(LABEL_COLUMNS)}: 1 or 0).",
    )


def pair_of(row: Mapping[str, Any]) -> LabelledPair:
    """A pair from a row with any of the known column names.

    Raises:
        ValueError: If a text is missing or empty, or the label is neither of two.
    """
    source, summary = _text(row, SOURCE_COLUMNS), _text(row, SUMMARY_COLUMNS)
    label = next((row[name] for name in LABEL_COLUMNS if row.get(name) is not None), None)
    if label is None:
        raise ValueError(f"no label; it has: {', '.join(row)}")
    value = _WORDS.get(str(int(label) if isinstance(label, bool | float) else label).strip().lower())
    if value is None or (isinstance(label, float) and label not in (0.0, 1.0)):
        raise ValueError(f"the label {label!r} is neither 1 nor 0")
    return LabelledPair(source=source, summary=summary, label=value, group=str(row.get("group") or ""))


def _text(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    found = next((row[name] for name in columns if isinstance(row.get(name), str)), None)
    if found is None:
        raise ValueError(f"no column {' or '.join(columns)}; it has: {', '.join(row)}")
    if not found.strip():
        raise ValueError(f"an empty {columns[0]}")
    return str(found).strip()


def newsworld_pairs(
    split: str, n: int, *, seed: int = 0, per_article: int = 4, shape: Shape = FULL
) -> Iterator[LabelledPair]:
    """News-world pairs, about half of them faithful, labelled by the oracle.

    The summaries are references, several facts in a row, references of which one or two values were exchanged (for
    another of the article or for one from nowhere), true facts that the article leaves out, and references with the
    values of the article's second story. All of them are well-formed: a judge must compare them with the article.

    Args:
        split: Name of a stream of articles; names are independent of each other.
        n: Number of pairs.
        seed: Selects an independent data set.
        per_article: Pairs for each article, faithful ones and others in turn.
        shape: Length of the articles.
    """
    for number in range(n):
        index, turn = divmod(number, per_article)
        story = make_story(split, index, seed=seed, shape=shape)
        rng = random.Random(f"pair {split} {seed} {number}")
        make = _faithful if (index + turn) % 2 == 0 else rng.choice(_CORRUPTIONS)
        summary = make(story, rng)
        yield oracle_pair(story.article, summary, group=story.id)


def oracle_pair(article: str, summary: str, *, group: str = "") -> LabelledPair:
    """A pair labelled by the news world's oracle."""
    verdict = judge(article, summary)
    return LabelledPair(
        source=article,
        summary=summary,
        label=int(verdict.faithful),
        group=group,
        spans=tuple((fact.start, fact.end, int(fact.support == "supported")) for fact in verdict.facts),
    )


def _faithful(story: Story, rng: random.Random) -> str:
    """A reference, or a few sentences that restate the article; now and then of its second story."""
    record = story.records[0] if rng.random() < 0.8 else rng.choice(story.records)
    stated = _sentences_of(record)
    short = [s for s in EVENTS[record.event].summaries if set(slots_of(s)) <= set(record.values)]
    if rng.random() < 0.6 or len(stated) < 2:
        return fill(rng.choice(short), record.values) if short else rng.choice(stated)
    return " ".join(rng.sample(stated, rng.randint(1, min(_MOST_SENTENCES, len(stated)))))


def _sentences_of(record: Record) -> list[str]:
    event = EVENTS[record.event]
    templates = (*event.summaries, *event.leads, *event.detail_sentences)
    return [
        fill(template, record.values)
        for template in templates
        if set(slots_of(template)) <= set(record.values)
    ]


def _noisy(story: Story, _rng: random.Random) -> str:
    """The generator's own noise: a value exchanged, or a true fact that the article leaves out."""
    split, seed, index = story.id.rsplit("-", 2)
    return make_story(split, int(index), seed=int(seed), noise=1.0).reference


def _exchanged(story: Story, rng: random.Random) -> str:
    """One or two values of a faithful text, each for another of its type from the article or from nowhere."""
    record = story.records[0] if rng.random() < 0.8 else rng.choice(story.records)
    event = EVENTS[record.event]
    templates = [
        template
        for template in (*event.summaries, *event.leads, *event.detail_sentences)
        if slots_of(template) and set(slots_of(template)) <= set(record.values)
    ]
    most = 1 if rng.random() < 0.6 else _MOST_SENTENCES
    chosen = rng.sample(templates, rng.randint(1, min(most, len(templates))))
    values = dict(record.values)
    slots = sorted({slot for template in chosen for slot in slots_of(template)})
    for slot in rng.sample(slots, 1 if len(slots) == 1 or rng.random() < 0.6 else 2):
        values[slot] = _other_value(story, event.slots[slot], values[slot], rng)
    return " ".join(fill(template, values) for template in chosen)


def _other_value(story: Story, kind: str, value: str, rng: random.Random) -> str:
    elsewhere = [
        other
        for record in story.records
        for slot, other in record.values.items()
        if EVENTS[record.event].slots[slot] == kind and other != value
    ]
    if elsewhere and rng.random() < 0.6:
        return rng.choice(elsewhere)
    drawn = SLOT_TYPES[kind].draw(rng)
    if (
        " " in value and rng.random() < 0.4
    ):  # half of a name: "Liam Vogel" for "Liam Osborne", as small models write
        parts = value.split(" ")
        at = rng.randrange(len(parts))
        parts[at] = drawn.split(" ")[min(at, len(drawn.split(" ")) - 1)]
        return " ".join(parts)
    return drawn


def _mixed_up(story: Story, rng: random.Random) -> str:
    """A summary of one story with values of the other, wherever types agree; without a second story: values swapped."""
    record = rng.choice(story.records)
    event = EVENTS[record.event]
    templates = [t for t in event.summaries if set(slots_of(t)) <= set(record.values)] or list(event.leads)
    template = rng.choice(templates)
    values = dict(record.values)
    slots = list(slots_of(template))
    pool = [
        (event_slot, value)
        for other in story.records
        for event_slot, value in ((EVENTS[other.event].slots[s], v) for s, v in other.values.items())
    ]
    for slot in rng.sample(slots, rng.randint(1, len(slots))):
        fitting = [value for kind, value in pool if kind == event.slots[slot] and value != values[slot]]
        if fitting:
            values[slot] = rng.choice(fitting)
    text = fill(template, values)
    return text if values != record.values else _exchanged(story, rng)


_CORRUPTIONS = (_noisy, _exchanged, _exchanged, _mixed_up)
