"""What tasks would ask of a model, known before there is one: how many documents, and how long prompts and responses are."""

from __future__ import annotations

import contextlib
import io
import logging
from dataclasses import dataclass
from typing import Any

from harness.lmeval.request import EvalRequest
from harness.lmeval.run import tasks_of

_SAMPLE = 16
"""Documents whose prompts are built and tokenised."""
_NEW_TOKENS = 256
"""lm-eval's own limit of a response (`HFLM.max_gen_toks`)."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What one task asks."""

    documents: int
    requests: int
    """Of the model: more than documents where each of several answers is scored."""
    prompt_tokens: int
    """Of a prompt, on the mean of the first documents, with the answer that is scored where there is one."""
    longest_prompt: int
    """Of the longest among them."""
    new_tokens: int
    """Of a response, at most; 0 where answers are given and only scored."""


def preview(request: EvalRequest, tokenizer: Any) -> dict[str, Asked]:
    """What `harness.lmeval.run.evaluate` would ask, task by task.

    Args:
        request: Its model is not looked at.
        tokenizer: Of the model; with its chat template where one is applied.

    Raises:
        HarnessError: If a task is unknown, or its data, a metric or an option is missing or wrong.
    """
    found = {}
    for name, task in tasks_of(request).items():
        documents = min(request.limit or len(task.eval_docs), len(task.eval_docs))
        with _quiet():
            task.build_all_requests(
                limit=min(documents, _SAMPLE),
                apply_chat_template=request.apply_chat_template,
                chat_template=lambda messages, **_: tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=True
                ),
            )
        asked = [one for one in task.instances if one.metadata[1] is not None]
        lengths = [len(tokenizer("".join(map(str, _texts(one)))).input_ids) for one in asked]
        found[name] = Asked(
            documents=documents,
            requests=documents * len(asked) // max(1, min(documents, _SAMPLE)),
            prompt_tokens=round(sum(lengths) / len(lengths)),
            longest_prompt=max(lengths),
            new_tokens=max(_new_tokens(one) for one in asked),
        )
    return found


def _texts(instance: Any) -> tuple[Any, ...]:
    """What the model reads: the prompt, and where an answer is scored that answer."""
    return tuple(instance.args[: 1 if instance.request_type == "generate_until" else 2])


def _new_tokens(instance: Any) -> int:
    if instance.request_type != "generate_until":
        return 0
    return int(instance.args[1].get("max_gen_toks", _NEW_TOKENS))


@contextlib.contextmanager
def _quiet() -> Any:
    """lm-eval shows a bar for the few prompts, and warns of what it does not save."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
