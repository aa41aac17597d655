"""Loops: what repeats itself at its end, what does not, and that people do not write so."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from harness.files import iter_jsonl
from harness.metrics.loops import _borders, _repeated_end, loops

SENTENCE = "The council will close two schools. "


@pytest.mark.parametrize(
    "response",
    [
        SENTENCE * 3,
        SENTENCE * 5 + "The council wi",
        "Parents oppose the plan to close a school in Hull. " + SENTENCE * 4,
        "She said: " + "no " * 30,
        "I am\n not sure.\n" * 8,  # white space differs, the words do not
        "理事会将关闭两所学校。" * 4,
    ],
)
def test_a_repeated_end_is_a_loop(response: str) -> None:
    assert loops(response)


@pytest.mark.parametrize(
    "response",
    [
        "",
        SENTENCE,
        SENTENCE * 2,
        SENTENCE * 2 + "The council wi",  # two times and a half
        "No, no, no, no, no!",
        "It was very, very, very, very cold in Hull.",
        SENTENCE * 4 + "Parents said that they would fight the plan.",  # it found an end
        "1. A school in Hull.\n2. A school in Hull.\n3. A school in Hull.\n4. A school in Hull.",
        " ".join(f"word{i}" for i in range(400)) + " so it was said," * 4,  # of a long response a small part
    ],
)
def test_anything_else_is_none(response: str) -> None:
    assert not loops(response)


def test_the_longest_repeated_end_is_that_of_the_definition() -> None:
    """Against trying every length and every period, on all short texts of two letters."""
    for text in map("".join, product("ab", repeat=9)):
        tried = [
            length
            for length in range(1, 10)
            for period in range(1, (length + 1) // 3 + 1)
            if all(text[-i] == text[-i - period] for i in range(1, length - period + 1))
        ]
        assert _repeated_end(text) == max(tried, default=0), text


def test_borders_by_their_definition() -> None:
    draw = random.Random(0)
    for _ in range(200):
        text = "".join(draw.choice("ab") for _ in range(12))
        for place, found in enumerate(_borders(text)):
            start = text[: place + 1]
            assert found == max(n for n in range(len(start)) if start.endswith(start[:n]))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def test_people_do_not_write_loops(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ("dialogsum", "realsumm", "dolly_valid", "faithbench", "factcc_rank19", "selfinst")
    texts = [
        text
        for folder in files
        for path in sorted((shared_data / folder).glob("*.jsonl"))
        for row in iter_jsonl(path)
        for text in _texts(row)
        if len(text) >= 20
    ]
    found = [text for text in texts if loops(text)]
    with capsys.disabled():
        print(f"\nloops: {len(found)} of {len(texts)} texts that people wrote or marked")
    assert len(texts) > 10_000
    assert found == []
