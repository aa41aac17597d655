"""From rows of any layout to documents: which columns hold what.

A field is mapped by a list of candidates, of which the first that a row has is taken:

* ``article``: a column; ``context.contexts``: a part of a nested column;
* ``input|head`` and ``input|tail``: a column's first line, and what follows it;
* ``messages|user`` and ``messages|assistant``: the turns of a chat of one question and one answer;
* ``[summary1, summary2, summary3]``: all of these together, for references.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Candidate = str | Sequence[str]

_PARTS = {"head": 0, "tail": 2}
_TURNS = ("user", "assistant")


def find(row: Row, candidates: Sequence[Candidate]) -> Any:
    """The value of the first candidate that the row has; None if it has none."""
    for candidate in candidates:
        if isinstance(candidate, str):
            value = _reach(row, candidate)
        else:
            values = [value for name in candidate if (value := _reach(row, name)) is not None]
            value = values or None
        if value is not None:
            return value
    return None


def _reach(row: Row, candidate: str) -> Any:
    path, _, part = candidate.partition("|")
    value: Any = row
    for step in [path] if path in row else path.split("."):
        if not isinstance(value, Mapping) or step not in value:
            return None
        value = value[step]
    if part in _TURNS:
        return _turn(value, part)
    return value.partition("\n")[_PARTS[part]] if part and isinstance(value, str) else value


def _turn(messages: Any, role: str) -> str | None:
    """What a role says in a chat of one question and one answer; None for any other chat, which a prompt cannot stand for."""
    turns = messages if isinstance(messages, list | tuple) else ()
    said = {turn.get("role"): turn.get("content") for turn in turns if isinstance(turn, Mapping)}
    return said[role] if len(turns) == len(said) == 2 and said.keys() == {*_TURNS} else None


def spell(candidates: Sequence[Candidate]) -> str:
    """The candidates for an error message."""
    return ", ".join(c if isinstance(c, str) else "+".join(c) for c in candidates)


def as_text(value: Any) -> str:
    """One text of a cell: a string, a list of paragraphs, or titled paragraphs in either of HotpotQA's two layouts.

    Raises:
        ValueError: Saying what it is in place of a text. A number is refused too: 0.10 would be read as "0.1".
    """
    if isinstance(value, Mapping) and {"title", "sentences"} <= value.keys():
        value = list(zip(value["title"], value["sentences"], strict=True))
    if isinstance(value, list | tuple):
        return "\n".join(_paragraph(item) for item in value)
    if not isinstance(value, str):
        raise ValueError(f"{_kind(value)}, no text")
    require_characters(value)
    return value


def require_characters(text: str) -> None:
    """Refuse half a character, which JSON can escape and no file, tokenizer or page can hold.

    Raises:
        ValueError: Naming it.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"half of a surrogate pair ({text[error.start]!a}), no text") from None


def _kind(value: Any) -> str:
    """What a cell is, as its file's author would call it."""
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return f"an object ({', '.join(map(str, value))})" if value else "an empty object"
    if isinstance(value, bool):
        return str(value).lower()
    return (
        f"the number {value}" if isinstance(value, int | float) else f"a value of type {type(value).__name__}"
    )


def _paragraph(item: Any) -> str:
    if isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[1], list | tuple):
        title, sentences = item
        return f"{as_text(title)}: {''.join(map(as_text, sentences)).strip()}"
    return as_text(item)


def as_references(value: Any, separator: str | None) -> list[str]:
    """The distinct references of a cell, or of several cells, in order.

    Args:
        value: A string, or a list of strings and lists; a null in a list is no reference.
        separator: Splits strings into several references; None for never.

    Raises:
        ValueError: As `as_text`.
    """
    if isinstance(value, list | tuple):
        given = [item for item in value if item is not None]
        found = [reference for item in given for reference in as_references(item, separator)]
    else:
        found = as_text(value).split(separator) if separator else [as_text(value)]
    return list(dict.fromkeys(text.strip() for text in found))


def strip_marks(text: str, marks: tuple[str, str] | None) -> str:
    """The text with each marked sentence on a line of its own, where it has such marks."""
    if marks and marks[0] in text:
        start, end = map(re.escape, marks)
        text = "\n".join(sentence.strip() for sentence in re.findall(f"{start}(.*?){end}", text, re.DOTALL))
    return text.strip()
