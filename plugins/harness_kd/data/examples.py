"""Tokenised examples: prompt and response apart, joined, addressed by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.files import canonical_json
from harness.models.chat import in_template
from harness_kd.data.rows import TextRow
from harness_kd.plan import OVERLONG
from harness_kd.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BLOCK = 2048
"""Rows tokenised at once."""


@dataclass(frozen=True)
class Example:
    """One tokenised example."""

    ids: NDArray[np.int32]
    """int32 [length], prompt then response, the response closed by the end-of-sequence token unless it was
    cut."""
    boundary: int
    """Number of prompt tokens, at least 1: ``ids[boundary:]`` are the targets."""

    @property
    def key(self) -> bytes:
        """SHA-256 (32 bytes) over the boundary and the ids: what soft labels are addressed by."""
        header = b"harness-kd example 1\0" + self.boundary.to_bytes(8, "little")
        return hashlib.sha256(header + self.ids.astype("<i4").tobytes()).digest()

    @property
    def targets(self) -> int:
        """Number of response tokens."""
        return len(self.ids) - self.boundary


@dataclass(frozen=True, kw_only=True)
class TokenizedData:
    """All examples of a run and what happened to its overlong rows."""

    examples: tuple[Example, ...]
    kept: tuple[int, ...]
    """Numbers of the rows that the examples were made from."""
    dropped: int
    """Rows left out because they were longer than allowed."""
    truncated: int
    """Rows cut to the allowed length."""

    @property
    def target_tokens(self) -> int:
        """Response tokens of all examples together."""
        return sum(example.targets for example in self.examples)

    @property
    def tokens(self) -> int:
        """Prompt and response tokens of all examples together."""
        return sum(len(example.ids) for example in self.examples)

    @property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 over the examples' keys in their order."""
        return hashlib.sha256(b"".join(example.key for example in self.examples)).hexdigest()


def tokenize_rows(
    rows: Sequence[TextRow],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    max_prompt_length: int,
    overlong: str,
    encoder_decoder: bool = False,
) -> TokenizedData:
    """Tokenise prompt and response apart and join their ids.

    Slicing a joint tokenisation would misplace the boundary wherever a token spans it. The prompt gets the
    tokenizer's own leading special tokens, as lm-eval gives them at evaluation; the response gets none but
    the end-of-sequence token.

    Args:
        max_length: Tokens of prompt and response together.
        max_prompt_length: Tokens of the prompt.
        encoder_decoder: The prompt goes to an encoder, so it stays closed where the tokenizer closes texts.
        overlong: ``drop`` leaves longer rows out; ``truncate`` cuts a prompt at its start, which keeps the
            cue at its end, and a response at its end.

    Raises:
        HarnessError: If the tokenizer has no end-of-sequence token, or no row is left.
    """
    if overlong not in OVERLONG:
        raise ValueError(f"overlong must be one of {OVERLONG}, got {overlong!r}")
    end = tokenizer.eos_token_id
    if end is None:
        raise HarnessError(
            "the tokenizer has no end-of-sequence token", "Set eos_token in tokenizer_config.json."
        )
    examples: list[Example] = []
    kept: list[int] = []
    dropped = truncated = 0
    for number, (prompt, response) in enumerate(_tokenized(rows, tokenizer, encoder_decoder)):
        response.append(end)
        if len(prompt) > max_prompt_length or len(prompt) + len(response) > max_length:
            if overlong == "drop":
                dropped += 1
                continue
            truncated += 1
            prompt = prompt[-max_prompt_length:]
            response = response[: max_length - len(prompt)]
        if response:
            examples.append(Example(np.asarray(prompt + response, dtype=np.int32), len(prompt)))
            kept.append(number)
    if not examples:
        raise HarnessError(
            f"no row is left: {dropped} of {len(rows)} are longer than {max_length} tokens "
            f"(prompt {max_prompt_length})",
            "Raise --max-length and --max-prompt-length, or cut rows with --overlong truncate.",
        )
    return TokenizedData(examples=tuple(examples), kept=tuple(kept), dropped=dropped, truncated=truncated)


def _tokenized(
    rows: Sequence[TextRow], tokenizer: PreTrainedTokenizerBase, closed: bool
) -> Iterator[tuple[list[int], list[int]]]:
    """Prompt and response of each row, a block at a time: tokenizers share a block among the cores."""
    with Progress("tokenise", len(rows), unit="row", shown=len(rows) > _BLOCK, leave=False) as shown:
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            responses = _ids(tokenizer, [row.response for row in block])
            yield from zip(prompt_ids(block, tokenizer, closed=closed), responses, strict=True)
            shown.advance(len(block))


def prompt_ids(
    rows: Sequence[TextRow], tokenizer: PreTrainedTokenizerBase, *, closed: bool
) -> list[list[int]]:
    """Tokens of each row's prompt, at least one; ``closed`` as ``encoder_decoder`` of `tokenize_rows`."""
    texts = [_prompt(row, tokenizer) for row in rows]
    found: list[list[int]] = [[] for _ in rows]
    for special in (True, False):
        numbers = [number for number, (_, wanted) in enumerate(texts) if wanted == special]
        for number, ids in zip(
            numbers, _ids(tokenizer, [texts[n][0] for n in numbers], special=special), strict=True
        ):
            found[number] = ids
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    for row, ids in zip(rows, found, strict=True):
        if not row.messages and not closed and ids and ids[-1] == tokenizer.eos_token_id:
            ids.pop()  # some tokenizers close every text; a prompt goes on
        if not ids:  # an unconditional response still needs a token to predict its first one from
            ids.append(int(first))
    return found


def _prompt(row: TextRow, tokenizer: PreTrainedTokenizerBase) -> tuple[str, bool]:
    """A row's prompt as text, and whether the tokenizer is to add its special tokens."""
    if not row.messages:
        start = tokenizer.bos_token
        return row.prompt, not (start and row.prompt.startswith(str(start)))
    if not tokenizer.chat_template:
        raise HarnessError(
            "the rows are chats, but the tokenizer has no chat template",
            "Give rows with prompt and response.",
        )
    return in_template(tokenizer, row.messages), False


def template_hash(rows: Sequence[TextRow], tokenizer: PreTrainedTokenizerBase) -> str:
    """Hexadecimal SHA-256 of the chat template, where any row is a chat; else empty."""
    if not any(row.messages for row in rows):
        return ""
    return hashlib.sha256(canonical_json(tokenizer.chat_template).encode()).hexdigest()


def _ids(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, special: bool = False
) -> list[list[int]]:
    return (
        [list(ids) for ids in tokenizer(list(texts), add_special_tokens=special)["input_ids"]]
        if texts
        else []
    )
