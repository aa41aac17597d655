"""Models behind an API: lm-eval's ``local-chat-completions``, ``local-completions`` and their kin.

What is done with one, when it is handed to a task:

- its answers are kept as they come (`harness.lmeval.bridge.kept`), so that nothing paid is lost when anything fails later;
- an endpoint that says when it will answer again (``Retry-After``) is not asked before;
- where nothing but the end of the turn stops a response, no stops are sent: transformers' server fails on an empty list of them;
- a body without choices is no answer, and is asked for again, where lm-eval takes it for an empty one or stops with a traceback;
- why an answer ended (``finish_reason``) is kept with it, which lm-eval drops;
- when an endpoint fails for good, the error says how many answers are kept, and the same command goes on from there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.files import canonical_json, sha256_bytes
from harness.lmeval.bridge import kept
from harness.lmeval.bridge.apis import HOW_ASKED, description, is_endpoint
from harness.paths import cache_dir
from harness.redaction import is_secret

log = logging.getLogger(__name__)

LONGEST_WAIT = 300.0
"""Seconds that an endpoint is waited for at most, whatever it says."""
_BUSY = (429, 503)
_NOT_OF_ANSWERS = HOW_ASKED | {"_concurrent", "_batch_size", "_rank", "_world_size"}
"""Fields of a backend that change when an answer comes, and not the answer."""


def prepare(lm: Any) -> None:
    """Do with a model what the module says, once; a model that is behind no API is left as it is."""
    if not is_endpoint(lm) or hasattr(lm, "_harness_asks"):
        return
    lm._create_payload = _without_empty_stops(lm._create_payload)
    lm.model_call = _patient(lm.model_call)
    lm.amodel_call = _patiently(lm.amodel_call, lm)
    lm.harness_failure = None
    lm.parse_generations = _with_reasons(lm.parse_generations)
    if not hasattr(lm, "kept_answers"):
        found = kept.keep(lm, default_file(lm), sampled=True)
        if len(found):
            log.warning(
                f"{len(found)} answers are kept in {found.path} and not asked for again; delete the file to ask anew"
            )
    lm.generate_until = lm._harness_asks = _plainly(lm.generate_until, lm)


def default_file(lm: Any) -> Path:
    """Where the answers of an endpoint are kept under stock lm_eval, which gives no folder for it: in the user's cache."""
    settings = {
        name: value
        for name, value in vars(lm).items()
        if isinstance(value, str | int | float | None) and not is_secret(name.strip("_"), value)
    }
    made_by = [
        type(lm).__name__,
        version("lm_eval"),
        {name: settings[name] for name in settings if name not in _NOT_OF_ANSWERS},
    ]
    return cache_dir() / "answers" / f"{sha256_bytes(canonical_json(made_by).encode())[:16]}.jsonl"


def _without_empty_stops(create: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def payload(*given: Any, **named: Any) -> dict[str, Any]:
        made = create(*given, **named)
        stops = [stop for stop in made.pop("stop", None) or [] if stop]
        return {**made, "stop": stops} if stops else made

    return payload


def _patient(call: Callable[..., Any]) -> Callable[..., Any]:
    """lm-eval asks again a second after a failure, however long the endpoint said that it needs."""

    def ask(*given: Any, **named: Any) -> Any:
        try:
            return _checked(call(*given, **named))
        except Exception as error:
            time.sleep(_wait(getattr(error, "response", None)))
            raise

    return ask


def _patiently(call: Callable[..., Any], lm: Any) -> Callable[..., Any]:
    """The same for several requests at once. One that fails for good must not end those that are under way: they are paid."""
    failures: Counter[int] = Counter()

    async def ask(*given: Any, messages: Sequence[Any], **named: Any) -> Any:
        if lm.harness_failure is not None:
            return [None] * len(messages)
        try:
            return await call(*given, messages=messages, **named)
        except Exception as error:
            failures[id(messages)] += 1
            if failures[id(messages)] >= lm.max_retries:
                lm.harness_failure = error
                return [None] * len(messages)
            await asyncio.sleep(_wait(error))
            raise

    return ask


def _wait(answer: Any) -> float:
    """Seconds that an answer, or the error about it, asks to wait."""
    status = getattr(answer, "status_code", getattr(answer, "status", None))
    stated = (getattr(answer, "headers", None) or {}).get("Retry-After", "")
    if status not in _BUSY or not str(stated).strip().isdigit():
        return 0.0
    return min(float(stated), LONGEST_WAIT)


def _checked(outputs: Any) -> Any:
    for output in outputs if isinstance(outputs, list) else [outputs]:
        if not isinstance(output, dict) or not output.get("choices"):
            raise ValueError("an answer without choices")
    return outputs


def _with_reasons(parse: Callable[..., Any]) -> Callable[..., list[kept.Answer]]:
    def answers(outputs: Any, **named: Any) -> list[kept.Answer]:
        texts = parse(outputs=_checked(outputs), **named)
        several = outputs if isinstance(outputs, list) else [outputs]
        choices = [
            choice
            for output in several
            for choice in sorted(output["choices"], key=lambda one: int(one.get("index", 0)))
        ]
        return [
            kept.Answer(text or "", choice.get("finish_reason"))
            for text, choice in zip(texts, choices, strict=True)
        ]

    return answers


def _plainly(ask: Callable[..., Any], lm: Any) -> Callable[..., Any]:
    """Failures for good, as one error that says what is kept."""

    def answers(requests: Sequence[Any], **options: Any) -> Any:
        lm.harness_failure = None
        try:
            found = ask(requests, **options)
            if lm.harness_failure is not None:
                raise lm.harness_failure
            return found
        except (HarnessError, AssertionError):
            raise
        except Exception as error:
            raise HarnessError(
                f"the endpoint of {description(lm)['name']} failed {lm.max_retries} times in a row: {_reason(error)}. "
                f"{len(lm.kept_answers)} answers are kept in {lm.kept_answers.path}",
                "Run the same command again when it answers: it goes on from there. max_retries=N in the model's arguments asks "
                "more often, timeout=SECONDS waits longer.",
            ) from error

    return answers


def _reason(error: Exception) -> str:
    """What failed, without the text of the answer, which may hold a part of a key."""
    answer = getattr(error, "response", None)
    status = getattr(answer, "status_code", getattr(error, "status", None))
    return f"status {status}" if status else type(error).__name__
