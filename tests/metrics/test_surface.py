from __future__ import annotations

import random
import time

import pytest

from harness.metrics import Sample
from harness.metrics.surface import Surface, fragment_lengths


def test_by_hand() -> None:
    """Fragments "the cat sat" and "on the mat": coverage 6 of 7 words, density (9 + 9) / 7."""
    source = "Yesterday the cat sat quietly on the mat."
    scores = Surface().score(
        [Sample(source=source, references=("x",), response="The cat sat happily on the mat")]
    )[0]
    assert scores["length"] == 7
    assert scores["coverage"] == pytest.approx(6 / 7)
    assert scores["density"] == pytest.approx(18 / 7)


def test_a_copy_and_a_text_of_other_words_are_the_extremes() -> None:
    source = "one two three four"
    copied, other = Surface().score(
        [Sample(source=source, references=("x",), response=r) for r in (source, "five six seven")]
    )
    assert (copied["coverage"], copied["density"]) == (1, 4)
    assert (other["coverage"], other["density"]) == (0, 0)


def naive_fragments(source: list[str], response: list[str]) -> list[int]:
    """Figure 3 of Grusky et al. (2018), word for word."""
    lengths, i = [], 0
    while i < len(response):
        best, j = 0, 0
        while j < len(source):
            if response[i] == source[j]:
                k = 0
                while i + k < len(response) and j + k < len(source) and response[i + k] == source[j + k]:
                    k += 1
                best = max(best, k)
                j += k
            else:
                j += 1
        if best:
            lengths.append(best)
        i += max(best, 1)
    return lengths


def test_equals_the_paper_where_no_word_repeats() -> None:
    """The paper's loop jumps over overlapping candidates (j += k); with distinct source words there are none."""
    rng = random.Random(0)
    for _ in range(200):
        source = rng.sample("abcdefghijkl", k=10)
        response = rng.choices("abcdefghijklmnop", k=12)
        assert fragment_lengths(source, response) == naive_fragments(source, response)


def test_an_article_of_100_000_words_is_no_problem() -> None:
    rng = random.Random(0)
    words = [f"w{i}" for i in range(500)]
    article = rng.choices(words, k=100_000)
    response = [*article[50_000:50_040], *rng.choices(words, k=40)]
    begin = time.process_time()
    scores = Surface().score(
        [Sample(source=" ".join(article), references=("x",), response=" ".join(response))]
    )[0]
    assert scores["coverage"] == 1
    assert scores["density"] > 20
    assert time.process_time() - begin < 10  # about 0.1 s; the naive way takes minutes


def test_without_a_source_only_the_length_is_given() -> None:
    assert Surface().score([Sample(source="", references=("x",), response="two words")]) == [{"length": 2.0}]
