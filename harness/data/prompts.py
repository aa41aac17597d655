"""Prompts that training and evaluation share, word for word: asked in another wording, a finetuned model answers worse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_PREAMBLE = "Below is an instruction that describes a task"
_REQUEST = "Write a response that appropriately completes the request.\n\n"
_PLAIN = _PREAMBLE + ". " + _REQUEST + "### Instruction:\n{instruction}\n\n### Response:\n"
_WITH_INPUT = (
    _PREAMBLE
    + ", paired with an input that provides further context. "
    + _REQUEST
    + "### Instruction:\n{instruction}\n\n### Input:\n{context}\n\n### Response:\n"
)
NEXT_INSTRUCTION = "\n\n### Instruction:"
"""Where a model that was not trained in the template goes on to the next instruction after its response."""


def chat_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """A chat as text for readers: each turn below its role."""
    return "\n\n".join(f"[{turn.get('role')}]\n{turn.get('content')}" for turn in messages)


def instruction_prompt(instruction: str, context: str = "") -> str:
    """The prompt of an instruction, as for Dolly and Alpaca rows; it ends where the response starts, without a space.

    Args:
        instruction: What to do.
        context: The text to do it with; empty where there is none.

    Source: the template of MiniLLM's Dolly runs, from which the paper's training code descends (microsoft/LMOps, minillm).
    """
    if context:
        return _WITH_INPUT.format(instruction=instruction, context=context)
    return _PLAIN.format(instruction=instruction)
