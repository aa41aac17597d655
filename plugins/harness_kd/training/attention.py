"""Which of torch's attentions trains fastest on a processor."""

from __future__ import annotations

from typing import Any

LONGEST = 192
"""Tokens. In bfloat16 torch's fused attention is 3 times slower forward and backward than plain matrix products for rows of 64 or
105 tokens, and faster from 256 on (9 heads of 64, batches of 1,680 tokens, one core of an Intel processor with AMX)."""


def suit_processor(model: Any, longest: int) -> None:
    """Let a model that trains in bfloat16 on a processor attend by plain matrix products where all rows are short.

    Args:
        model: A transformers model; one whose attention cannot be chosen stays as it is.
        longest: Tokens of the longest row.
    """
    if longest <= LONGEST and model._can_set_attn_implementation():
        model.set_attn_implementation("eager")
