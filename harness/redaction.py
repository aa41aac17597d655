"""What a file that may be passed on must not hold: tokens, keys and passwords, known by their names or their looks."""

from __future__ import annotations

import json
import re

_NAME = re.compile(
    r"(?:^|[_-])(?:secret|password|passwd|credentials?|authorization|api[_-]?key|(?:private|access|secret)[_-]key|"
    r"(?:auth|access|hf|hub|bearer|api)[_-]token)(?:$|[_-])|^(?:token|key)$",
    re.IGNORECASE,
)
"""``token`` alone is one; ``max_new_tokens`` and ``eos_token`` are not."""
_VALUE = re.compile(
    r"\bhf_\w{16,}|\bsk-[\w-]{16,}|\bgh[opsu]_\w{16,}|\bgithub_pat_\w{16,}|://[^/\s@]*:[^/\s@]+@"
)
"""Tokens of the hub, of common APIs and of git hosts, and passwords in an address."""


def is_secret(name: str, value: object = "") -> bool:
    """Whether an option, or a pair within one, looks like a secret."""
    return bool(_NAME.search(name) or _VALUE.search(str(value)))


def masked(text: str) -> str:
    """A text for people, such as an error message, with ``***`` for whatever looks like a secret; an address keeps its host."""
    return _VALUE.sub(lambda found: "://***@" if found[0].startswith("://") else "***", text)


def without_secrets(text: str) -> str:
    """Settings without those that look like secrets; empty where nothing is left.

    Args:
        text: ``key=value,key=value``, or a JSON object.
    """
    try:
        found = json.loads(text)
    except ValueError:
        pairs = [pair.partition("=") for pair in text.split(",")]
        return ",".join("".join(pair) for pair in pairs if not is_secret(pair[0].strip(), pair[2]))
    if not isinstance(found, dict):
        return "" if is_secret("", text) else text
    kept = {name: value for name, value in found.items() if not is_secret(name, json.dumps(value))}
    if kept == found:
        return text
    return json.dumps(kept) if kept else ""
