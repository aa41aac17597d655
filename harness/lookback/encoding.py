"""From prompt and response as text to tokens, and from tokens back to characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.lookback.extraction import Passage
from harness.lookback.windows import Span
from harness.models.load import LanguageModel


@dataclass(frozen=True)
class Encoded:
    """A passage, and where each response token stands."""

    passage: Passage
    offsets: tuple[Span, ...]
    """Characters of each token in the stripped response."""
    round_trip: bool
    """Whether the tokens decode to the same text. Only text survives generation, so the tokens are made again from it."""


def encode(lm: LanguageModel, prompt: str, document_end: int, response: str) -> Encoded | None:
    """Tokens of a passage whose document ends at character ``document_end`` of the prompt; None where there is no token.

    Args:
        lm: The model that reads.
        prompt: As the model was given it.
        document_end: The context is everything up to here (C, see `harness.lookback.extraction`).
        response: As it was generated; white space around it is read, but no part of the offsets' text.
    """
    prompt_ids, context = context_tokens(lm, prompt, document_end)
    ids, spans = tokens_with_spans(lm.tokenizer, response)
    seq2seq = bool(lm.model.config.is_encoder_decoder)
    room = lm.max_length if seq2seq else lm.max_length - len(prompt_ids) + 1
    ids, spans = ids[:room], spans[:room]
    if not ids or len(prompt_ids) < 2:
        return None
    lead, length = len(response) - len(response.lstrip()), len(response.strip())
    offsets = tuple((_within(start - lead, length), _within(end - lead, length)) for start, end in spans)
    decoded = lm.tokenizer.decode(ids, skip_special_tokens=True)
    return Encoded(Passage(prompt_ids, ids, context), offsets, decoded.split() == response.split())


def context_tokens(lm: LanguageModel, prompt: str, document_end: int) -> tuple[list[int], int]:
    """Tokens of a prompt, and how many of them are the context: what stands before the document's end, at least 1."""
    ids = lm.encode(prompt)
    plain, places = tokens_with_spans(lm.tokenizer, prompt)
    special = _start_of(plain, ids)
    return ids, max(1, special + sum(1 for start, _ in places if start < document_end))


def tokens_with_spans(tokenizer: Any, text: str) -> tuple[list[int], list[Span]]:
    """Token ids without special tokens, and the characters of each."""
    if getattr(tokenizer, "is_fast", False):
        found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return list(found["input_ids"]), [(int(a), int(b)) for a, b in found["offset_mapping"]]
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    ends = [
        len(tokenizer.decode(ids[: i + 1])) for i in range(len(ids))
    ]  # without offsets: lengths of prefixes
    return ids, list(zip([0, *ends[:-1]], ends, strict=True))


def _start_of(plain: Sequence[int], ids: Sequence[int]) -> int:
    """How many special tokens stand before the text's own."""
    for start in range(len(ids) - len(plain) + 1):
        if list(ids[start : start + min(4, len(plain))]) == list(plain[:4]):
            return start
    return 0


def _within(position: int, length: int) -> int:
    return min(max(position, 0), length)
