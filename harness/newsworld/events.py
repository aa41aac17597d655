"""The events of the news world: what each kind of story states, and the sentences that state it.

An event has named slots, lead sentences (first sentence of an article, interchangeable), details (each a pair
of interchangeable sentences), and summary sentences. No summary sentence equals a lead or a detail, so
summarising is more than copying.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

SLOT = re.compile(r"{(\w+)}")


@dataclass(frozen=True)
class Event:
    """One kind of story.

    Attributes:
        slots: Slot name to slot type (a key of `lexicon.SLOT_TYPES`).
        leads: Ways to open the story; any one states the event.
        details: Optional further facts, each a tuple of interchangeable sentences.
        summaries: Valid one-sentence summaries; one is usable where the article states all its slots.
    """

    slots: Mapping[str, str]
    leads: tuple[str, ...]
    details: tuple[tuple[str, ...], ...]
    summaries: tuple[str, ...]

    @property
    def detail_sentences(self) -> tuple[str, ...]:
        """All detail sentences, whichever fact they state."""
        return tuple(sentence for alternatives in self.details for sentence in alternatives)


def slots_of(template: str) -> tuple[str, ...]:
    """Slot names in a template, in order of appearance."""
    return tuple(SLOT.findall(template))


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with every slot replaced by its value."""
    return SLOT.sub(lambda match: values[match.group(1)], template)


EVENTS: Mapping[str, Event] = {
    "appointment": Event(
        slots=dict(
            company="company",
            person="person",
            role="role",
            day="day",
            previous="person",
            age="age",
            years="number",
        ),
        leads=(
            "{company} has named {person} as its new {role}.",
            "{person} will become {role} of {company}, the company said.",
            "{company} appointed {person} as {role} after a long search.",
        ),
        details=(
            ("The change was announced on {day}.", "The board confirmed the decision on {day}."),
            ("{person} replaces {previous}, who stepped down.", "The job was previously held by {previous}."),
            (
                "The {age} year old joined the company {years} years ago.",
                "The new recruit is {age} and has spent {years} years in the industry.",
            ),
        ),
        summaries=(
            "{company} has appointed {person} as {role}.",
            "{person} has been named {role} of {company}.",
            "{person} is the new {role} at {company}, replacing {previous}.",
            "{company} named {person} its {role} on {day}.",
            "{person}, {age}, is to lead {company} as {role}.",
            "{person} replaces {previous} as {role} of {company}.",
        ),
    ),
    "takeover": Event(
        slots=dict(
            buyer="company", target="company", price="money", month="month", jobs="hundreds", town="town"
        ),
        leads=(
            "{buyer} has agreed to buy {target} for {price}.",
            "{target} will be sold to {buyer} in a deal worth {price}.",
            "{buyer} is taking over {target}, paying {price}.",
        ),
        details=(
            ("The deal should close in {month}.", "Both firms hope to finish the sale by {month}."),
            (
                "{target} is based in {town} and employs {jobs} people.",
                "The smaller firm has {jobs} workers in {town}.",
            ),
        ),
        summaries=(
            "{buyer} is to buy {target} for {price}.",
            "{target} has been sold to {buyer} for {price}.",
            "{buyer} has agreed a deal to take over {target}.",
            "A takeover of {target} by {buyer}, worth {price}, should close in {month}.",
            "{buyer} will buy {target}, a firm based in {town}.",
        ),
    ),
    "layoffs": Event(
        slots=dict(
            company="company",
            jobs="hundreds",
            town="town",
            cause="cause",
            leader="person",
            month="month",
            percent="number",
        ),
        leads=(
            "{company} is to cut {jobs} jobs in {town}.",
            "About {jobs} workers at {company} in {town} will lose their jobs.",
            "{company} said it would close its office in {town} and cut {jobs} jobs.",
        ),
        details=(
            ("The company blamed {cause}.", "Managers said {cause} was to blame."),
            (
                "Union leader {leader} called the plan a disgrace.",
                "{leader}, who leads the union, said staff were shocked.",
            ),
            (
                "The cuts start in {month} and cover {percent} percent of staff.",
                "About {percent} percent of staff will be gone by {month}.",
            ),
        ),
        summaries=(
            "{company} is cutting {jobs} jobs in {town}.",
            "Some {jobs} jobs are to go at {company} in {town}.",
            "{company} has blamed {cause} for job cuts in {town}.",
            "{jobs} people will lose their jobs at {company} because of {cause}.",
            "Union leader {leader} has criticised job cuts at {company}.",
        ),
    ),
    "opening": Event(
        slots=dict(
            company="company",
            site="site",
            town="town",
            price="money",
            jobs="hundreds",
            year="year",
            mayor="person",
        ),
        leads=(
            "{company} will build a new {site} in {town}.",
            "A new {site} is to be built in {town} by {company}.",
            "{company} has chosen {town} as the home of a {site}.",
        ),
        details=(
            (
                "The project will cost {price} and create {jobs} jobs.",
                "It is expected to bring {jobs} jobs at a cost of {price}.",
            ),
            ("Work should be finished in {year}.", "The building is due to open in {year}."),
            ("Mayor {mayor} welcomed the news.", "{mayor}, the mayor, said it was a proud day."),
        ),
        summaries=(
            "{company} is to build a {site} in {town}.",
            "A new {site} in {town} will create {jobs} jobs.",
            "{company} plans to spend {price} on a {site} in {town}.",
            "A {site} costing {price} is due to open in {town} in {year}.",
            "Mayor {mayor} has welcomed plans for a {site} in {town}.",
        ),
    ),
    "disaster": Event(
        slots=dict(
            hazard="hazard", town="town", dead="number", hurt="hundreds", day="day", governor="person"
        ),
        leads=(
            "A {hazard} killed {dead} people near {town}.",
            "At least {dead} people died when a {hazard} hit {town}.",
            "{town} was struck by a {hazard} that left {dead} people dead.",
        ),
        details=(
            ("It happened on {day}, officials said.", "Officials said it began on {day}."),
            ("Another {hurt} people were hurt.", "Hospitals treated {hurt} people for injuries."),
            ("Governor {governor} asked for help.", "{governor}, the governor, promised help for the area."),
        ),
        summaries=(
            "At least {dead} people have died in a {hazard} in {town}.",
            "A {hazard} in {town} has left {dead} dead and {hurt} hurt.",
            "A {hazard} struck {town} on {day}, killing {dead} people.",
            "Governor {governor} has promised help after a {hazard} in {town}.",
            "{dead} people were killed and {hurt} injured by a {hazard} near {town}.",
        ),
    ),
    "arrest": Event(
        slots=dict(
            suspect="person",
            age="age",
            crime="crime",
            town="town",
            day="day",
            detective="person",
            amount="money",
        ),
        leads=(
            "Police in {town} have arrested {suspect} over {crime}.",
            "{suspect} was arrested in {town} on suspicion of {crime}.",
            "Officers in {town} detained {suspect} in a {crime} case.",
        ),
        details=(
            (
                "The suspect, aged {age}, was held on {day}.",
                "The {age} year old was taken from home on {day}.",
            ),
            (
                "Detective {detective} is leading the inquiry.",
                "{detective}, the lead detective, asked witnesses to call.",
            ),
            ("The case involves {amount}.", "Investigators are looking for {amount}."),
        ),
        summaries=(
            "{suspect} has been arrested in {town} over {crime}.",
            "Police in {town} are holding {suspect} on suspicion of {crime}.",
            "{suspect}, {age}, was arrested for {crime} on {day}.",
            "Detective {detective} is investigating {suspect} over {crime}.",
            "A {crime} case in {town} involves {amount}.",
        ),
    ),
    "election": Event(
        slots=dict(
            winner="person",
            party="party",
            town="town",
            percent="number",
            rival="person",
            date="date",
            turnout="number",
        ),
        leads=(
            "{winner} of the {party} party has been elected mayor of {town}.",
            "The {party} candidate {winner} won the race for mayor of {town}.",
            "Voters in {town} chose {winner} of the {party} party as mayor.",
        ),
        details=(
            ("{winner} won {percent} percent of the vote.", "The winner took {percent} percent of votes."),
            ("{rival} came second.", "The defeated rival was {rival}."),
            (
                "The vote was held on {date} with a turnout of {turnout} percent.",
                "Turnout on {date} was {turnout} percent.",
            ),
        ),
        summaries=(
            "{winner} has been elected mayor of {town}.",
            "{winner} of the {party} party is the new mayor of {town}.",
            "{winner} beat {rival} in the race for mayor of {town}.",
            "{winner} won {percent} percent of the vote in {town}.",
            "The {party} party has won the mayoral vote in {town}, held on {date}.",
        ),
    ),
    "match": Event(
        slots=dict(
            winners="club",
            losers="club",
            high="number",
            low="number",
            scorer="person",
            day="day",
            coach="person",
        ),
        leads=(
            "The {winners} beat the {losers} by {high} to {low}.",
            "The {losers} lost {low} to {high} against the {winners}.",
            "The {winners} won {high} to {low} against the {losers}.",
        ),
        details=(
            ("{scorer} scored the winning points.", "The star of the game was {scorer}."),
            ("The game was played on {day}.", "Fans filled the ground on {day}."),
            ("Coach {coach} praised the effort.", "{coach}, the coach, was delighted."),
        ),
        summaries=(
            "The {winners} have beaten the {losers} {high} to {low}.",
            "{scorer} led the {winners} to a win over the {losers}.",
            "The {winners} won {high} to {low} against the {losers} on {day}.",
            "The {losers} were beaten {high} to {low} by the {winners}.",
            "Coach {coach} praised the {winners} after a win over the {losers}.",
        ),
    ),
}

FILLERS = (
    "No one else was available to comment.",
    "More details are expected soon.",
    "A meeting will be held next week.",
    "Local people said they were surprised.",
    "The news was first reported by a local paper.",
)

# Opens the second, shorter story of an article: the distractor whose facts must not be mixed with the first.
ASIDE = "In other news, "
