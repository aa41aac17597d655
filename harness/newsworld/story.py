"""The generator: seeded short news articles with references, distractor facts and, on request, noisy
references.

This is miniature data, made by rule. It is honest about one thing that real corpora share: a reference may
state what its article does not
(as most of XSUM's do), and a model finetuned on such references learns to make things up.

    >>> story = make_story("train", 0, seed=0)
    >>> story.article, story.reference
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from harness.newsworld.events import ASIDE, EVENTS, FILLERS, Event, fill, slots_of
from harness.newsworld.lexicon import SLOT_TYPES

# Shares of the three kinds of unsupported reference, in the order in which `_noisy_reference` tries them.
_SHARE_LEFT_OUT = 0.35  # a true fact that this article leaves out
_SHARE_FROM_NOWHERE = 0.6  # of the rest: a value that no one stated; otherwise another value of the article

_MAX_DRAWS = 50


@dataclass(frozen=True)
class Shape:
    """How long and how confusing an article is.

    Attributes:
        details: Least and most detail sentences.
        distractor: Probability of a second, unrelated story at the end, in [0, 1].
        fillers: Least and most sentences that state nothing.
    """

    details: tuple[int, int] = (2, 3)
    distractor: float = 0.7
    fillers: tuple[int, int] = (0, 1)


FULL = Shape()


@dataclass(frozen=True)
class Record:
    """What an article states of one event: slot name to value."""

    event: str
    values: Mapping[str, str]


@dataclass(frozen=True)
class Story:
    """An article with its references.

    Attributes:
        id: `<split>-<seed>-<index>`.
        article: The text, about 20 to 80 words.
        reference: The one summary used as training target; unsupported where `noisy`.
        references: Every valid one-sentence summary; all are supported by the article.
        noisy: Whether `reference` states something that the article does not.
        records: What the article states, main event first.
    """

    id: str
    article: str
    reference: str
    references: tuple[str, ...]
    noisy: bool
    records: tuple[Record, ...]


def make_story(split: str, index: int, *, seed: int = 0, noise: float = 0.0, shape: Shape = FULL) -> Story:
    """Story number `index` of a split; the same arguments give the same story on every machine.

    The article does not depend on `noise`, so that a clean and a noisy data set of one seed hold the same
    articles.

    Args:
        split: Any name; names and seeds are independent streams.
        index: 0-based position, >= 0.
        noise: Probability, in [0, 1], that the reference is unsupported.
    """
    identity = f"{split}-{seed}-{index}"
    rng = random.Random(f"article {identity}")
    name = rng.choice(list(EVENTS))
    event, world = EVENTS[name], _draw_world(rng, name)
    sentences, stated = _tell(rng, event, world, shape.details)
    for _ in range(rng.randint(*shape.fillers)):
        sentences.insert(rng.randint(1, len(sentences)), rng.choice(FILLERS))
    records = [Record(name, stated)]
    if rng.random() < shape.distractor:
        aside, record = _distractor(rng, name)
        sentences.extend(aside)
        records.append(record)

    usable = [template for template in event.summaries if set(slots_of(template)) <= set(stated)]
    reference_rng = random.Random(f"reference {identity}")
    noisy = reference_rng.random() < noise
    reference = (
        _noisy_reference(reference_rng, event, world, records)
        if noisy
        else fill(reference_rng.choice(usable), world)
    )
    return Story(
        id=identity,
        article=" ".join(sentences),
        reference=reference,
        references=tuple(fill(template, world) for template in usable),
        noisy=noisy,
        records=tuple(records),
    )


def paraphrases(story: Story, rng: random.Random) -> list[str]:
    """The story's facts in sentences that its article does not use, shuffled; no summary sentence is among
    them.

    This is what the shipped base models were pretrained to write.
    """
    said_otherwise = [
        fill(template, record.values)
        for record in story.records
        for template in (*EVENTS[record.event].leads, *EVENTS[record.event].detail_sentences)
        if set(slots_of(template)) <= set(record.values)
    ]
    unused = [sentence for sentence in said_otherwise if sentence not in story.article]
    rng.shuffle(unused)
    return unused


def _draw_world(rng: random.Random, name: str) -> dict[str, str]:
    """A value for every slot of an event, all different."""
    values: dict[str, str] = {}
    for slot, kind in EVENTS[name].slots.items():
        values[slot] = _draw_other(rng, kind, set(values.values()))
    if name == "match":
        low, high = sorted((values["low"], values["high"]), key=int)
        values |= {"low": low, "high": high}
    return values


def _draw_other(rng: random.Random, kind: str, taken: set[str]) -> str:
    for _ in range(_MAX_DRAWS):
        if (value := SLOT_TYPES[kind].draw(rng)) not in taken:
            return value
    raise AssertionError(
        f"no free value of type {kind} in {_MAX_DRAWS} draws"
    )  # lexicons are far larger than a story


def _tell(
    rng: random.Random, event: Event, world: Mapping[str, str], details: tuple[int, int]
) -> tuple[list[str], dict[str, str]]:
    """Sentences about one event, lead first, and the slots that they state."""
    templates = [rng.choice(event.leads)]
    for alternatives in rng.sample(event.details, k=min(rng.randint(*details), len(event.details))):
        templates.append(rng.choice(alternatives))
    stated = {slot: world[slot] for template in templates for slot in slots_of(template)}
    return [fill(template, world) for template in templates], stated


def _distractor(rng: random.Random, main_event: str) -> tuple[list[str], Record]:
    """A second short story; often of the same kind as the first, which makes it easy to confuse."""
    name = main_event if rng.random() < 0.4 else rng.choice(list(EVENTS))
    sentences, stated = _tell(rng, EVENTS[name], _draw_world(rng, name), (0, 1))
    return [ASIDE + sentences[0], *sentences[1:]], Record(name, stated)


def _noisy_reference(
    rng: random.Random, event: Event, world: Mapping[str, str], records: list[Record]
) -> str:
    """A well-formed summary of the main event with at least one value that the article does not support."""
    stated = records[0].values
    left_out = [template for template in event.summaries if not set(slots_of(template)) <= set(stated)]
    if left_out and rng.random() < _SHARE_LEFT_OUT:
        return fill(rng.choice(left_out), world)
    usable = [template for template in event.summaries if template not in left_out]
    template = rng.choice(usable)
    slot = rng.choice(slots_of(template))
    kind = event.slots[slot]
    elsewhere = [
        value
        for record in records
        for other, value in record.values.items()
        if EVENTS[record.event].slots[other] == kind and value != world[slot]
    ]
    if elsewhere and rng.random() >= _SHARE_FROM_NOWHERE:
        wrong = rng.choice(elsewhere)
    else:
        wrong = _draw_other(rng, kind, {world[slot], *elsewhere})
    return fill(template, {**world, slot: wrong})
