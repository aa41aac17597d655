"""Chat templates: whether a model has one, read off its files without a library, and a chat written in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.models.weights import read_json

DATE = "26 Jul 2024"
"""Llama 3's chat template writes today's date unless told another: tomorrow's tokens would find no labels, and tomorrow's
evaluation would ask other prompts. This is its own default."""
_FILES = ("chat_template.jinja", "chat_template.json")


def has_chat_template(folder: Path) -> bool:
    """Whether the tokenizer of a folder brings a chat template, in any of the places where transformers looks for one."""
    if any((folder / name).is_file() for name in _FILES) or any(
        folder.glob("additional_chat_templates/*.jinja")
    ):
        return True
    config = folder / "tokenizer_config.json"
    return config.is_file() and bool(read_json(config).get("chat_template"))


def are_turns(messages: Any) -> bool:
    """Whether something is a list of turns with ``role`` and ``content``, both of them texts."""
    return isinstance(messages, list) and all(
        isinstance(turn, dict) and all(isinstance(turn.get(key), str) for key in ("role", "content"))
        for turn in messages
    )


def in_template(tokenizer: Any, turns: Sequence[Mapping[str, str]]) -> str:
    """A chat as the model reads it, up to where the assistant's turn begins; special tokens are part of the text."""
    return str(
        tokenizer.apply_chat_template(
            [dict(turn) for turn in turns], tokenize=False, add_generation_prompt=True, date_string=DATE
        )
    )


def marks_in(tokenizer: Any, prompt: str) -> list[str]:
    """Special tokens of the chat template that a prompt spells out, as one does that was put into it before."""
    frame = in_template(tokenizer, [{"role": "user", "content": ""}])
    return [mark for mark in tokenizer.all_special_tokens if mark in frame and mark in prompt]
