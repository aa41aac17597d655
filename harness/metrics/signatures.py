"""Signatures as forms: a signature with ``{name}`` where a value stands, such as ``{key}|mean|judge:{judge}@{revision}``.

A family fills its form in to state a signature, and reads a stated one by the same form to hold it against the options.
"""

from __future__ import annotations

import re

_OPEN = re.compile(r"\{(\w+)\}")


def read(form: str, signature: str) -> dict[str, str] | None:
    """The values that stand where the form is open, none of them empty or with a ``|``; None if it is no such signature."""
    parts = enumerate(_OPEN.split(form))
    pattern = "".join(f"(?P<{part}>[^|]+)" if i % 2 else re.escape(part) for i, part in parts)
    match = re.fullmatch(pattern, signature)
    return match.groupdict() if match else None


def last_part(name: str) -> str:
    """The last part of a path or hub name: records hold no paths, and signatures name files and folders without theirs."""
    return name.rstrip("/").rsplit("/", 1)[-1]


def differing(stated: dict[str, str], expected: dict[str, str | None]) -> str | None:
    """What is stated otherwise than expected, as a phrase that follows "its signature"; None if nothing is.

    Args:
        stated: Values of a signature.
        expected: Values by the same names that the options give; None where they leave it open.
    """
    wrong = {name: value for name, value in expected.items() if value not in (None, stated[name])}
    found = [f"{name}:{stated[name]} where the options give {value}" for name, value in wrong.items()]
    return f"states {', '.join(found)}" if found else None
