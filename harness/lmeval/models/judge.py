"""``harness-judge``: a judge as an lm-eval model, for the ``kd_judge_*`` tasks.

    lm_eval --model harness-judge --model_args judge=hhem-2.1 --tasks kd_judge_newsworld
    harness eval hhem-2.1 --backend harness-judge --tasks kd_judge_newsworld

It answers "how likely is yes" with the judge's probability. It cannot write text, so other tasks refuse it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from harness.errors import HarnessError
from harness.judges import load
from harness.metrics.base import is_true

DEFAULT = "hhem-2.1"
LM_EVALS_DEVICE = "cuda:0"
"""What its command says where the user says nothing, also on machines without one."""


class HarnessJudge(LM):  # type: ignore[misc]  # lm_eval ships no types
    """See the module.

    Args:
        judge: See `harness.judges.load`; by default ``pretrained``, which ``harness eval`` gives every backend, or HHEM-2.1.
        device: Torch device; None or lm-eval's default: the accelerator where there is one.
        dtype: Precision of the judge.
        batch_tokens: Padded tokens of a batch; 0 takes what suits the device. lm-eval's batch size, a number of pairs, is not used.
        unproven: Judge also with one that learned nothing, and texts that the judge was not made for.

    Raises:
        HarnessError: If the judge cannot be had or fails its self-test.
    """

    def __init__(
        self,
        judge: str | None = None,
        pretrained: str | None = None,
        device: str | None = None,
        dtype: str = "float32",
        batch_tokens: int = 0,
        unproven: bool = False,
        **_: Any,
    ) -> None:
        super().__init__()
        name = judge or pretrained or DEFAULT
        device = None if device == LM_EVALS_DEVICE else device
        self._judge = load(
            name, device=device, dtype=dtype, batch_tokens=int(batch_tokens), unproven=is_true(unproven)
        )
        self.judge_signature = self._judge.signature()

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Log-probability of "no" (choice 0) or "yes" (choice 1) for each request, and whether it is the likelier one."""
        if any("source" not in request.doc or "summary" not in request.doc for request in requests):
            raise _only_pairs()
        scores = self._judge.score([(request.doc["source"], request.doc["summary"]) for request in requests])
        found = []
        for request, score in zip(requests, scores, strict=True):
            share = score if request.idx == 1 else 1 - score
            found.append(
                (math.log(share) if share > 0 else -math.inf if share == 0 else math.nan, share >= 0.5)
            )
        return found

    def loglikelihood_rolling(self, _requests: Any) -> Any:
        """Not what a judge does."""
        raise _only_pairs()

    def generate_until(self, _requests: Any) -> Any:
        """Not what a judge does."""
        raise _only_pairs()


def _only_pairs() -> HarnessError:
    return HarnessError(
        "harness-judge judges pairs of source and summary and nothing else",
        "Use it with the kd_judge_ tasks.",
    )
