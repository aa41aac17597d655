"""Getting hold of the evaluated model from inside a task.

lm-eval shows a task no model: ``evaluate()`` calls ``getattr(lm, request_type)(requests)`` and passes only the answers on.
So one method is added to lm-eval's LM class, and each task puts one request of that type in front of its own. The method
first lets the task prepare (with the model at hand, before anything is generated), then answers with the model itself.

It works under ``--use_cache``, which passes unknown methods through.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

REQUEST_TYPE = "kd_hand_over"


def _hand_over(self: LM, requests: Sequence[Instance]) -> list[LM]:
    for request in requests:
        request.doc["prepare"](self)
    return [self] * len(requests)


setattr(LM, REQUEST_TYPE, _hand_over)


def request(task: str, prepare: Callable[[Any], None]) -> Instance:
    """The request that hands the model to ``prepare``; to be a task's first, so that it runs before generation."""
    return Instance(
        request_type=REQUEST_TYPE,
        doc={"prepare": prepare},
        arguments=("",),
        idx=0,
        metadata=(task, None, 1),
    )
