"""Names: words written with a capital that is not owed to the start of a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from harness.sentences import sentence_spans

Span = tuple[int, int]

TOKEN = re.compile(r"[^\W_]+(?:['’.&-][^\W_]+)*")
"""A word with what is inside it: U.S, O'Neill, AT&T, Covid-19."""
_OPENS = re.compile(r"""(?:^|[:;•*\-–—"“‘(\[]|\d[.)])\s*$""")
"""What stands before a word whose capital says nothing, beside the start of a sentence."""
_JOINS = re.compile(r"[\s\xa0]+|\.\s+|\s?&\s?|-")
"""Between two words of one name."""
_CONNECTORS = frozenset("of de la le van von der den du da di del al el bin ibn y".split())
HONORIFICS = frozenset("mr mrs ms miss dr sir prof mx jr sr".split())
_NEVER = frozenset("i i'm i've i'll i'd ok okay pm am".split())
_COMMON = frozenset(
    """a about above according across after afterwards again against ago all almost along already also although always amid among
    an and another any anyone anything are around as at back be because been before behind being below beside besides between
    beyond both but by can could currently despite did do does doing during each earlier early either else even eventually ever
    every everyone everything except few finally first following for former formerly from further furthermore given had has have
    having he hello her here hers herself hi him himself his how however if in including indeed initially instead into is it its
    itself just key last late later least less let like likewise local made main many may maybe me meanwhile more moreover most
    much must my near nearly neither never nevertheless new next no nobody none nor not note nothing now of off often old on once
    one only or other others otherwise our out over overall own past perhaps please previously rather recent recently same second
    several she should similarly since so some someone something sometimes soon still such summary than thank thanks that the
    their theirs them then there thereby therefore these they third this those though through throughout thus to today together
    tomorrow too top two under unlike until up upon us very was we well were what when whenever where whereas whether which while
    who whoever whom whose why will with within without would yes yesterday yet you young your""".split()
)
"""Words that open sentences, and stand before names without being a part of them."""
_HEADLINE_WORDS, _HEADLINE_SHARE = 8, 0.8


@dataclass(frozen=True, kw_only=True)
class Name:
    """One name of a text, such as ``University of Hull``."""

    start: int
    end: int
    words: tuple[Span, ...]
    """Of its words, without titles such as Mr, initials, and words such as "of"."""


def names(text: str, taken: Sequence[Span], lower: Set[str]) -> Iterator[Name]:
    """The names of a text.

    A capital at the start of a sentence, after a colon or a quotation mark counts if the next word has one too, or if the word is
    written so elsewhere in the text. A word that stands somewhere in small letters is no name. In a line that is all capitals, or
    has one on nearly each word, as headlines do, capitals say nothing.

    Args:
        text: To search.
        taken: What is something else, such as a date.
        lower: Words that the text, or its source, has in small letters.
    """
    tokens = list(TOKEN.finditer(text))
    is_name = _named(text, tokens, taken, lower)
    i = 0
    while True in is_name[i:]:
        run = [is_name.index(True, i)]
        while step := _next(text, tokens, run[-1], is_name):
            run.append(step)
        if name := _name(tokens, run):
            yield name
        i = run[-1] + 1


def _named(text: str, tokens: Sequence[re.Match[str]], taken: Sequence[Span], lower: Set[str]) -> list[bool]:
    """Whether each word is one of a name."""
    words = [token[0] for token in tokens]
    capital = [_capital(word) for word in words]
    closed = (*taken, *_headlines(text, tokens, capital))
    starts = {start for start, _ in sentence_spans(text)}
    opens = [
        is_capital and ((at := token.start()) in starts or bool(_OPENS.search(text[max(0, at - 4) : at])))
        for token, is_capital in zip(tokens, capital, strict=True)
    ]
    inside = {
        word
        for word, is_capital, first in zip(words, capital, opens, strict=True)
        if is_capital and not first
    }

    def named(i: int) -> bool:
        if not capital[i]:
            return False
        start, end = tokens[i].span()
        plain = words[i].casefold().replace("’", "'").removesuffix("'s")
        if plain in _NEVER or any(start < b and a < end for a, b in closed):
            return False
        if _shouted(words[i]):
            return True
        if plain in lower or (opens[i] and plain in _COMMON):
            return False
        goes_on = (
            i + 1 < len(words)
            and capital[i + 1]
            and not opens[i + 1]
            and _joined(text, tokens[i], tokens[i + 1])
        )
        return not opens[i] or words[i] in inside or goes_on

    return [named(i) for i in range(len(tokens))]


def _next(text: str, tokens: Sequence[re.Match[str]], i: int, is_name: Sequence[bool]) -> int | None:
    """The next word of the name that word i belongs to; a connector is passed over."""
    for j in (i + 1, i + 2):
        if j >= len(tokens) or not _joined(text, tokens[j - 1], tokens[j]):
            return None
        if is_name[j]:
            return j
        if tokens[j][0] not in _CONNECTORS:
            return None
    return None


def _joined(text: str, left: re.Match[str], right: re.Match[str]) -> bool:
    between = text[left.end() : right.start()]
    if not _JOINS.fullmatch(between) or "\n" in between:
        return False
    return "." not in between or len(left[0]) == 1 or left[0].casefold() in HONORIFICS | {"st", "mt"}


def _name(tokens: Sequence[re.Match[str]], run: Sequence[int]) -> Name | None:
    words = [tokens[i] for i in run if len(tokens[i][0]) > 1 and tokens[i][0].casefold() not in HONORIFICS]
    if not words:
        return None
    return Name(
        start=tokens[run[0]].start(), end=tokens[run[-1]].end(), words=tuple(word.span() for word in words)
    )


def _capital(word: str) -> bool:
    """Whether a word has a capital, first (Hull, Covid-19) or inside (iPhone)."""
    return not word.islower() and word != word.lower() and not word[0].isdigit()


def _shouted(word: str) -> bool:
    """Whether a word is written in capitals (NATO, U.S), as no common word is at the start of a sentence."""
    letters = [character for character in word.removesuffix("s") if character.isalpha()]
    return len(letters) > 1 and all(map(str.isupper, letters))


def _headlines(text: str, tokens: Sequence[re.Match[str]], capital: Sequence[bool]) -> list[Span]:
    """Lines in which capitals say nothing."""
    found, start = [], 0
    for line in text.split("\n"):
        end = start + len(line)
        here = [
            (token[0], has)
            for token, has in zip(tokens, capital, strict=True)
            if start <= token.start() < end and token[0].isalpha()
        ]
        headline = len(here) >= _HEADLINE_WORDS and sum(has for _, has in here) >= _HEADLINE_SHARE * len(here)
        if headline or (len(here) > 2 and line.upper() == line):
            found.append((start, end))
        start = end + 1
    return found
