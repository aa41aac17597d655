"""What `harness generate` is given to answer: rows with a prompt, with a chat, or with a source and a template for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.rows import read_rows
from harness.errors import HarnessError
from harness.models.chat import are_turns

SOURCES = ("source", "context", "article", "document", "text", "dialogue")
"""Fields that may hold a row's source, the first one first."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What one row asks."""

    row: Mapping[str, Any]
    prompt: str
    """Of a chat, what its user said last."""
    source: str
    """"" where the row has none."""
    turns: tuple[Mapping[str, str], ...]
    """A chat up to where the answer belongs; empty where the row is none."""

    def with_response(self, text: str) -> dict[str, Any]:
        """The row with an answer, as `harness train-kd` reads it: a chat stays one."""
        if self.turns:
            return {
                **self.row,
                "messages": [*self.turns, {"role": "assistant", "content": text}],
                "response": text,
            }
        return {**self.row, "prompt": self.prompt, "response": text}


def read_questions(path: Path, *, template: str | None, limit: int | None) -> list[Asked]:
    """The rows of a JSON Lines file.

    Args:
        path: The file.
        template: Prompt of rows that have none, with ``{source}``.
        limit: Rows, from the start; None: all.

    Raises:
        HarnessError: If the template holds no ``{source}``, rows ask nothing, or the limit leaves none.
    """
    if limit is not None and limit < 1:
        raise HarnessError(f"--limit {limit} leaves no row", "Give at least 1, or leave it out.")
    if template is not None and "{source}" not in template:
        raise HarnessError(
            f"--template {template!r} has no {{source}}", "For example: '{source}\\nSummary:'."
        )

    def parse(row: Mapping[str, Any]) -> Asked:
        source = next((row[name] for name in SOURCES if isinstance(row.get(name), str)), "")
        turns = _turns(row["messages"]) if "messages" in row else ()
        prompt = turns[-1]["content"] if turns else row.get("prompt")
        if not isinstance(prompt, str) and template is not None and source:
            prompt = template.replace("{source}", source)
        if not isinstance(prompt, str) or not prompt:
            raise ValueError(f"no prompt; it has {', '.join(row) or 'no fields'}")
        return Asked(row=row, prompt=prompt, source=source, turns=turns)

    return read_rows(path, parse, "Each row needs prompt, messages, or a source and --template.", limit=limit)


def _turns(messages: Any) -> tuple[Mapping[str, str], ...]:
    """A chat without the assistant's last turn, which is to be written anew.

    Raises:
        ValueError: If it is no chat whose last word is the user's, then.
    """
    turns = list(messages) if isinstance(messages, list) else []
    if not are_turns(turns):
        raise ValueError('"messages" is not a list of turns with "role" and "content"')
    if turns and turns[-1]["role"] == "assistant":
        turns.pop()
    if not turns or turns[-1]["role"] != "user":
        raise ValueError('"messages" holds no question of a user to answer')
    return tuple(turns)
