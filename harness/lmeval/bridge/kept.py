"""Answers are kept as they come, before anything is scored, and the same questions are not asked again.

lm-eval's own way (``--use_cache``) pickles answers into a database, which executes what a stranger put there. Here they are lines
of JSON. A file's name holds what makes the answers (weights or endpoint, arguments, libraries). A line's key is over the kind of
request, its arguments (prompt and decoding), and how often the same was asked before in that call: a sampled answer may differ.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.files import append_row, canonical_json, read_log, sha256_bytes
from harness.lmeval.bridge.apis import is_endpoint

KINDS = ("generate_until", "loglikelihood", "loglikelihood_rolling")
Ask = Callable[[list[Any]], Sequence[Any]]


class Answer(str):
    """A text, and why it ended where the endpoint said so."""

    finish_reason: str | None

    def __new__(cls, text: str, finish_reason: str | None = None) -> Answer:
        """A text, and why it ended."""
        self = super().__new__(cls, text)
        self.finish_reason = finish_reason
        return self


class Kept:
    """The answers in one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._answers = {
            str(row["key"]): _read(row) for row in read_log(path) if "key" in row and "answer" in row
        }
        self._open: dict[str, deque[str]] = defaultdict(deque)

    def __len__(self) -> int:
        return len(self._answers)

    def answers(self, kind: str, requests: Sequence[Any], ask: Ask, *, sampled: bool) -> list[Any]:
        """An answer to each request: from the file, or else asked for and kept.

        Args:
            kind: One of `KINDS`.
            requests: lm-eval's instances.
            ask: Answers those that are not kept; it may call `add_partial` for each answer as it comes, and answer None where it
                failed, which is not kept.
            sampled: Whether sampled answers are kept too: those of a model of this process depend on what was sampled before.
        """
        seen: Counter[str] = Counter()
        keys: list[str | None] = []
        for request in requests:
            base = None if not sampled and _is_sampled(kind, request) else _key(kind, request.args)
            keys.append(None if base is None else f"{base}-{seen[base]}")
            seen[base or ""] += 1
        missing = [i for i, key in enumerate(keys) if key is None or key not in self._answers]
        self._open.clear()
        for i in missing:
            if (key := keys[i]) is not None:
                self._open[key.rpartition("-")[0]].append(key)
        found = dict(zip(missing, ask([requests[i] for i in missing]) if missing else (), strict=True))
        for i, answer in found.items():
            if (key := keys[i]) is not None and key not in self._answers and answer is not None:
                self._keep(key, answer)
        return [found[i] if i in found else self._answers[str(key)] for i, key in enumerate(keys)]

    def add_partial(self, kind: str, arguments: Iterable[Any], answer: Any) -> None:
        """Keep an answer as it comes (lm-eval's cache hook)."""
        waiting = self._open.get(_key(kind, tuple(arguments)) or "")
        if waiting:
            self._keep(waiting.popleft(), answer)

    def _keep(self, key: str, answer: Any) -> None:
        self._answers[key] = answer
        reason = getattr(answer, "finish_reason", None)
        append_row(self.path, {"key": key, "answer": answer} | ({"finish_reason": reason} if reason else {}))


class KeepingLM:
    """A model whose answers are kept, in the place of lm-eval's ``CachingLM``, which it is called like.

    Args:
        lm: The model.
        cache_db: Of the file, whose suffix becomes ``.jsonl``.
    """

    def __init__(self, lm: Any, cache_db: str) -> None:
        self.lm = lm
        self.kept = keep(lm, Path(cache_db).with_suffix(".jsonl"), sampled=is_endpoint(lm))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.lm, name)


@contextmanager
def in_place_of_caching() -> Iterator[None]:
    """Let lm-eval's ``use_cache`` mean a `KeepingLM`."""
    from lm_eval.api import model

    before = model.CachingLM
    model.CachingLM = KeepingLM
    try:
        yield
    finally:
        model.CachingLM = before


def keep(lm: Any, path: Path, *, sampled: bool) -> Kept:
    """Make a model keep its answers in a file, and take from there what it holds."""
    kept = Kept(path)
    for kind in KINDS:
        setattr(lm, kind, _keeping(kind, getattr(lm, kind), kept, sampled))
    lm.set_cache_hook(kept)
    lm.kept_answers = kept
    return kept


def _keeping(kind: str, ask: Callable[..., Any], kept: Kept, sampled: bool) -> Callable[..., Any]:
    def answers(requests: Sequence[Any], **options: Any) -> list[Any]:
        return kept.answers(kind, requests, lambda some: ask(some, **options), sampled=sampled)

    return answers


def _is_sampled(kind: str, request: Any) -> bool:
    return kind == "generate_until" and bool(request.args[1].get("do_sample", False))


def _key(kind: str, arguments: Sequence[Any]) -> str | None:
    """Of a request; None where its arguments are no plain data, as images are not."""
    try:
        return sha256_bytes(canonical_json(json.loads(json.dumps([kind, *arguments]))).encode())
    except TypeError:
        return None


def _read(row: dict[str, Any]) -> Any:
    answer = row["answer"]
    if isinstance(answer, str):
        return Answer(answer, row.get("finish_reason"))
    return tuple(answer) if isinstance(answer, list) else answer
