"""Which of torch's attentions trains fastest on a processor."""

from __future__ import annotations

from typing import Any

LONGEST = 192
"""Tokens up to which plain matrix products are faster than torch's fused attention in bfloat16 (benchmarks/processor_attention.py,
docs/log.md)."""


def suit_processor(model: Any, longest: int) -> None:
    """Let a model that trains in bfloat16 on a processor attend by plain matrix products where all rows are short.

    Args:
        model: A transformers model; one whose attention cannot be chosen stays as it is.
        longest: Tokens of the longest row.
    """
    if longest <= LONGEST and model._can_set_attn_implementation():
        model.set_attn_implementation("eager")
