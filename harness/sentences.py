"""Sentence splitting for ROUGE-Lsum: by rule, offline, named in the signature.

ROUGE-Lsum is defined on sentences, and model output rarely puts each on its own line. Any change here changes scores: raise
`VERSION` with it.
"""

from __future__ import annotations

import re

VERSION = "newline+rules1"

_ABBREVIATIONS = frozenset(
    """mr mrs ms dr prof sr jr st gen col lt sgt capt rep sen gov pres rev hon messrs mt vs etc inc ltd co corp dept est
    no vol fig jan feb mar apr jun jul aug sep sept oct nov dec e.g i.e cf al approx""".split()
)
_BREAK = re.compile(
    r"""(?<=[.!?])(?P<close>['"’”)\]]*)\s+(?=['"‘“(\[]*[^\W\d_a-z]|['"‘“(\[]*\d)"""  # . ! ? then a capital or a digit
    r"|(?<=[。！？])"
)
_LAST_WORD = re.compile(r"""([^\s"'“‘(\[]+)\.['"’”)\]]*$""")


def split_sentences(text: str) -> list[str]:
    """Split at line breaks, then after ``.``, ``!``, ``?`` before a capital or digit, then after ``。！？``.

    A full stop after a known abbreviation or a single capital ("J. Smith", "U.S. forces") ends no sentence.
    """
    sentences: list[str] = []
    for line in text.split("\n"):
        start = 0
        for match in _BREAK.finditer(line):
            end = match.end("close") if match.group("close") is not None else match.end()
            if not _ends_in_abbreviation(line[start:end]):
                sentences.append(line[start:end].strip())
                start = match.end()
        sentences.append(line[start:].strip())
    return [sentence for sentence in sentences if sentence]


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """(start, end) of each sentence of `split_sentences`."""
    spans, end = [], 0
    for sentence in split_sentences(text):
        start = text.index(sentence, end)
        end = start + len(sentence)
        spans.append((start, end))
    return spans


def _ends_in_abbreviation(sentence: str) -> bool:
    match = _LAST_WORD.search(sentence)
    if match is None:
        return False
    word = match.group(1)
    return word.lower() in _ABBREVIATIONS or bool(re.fullmatch(r"(?:[^\W\d_]\.)*[A-Z]", word))
