from __future__ import annotations

import pytest

from harness.sentences import split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("First line\nsecond line. Third.", ["First line", "second line.", "Third."]),
        (
            "Mr. Smith met Dr. Jones in the U.S. Army base.",
            ["Mr. Smith met Dr. Jones in the U.S. Army base."],
        ),
        ("J. K. Rowling wrote it. It sold.", ["J. K. Rowling wrote it.", "It sold."]),
        ('He said "Go." Then he left.', ['He said "Go."', "Then he left."]),
        ("It cost 3.50 dollars. 20 people came.", ["It cost 3.50 dollars.", "20 people came."]),
        ("今日は晴れ。明日は雨！", ["今日は晴れ。", "明日は雨！"]),
        ("Он ушёл. Она осталась.", ["Он ушёл.", "Она осталась."]),
        ("the cat sat . the dog ran .", ["the cat sat . the dog ran ."]),  # lower case begins no sentence
        ("  \n ", []),
    ],
)
def test_sentences(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


def test_no_text_is_lost() -> None:
    text = "A b. C (d). E! “F?” G… H.\nI"
    assert "".join(split_sentences(text)).replace(" ", "") == text.replace(" ", "").replace("\n", "")
