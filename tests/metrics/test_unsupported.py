"""Names, numbers and dates that a source does not hold: what the rules find, and what people marked."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import pytest

from harness.files import iter_jsonl
from harness.metrics.base import CorpusScore, Sample
from harness.metrics.items.dates import dates
from harness.metrics.items.numbers import numbers
from harness.metrics.suite import Suite
from harness.metrics.unsupported import Supported, Unsupported, unsupported_spans

SOURCE = (
    "Russian President Vladimir Putin met Dr. Anna O'Neill of the Federal Bureau of Investigation in Hull on 12 March 2015. "
    'The U.S. sent 2,483,119 dollars, or three percent, and twenty-one people. "We wait," said John R. Smith, 45, of AT&T. '
    "The Covid-19 rules ended on Monday; a crowd of 1.2m came. Zoë Brown's café paid £5.50. The bank reopened."
)


def missing(response: str, source: str = SOURCE) -> list[str]:
    return [response[start:end] for start, end, _ in unsupported_spans(source, response)]


@pytest.mark.parametrize(
    "response",
    [
        "Putin met O'Neill, and Mr. Smith waited.",  # surnames, a title
        "J. Smith spoke to Anna O’Neill.",  # an initial, another apostrophe
        "The FBI works with the United States and with America.",  # initials of a name, other names of a country
        "He came from Russia. Russians know Zoe Brown.",  # a country for its people, an accent
        "On March 12, 2015, and in March, they met; 12/03/2015 or 2015-03-12, on Mondays.",
        "About 2.5 million dollars, $2,483,119 and 3% went to 21 persons.",
        "1,200,000 people, one of whom was forty-five, paid £5.5.",
        "Covid-19 came to Hull's Bank. The Bank shut.",  # a word that stands elsewhere in small letters is no name
        "Researchers say so. However, nobody knows.",  # capitals of sentences
        "“Nobody knows”, she said: Everybody does.",
        "First, one must wait a second.",
        "AT&T's people",
        "They name two films and four cities.\n1. Hull\n2) Smith",  # counts what is listed, marks of a list
    ],
)
def test_what_the_source_says_in_another_way_is_supported(response: str) -> None:
    assert missing(response) == []


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("Vladimir Lenin met Putin in Leeds.", ["Lenin", "Leeds"]),
        ("Angela Merkel waited.", ["Angela Merkel"]),
        ("The CIA and NATO came.", ["CIA", "NATO"]),
        ("They met on 13 March 2015.", ["13 March 2015"]),
        ("They met on March 12, 2016, a Tuesday in May 2015.", ["March 12, 2016", "Tuesday", "May 2015"]),
        ("They sent 2.6 million dollars, 4% and 22 people.", ["2.6 million dollars", "4%", "22"]),
        ("They sent €2,483,119.", ["€2,483,119"]),
        ("Three hundred came, two dozen left.", ["Three hundred", "two dozen"]),
        ("He is 46 years old.", ["46"]),
        (
            "Smith and the Chinese saw Paris. Merkel agreed with Merkel and Merkel.",
            ["Chinese", "Paris", "Merkel", "Merkel", "Merkel"],
        ),
    ],
)
def test_what_the_source_does_not_say_is_found_where_it_stands(response: str, expected: list[str]) -> None:
    assert missing(response) == expected


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("Merkel agreed.", "one capital at the start of a sentence"),
        ("Smith met Putin of AT&T.", "names of the source put together anew"),
        ("People Of All The World Agree That Leeds And Paris Are Nice", "a headline"),
        ("angela merkel was there", "small letters"),
    ],
)
def test_what_the_rules_cannot_see(response: str, reason: str) -> None:
    """docs/metrics.md says so; a change of these is a change of the score."""
    assert missing(response) == [], reason


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("three hundred and twenty-one", [321]),
        ("five million three hundred thousand two hundred", [5_300_200]),
        ("a hundred and fifty; a million", [150, 1_000_000]),
        ("between two and three hundred", [2, 300]),
        ("2.3 million and 2,300,000", [2_300_000, 2_300_000]),
        ("$ 181,674,817 in 1,2 and 3", [181_674_817, 1, 2, 3]),
        ("the twenty-first and the 3rd of 20-25", [3, 20, 25, 21]),
        ("two-thirds of ninety", [90]),
        ("10:30, 7pm, the 1990s, 3.14", [10, 30, 7, 1990, 3.14]),
        ("v2 and x3 and nothing", []),
    ],
)
def test_numbers_are_read(text: str, values: list[float]) -> None:
    assert [number.values[0] for number in numbers(text)] == values


def test_numbers_in_words_and_in_digits_are_the_same() -> None:
    """English as num2words spells it, for every number to 999 and some larger ones."""
    ones = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
        eighteen nineteen""".split()
    tens = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()

    def spell(n: int) -> str:
        if n < 20:
            return ones[n]
        if n < 100:
            return tens[n // 10] + (f"-{ones[n % 10]}" if n % 10 else "")
        if n < 1000:
            return f"{ones[n // 100]} hundred" + (f" and {spell(n % 100)}" if n % 100 else "")
        return f"{spell(n // 1000)} thousand" + (f" {spell(n % 1000)}" if n % 1000 else "")

    for n in [*range(1000), 12_345, 700_001, 999_999]:
        assert [number.values for number in numbers(spell(n))] == [(float(n),)], spell(n)


def test_a_date_of_digits_has_two_readings_and_an_impossible_one_none() -> None:
    (found,) = dates("on 3/4/15")
    assert set(found.readings) == {(3, 4, 2015), (4, 3, 2015)}
    assert list(dates("32/13/2015")) == []
    assert [date.weekday for date in dates("Mondays and Sun, may march")] == ["monday"]


def test_units_may_be_left_out_and_not_changed() -> None:
    assert missing("It cost 5 and 10%.", "It cost 5 dollars and 10.") == []
    assert missing("It cost £5 and 10%.", "It cost 5 dollars, and $10.") == ["£5", "10%"]


def test_a_small_number_in_words_counts_unless_the_source_counts_the_same() -> None:
    assert missing("Three people and two dogs.", "Five people came; a dog, and a dog.") == ["Three"]
    assert missing("3 people", "five people") == ["3"]
    assert missing("from 2007 to 2011", "in 2007-11") == []


def test_a_source_without_capitals_is_read_without_them() -> None:
    source = "the us and angela merkel met in hull on 3 may 2011 ."
    assert missing("In May 2011 the US met Angela Merkel.", source) == []
    assert missing("In June 2011 the UK met Olaf Scholz.", source) == ["June 2011", "UK", "Olaf Scholz"]


def test_scores_are_counts_of_items() -> None:
    samples = [
        Sample(source=SOURCE, references=(), response="In Leeds, Putin met Anna."),
        Sample(source=SOURCE, references=(), response="nothing to see here"),
        Sample(source=" ", references=(), response="In Leeds."),
        Sample(source=SOURCE, references=(), response="Leeds beat Paris, Rome and Oslo 3-0."),
    ]
    metric = Unsupported()
    first, second, third, fourth = metric.score(samples)
    assert (first["supported_responses"], first["unsupported_items"]) == (0, 1)
    rate, marked = first["unsupported_rate"], first["supported_responses"]
    assert isinstance(rate, CorpusScore)
    assert rate.statistics == (1, 3)
    assert isinstance(marked, Supported)
    assert marked.spans == ((3, 8, "name"),)
    again = pickle.loads(pickle.dumps(marked))  # between ranks
    assert (again, again.spans) == (marked, marked.spans)
    assert (second["supported_responses"], second["unsupported_rate"], second["unsupported_items"]) == (
        1,
        0,
        0,
    )
    assert third == {}
    summary = Suite([metric]).summarise(["x"] * 3, [first, second, fourth])
    total = 1 + fourth["unsupported_items"]
    items = 3 + fourth["unsupported_rate"].statistics[1]  # type: ignore[attr-defined]
    assert summary.scores["unsupported_rate"].value == pytest.approx(total / items)
    assert metric.absent == {}
    metric.score(samples[2:3])
    assert set(metric.absent) == set(metric.scores)


def test_what_people_marked_is_what_the_rules_mark(shared_data: Path) -> None:
    """FaithBench: annotators' spans of what is unwanted; summaries without a mark are those that all of them passed."""
    inside: Counter[bool] = Counter()
    flagged: Counter[tuple[bool, bool]] = Counter()
    for row in iter_jsonl(shared_data / "faithbench" / "samples_batches_1_8.jsonl"):
        labels = {label for annotation in row["annotations"] for label in annotation["label"]}
        unwanted = any(label.startswith("Unwanted") for label in labels)
        spans = unsupported_spans(row["source"], row["summary"])
        if unwanted or not labels:
            flagged[unwanted, bool(spans)] += 1
        for start, end, _ in spans if unwanted else ():
            inside[
                any(a["summary_start"] < end and start < a["summary_end"] for a in row["annotations"])
            ] += 1
    found = flagged[True, True] / (flagged[True, True] + flagged[True, False])
    alarms = flagged[False, True] / (flagged[False, True] + flagged[False, False])
    assert 0.15 < found < 0.35
    assert 0.02 < alarms < 0.15
    assert inside[True] / inside.total() > 0.6
