"""Responses of a model to many prompts, resumable: what `harness generate` and sequence-level distillation write.

Prompts are sorted by length and answered in batches of a fixed size. Each finished batch is a file, whole or absent, so that a
killed run goes on after its last one. Sampling is seeded by batch, which makes the result the same with and without a kill.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from harness.errors import HarnessError
from harness.files import canonical_json, read_jsonl, sha256_bytes, write_jsonl


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How responses are made."""

    max_new_tokens: int = 128
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    """Sample from the likeliest tokens of this mass."""
    seed: int = 0
    stop: tuple[str, ...] = ()
    """Texts that end a response, and are no part of it."""

    def __post_init__(self) -> None:
        """Refuse what cannot be done."""
        problems = []
        if self.max_new_tokens < 1:
            problems.append(f"max_new_tokens is {self.max_new_tokens}; it must be at least 1")
        if self.temperature < 0:
            problems.append(f"temperature is {self.temperature}; it must be at least 0")
        if not 0 < self.top_p <= 1:
            problems.append(f"top_p is {self.top_p}; it must be above 0 and at most 1")
        HarnessError.raise_for(problems, "Mend the decoding options.")


Prompt = Sequence[int]
Answer = Callable[[Sequence[Prompt], int], list[list[int]]]
"""(prompts of one batch, its seed) to response tokens."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """One response."""

    text: str
    tokens: int
    """Its length, the end-of-sequence token included."""
    finished: bool
    """Whether it ended by itself; else it was cut at ``max_new_tokens``."""
    seed: int
    """Of its batch."""


def respond(
    tokenizer: Any,
    prompts: Sequence[Prompt],
    answer: Answer,
    decoding: Decoding,
    *,
    work: Path,
    made_by: Mapping[str, Any],
    batch_size: int,
    ends: Collection[int] = (),
) -> list[Response]:
    """A response to each prompt, in order.

    Args:
        tokenizer: Of the model.
        prompts: Token ids.
        answer: Answers one batch; `plain` makes one of a model.
        decoding: How responses are made.
        work: Folder of finished batches; `forget` it when the result is written.
        made_by: What else decides the responses, such as the weights' hash: batches made by anything else are not reused.
        batch_size: Prompts at once. It is part of what decides sampled responses.
        ends: Tokens that end a response, see `end_tokens`; by default the tokenizer's end of sequence.
    """
    ends = ends or (tokenizer.eos_token_id,)
    order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i))
    found: dict[int, Response] = {}
    starts = range(0, len(order), batch_size)
    for number, start in enumerate(tqdm(starts, desc="generate", unit="batch", disable=len(starts) < 2)):
        batch = order[start : start + batch_size]
        seed = decoding.seed * 1_000_003 + number
        content = [asdict(decoding), dict(made_by), seed, [list(prompts[i]) for i in batch]]
        part = work / f"{sha256_bytes(canonical_json(content).encode())[:24]}.jsonl"
        if not part.is_file():
            ids = answer([prompts[i] for i in batch], seed)
            write_jsonl(part, [asdict(_response(tokenizer, row, decoding, seed, ends)) for row in ids])
        found |= dict(zip(batch, (Response(**row) for row in read_jsonl(part)), strict=True))
    return [found[i] for i in range(len(prompts))]


def forget(work: Path) -> None:
    """Drop the finished batches, once their result is written."""
    shutil.rmtree(work, ignore_errors=True)


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Tokens that end a response: the tokenizer's, and those of the model's generation configuration, which end a chat's turn."""
    stated = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    listed = stated if isinstance(stated, list) else [stated]
    return sorted({int(token) for token in (tokenizer.eos_token_id, *listed) if token is not None})


def plain(model: Any, tokenizer: Any, decoding: Decoding) -> Answer:
    """Greedy decoding or sampling with a transformers model, decoder or encoder-decoder; prompts are padded on the left."""
    import torch

    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    choice: dict[str, Any] = {"do_sample": False, "num_beams": 1}
    if decoding.temperature:
        choice = {"do_sample": True, "temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0}
    ends = end_tokens(model, tokenizer)
    tail = max([16, *(2 * len(word) for word in decoding.stop)])  # tokens that can hold a stop string

    def answer(prompts: Sequence[Prompt], seed: int) -> list[list[int]]:
        length = max(map(len, prompts))
        ids = torch.tensor([[pad] * (length - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        skipped = 1 if model.config.is_encoder_decoder else length

        def stopped(rows: Any, _scores: Any, **_: Any) -> Any:
            texts = [tokenizer.decode(row[max(skipped, len(row) - tail) :]) for row in rows]
            return torch.tensor(
                [any(word in text for word in decoding.stop) for text in texts], device=rows.device
            )

        torch.manual_seed(seed)
        with torch.inference_mode():
            found = model.generate(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                max_new_tokens=decoding.max_new_tokens,
                pad_token_id=pad,
                eos_token_id=ends,
                # not transformers' stop_strings: it fails on whole-word tokenizers
                stopping_criteria=[stopped] if decoding.stop else [],
                **choice,
            )
        return [_without_padding(row[skipped:].tolist(), ends, pad) for row in found]

    return answer


def _without_padding(ids: list[int], ends: Collection[int], pad: int) -> list[int]:
    place = next((i for i, token in enumerate(ids) if token in ends), None)
    if place is not None:
        return ids[: place + 1]
    while pad not in ends and ids and ids[-1] == pad:
        ids = ids[:-1]
    return ids


def _response(
    tokenizer: Any, ids: Sequence[int], decoding: Decoding, seed: int, ends: Collection[int]
) -> Response:
    text = str(tokenizer.decode(ids, skip_special_tokens=True))
    ended = any(token in ends for token in ids)
    for word in decoding.stop:
        ended = ended or word in text
        text = text.split(word)[0]
    return Response(text=text, tokens=len(ids), finished=ended, seed=seed)
