"""Tokenised examples: prompt and response apart, joined, addressed by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.files import canonical_json
from harness_kd.plan import OVERLONG
from harness_kd.rows import TextRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_DATE = "26 Jul 2024"
"""Llama 3's chat template writes today's date unless told another, and tomorrow's tokens would find no labels. This is its own
default."""


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
    for number, row in enumerate(rows):
        prompt, response = (
            prompt_ids(row, tokenizer, closed=encoder_decoder),
            [*_ids(tokenizer, row.response), end],
        )
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


def prompt_ids(row: TextRow, tokenizer: PreTrainedTokenizerBase, *, closed: bool) -> list[int]:
    """Tokens of a row's prompt, at least one; ``closed`` as ``encoder_decoder`` of `tokenize_rows`."""
    if row.messages:
        if not tokenizer.chat_template:
            raise HarnessError(
                "the rows are chats, but the tokenizer has no chat template",
                "Give rows with prompt and response.",
            )
        text = tokenizer.apply_chat_template(
            list(row.messages), tokenize=False, add_generation_prompt=True, date_string=_DATE
        )
        ids = _ids(tokenizer, str(text))
    else:
        start = tokenizer.bos_token
        repeated = bool(start) and row.prompt.startswith(str(start))
        ids = [int(i) for i in tokenizer(row.prompt, add_special_tokens=not repeated)["input_ids"]]
        if not closed and ids and ids[-1] == tokenizer.eos_token_id:
            ids.pop()  # some tokenizers close every text; a prompt goes on
    if not ids:  # an unconditional response still needs a token to predict its first one from
        first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        ids = [int(first)]
    return ids


def template_hash(rows: Sequence[TextRow], tokenizer: PreTrainedTokenizerBase) -> str:
    """Hexadecimal SHA-256 of the chat template, where any row is a chat; else empty."""
    if not any(row.messages for row in rows):
        return ""
    return hashlib.sha256(canonical_json(tokenizer.chat_template).encode()).hexdigest()


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return [int(i) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]
