"""Which responses were cut at the limit on their tokens.

An endpoint says why a response ended (``finish_reason``). Else lm-eval hands on text alone, and the tokens of a response are
counted with the model's own tokenizer: one that has as many as ``max_gen_toks`` allows did not end by itself. On 88 responses of
SmolLM2-135M-Instruct, 71 of them cut at 64 or 256 tokens, the count was the number of tokens generated, each time. It is not known,
and then not counted, where a backend shows no tokenizer, or takes something out of its responses (the reasoning before
``think_end_token``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lm_eval.api.instance import Instance

_REASONS = {"length": True, "stop": False}
"""What endpoints say; any other reason (a filter of contents, a call of a tool) is none of these."""
Counter = Callable[[str], int]


def tokenizer_of(lm: Any) -> Any:
    """The tokenizer of a model; None where its backend encodes nothing: lm-eval's ``dummy`` looks for one on the hub when asked."""
    return getattr(lm, "tokenizer", None) if hasattr(lm, "tok_encode") else None


def token_counter(lm: Any) -> Counter | None:
    """Counts the tokens of a response of a model; None where they cannot be known."""
    tokenizer = tokenizer_of(lm)
    if not callable(tokenizer) or getattr(lm, "think_end_token", None):
        return None
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])


def cut(instances: Sequence[Instance], count: Counter | None, default: int | None) -> list[bool | None]:
    """Whether each response was cut; None where it is not known.

    Args:
        instances: Answered ``generate_until`` requests.
        count: See `token_counter`.
        default: Limit of a request that states none: the backend's own; None if it has none.
    """
    return [_was_cut(one.resps[0], one.args[1].get("max_gen_toks", default), count) for one in instances]


def _was_cut(response: Any, limit: Any, count: Counter | None) -> bool | None:
    reason = getattr(response, "finish_reason", None)
    if reason in _REASONS:
        return _REASONS[reason]
    return None if count is None or limit is None else count(str(response)) >= int(limit)
