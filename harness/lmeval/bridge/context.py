"""Prompts that do not fit the model's context.

lm-eval cuts them on the left: the prompt's opening and the lead of a news article go first, with one warning per batch.
Here the *end* of the source is cut instead, at a word, so that the prompt keeps its form; every cut is counted and
reported.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from lm_eval.api.instance import Instance

from harness.errors import HarnessError


def fit_prompts(lm: Any, instances: Sequence[Instance]) -> set[int] | None:
    """Shorten the prompts that do not fit, in place.

    Args:
        lm: The evaluated model, of any lm-eval backend.
        instances: ``generate_until`` requests whose documents have a ``source``.

    Returns:
        The ``doc_id`` of each shortened prompt; None if the backend shows no tokenizer or takes messages, so that nothing is known.

    Raises:
        HarnessError: If the response leaves no room for a prompt, or a prompt does not fit even without its source.
    """
    count = _token_counter(lm)
    if count is None or not instances or not isinstance(instances[0].args[0], str):  # messages of a chat
        return None
    budget = _budget(lm, instances[0])
    shortened: set[int] = set()
    problems: list[str] = []
    for instance in instances:
        prompt = instance.args[0]
        if (
            len(prompt.encode()) <= budget // 2 or count(prompt) <= budget
        ):  # a token is a byte at least; half, for added ones
            continue
        shortened.add(instance.doc_id)
        fitting = _shorten(prompt, instance.doc.get("source", ""), count, budget)
        if fitting is None:
            problems.append(
                f"document {instance.doc_id}: the prompt is longer than {budget} tokens without its source"
            )
        elif not instance.resps:  # else already generated: a stock task stood before ours on the command line
            instance.arguments = (fitting, *instance.arguments[1:])
    HarnessError.raise_for(problems[:5], "Use fewer few-shot examples or a model with a longer context.")
    return shortened


def _shorten(prompt: str, source: str, count: Callable[[str], int], budget: int) -> str | None:
    """The prompt with the longest start of its source that fits, to within a few percent; None if none does."""
    start = prompt.rfind(source) if source else -1
    if start < 0:
        return None
    before, after = prompt[:start], prompt[start + len(source) :]
    frame = count(before + after)
    if frame >= budget:
        return None
    kept = source
    while (excess := count(before + kept + after) - budget) > 0:
        tokens = max(count(kept), excess + 1)
        # keep a share by length, a little less than needed so that few rounds do; white space ends a word
        length = min(int(len(kept) * (tokens - excess) / tokens * 0.99), len(kept) - 1)
        kept = kept[: kept.rfind(" ", 0, length) if " " in kept[:length] else length].rstrip()
    return before + kept + after


def _budget(lm: Any, instance: Instance) -> int:
    """Tokens that a prompt may have."""
    response = int(instance.args[1].get("max_gen_toks", getattr(lm, "max_gen_toks", 0)))
    context = int(lm.max_length)
    if getattr(lm, "backend", "causal") == "seq2seq":
        return context
    if context <= response:
        raise HarnessError(
            f"the model's context of {context} tokens has no room for a response of {response}",
            "Lower the response length: --gen_kwargs max_gen_toks=N.",
        )
    return context - response


def _token_counter(lm: Any) -> Callable[[str], int] | None:
    encode = getattr(lm, "tok_encode", None)
    if encode is None or getattr(lm, "tokenizer", None) is None or not hasattr(lm, "max_length"):
        return None
    if "string" not in inspect.signature(encode).parameters:  # an API backend; its tokenizer may be remote
        return None
    return lambda text: len(encode(text))
