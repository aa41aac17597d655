"""The model ``harness-gold``: it answers every document with its first reference.

Scored by the same suite as any model, the references give the row that a reader needs beside a judge's numbers: what the judge
says of texts that people wrote. Overlap with the references is perfect by construction and says nothing.
"""

from __future__ import annotations

from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from harness.errors import HarnessError
from harness.lmeval.bridge import hand_over  # noqa: F401  # our tasks ask every model for it

NAME = "harness-gold"


class Gold(LM):  # type: ignore[misc]  # lm_eval ships no types
    """Answers with references; arguments of other backends (``pretrained``, ``device``, ...) are taken and not used."""

    tokenizer_name = "references"

    def __init__(self, **_: Any) -> None:
        super().__init__()

    def generate_until(self, requests: list[Instance], **_: Any) -> list[str]:
        """The first reference of each document.

        Raises:
            HarnessError: If a task's documents have no ``references``, as tasks of other authors have none.
        """
        answers = [(request.doc.get("references") or [None])[0] for request in requests]
        if None in answers:
            raise _no_references(str(requests[answers.index(None)].task_name))
        return [str(answer) for answer in answers]

    def loglikelihood(self, requests: list[Instance], **_: Any) -> Any:
        """Not defined: a reference has no probability."""
        raise _no_references(str(requests[0].task_name))

    loglikelihood_rolling = loglikelihood

    def apply_chat_template(self, chat_history: list[dict[str, str]], *_: Any, **__: Any) -> str:
        """The messages as they are; nothing reads them."""
        return "\n".join(message["content"] for message in chat_history)

    def chat_template(self, *_: Any) -> str:
        """None."""
        return ""


def _no_references(task: str) -> HarnessError:
    return HarnessError(
        f"{task}: {NAME} needs documents with references, and scores by generation",
        "Give it kd_ tasks alone.",
    )
