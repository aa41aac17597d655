"""Classifier-guided decoding: of several sampled continuations the one that looks most at the document goes on.

A chunk of tokens is sampled several times; the classifier sees the mean lookback ratios of each; the likeliest to be factual
is kept, and the next chunk goes on from there. Ratios come from the attention of the decoding steps themselves, so nothing is read
twice.

Source: arXiv 2407.07071, section 4, and voidism/Lookback-Lens @ f2846ef: chunks of 8 tokens, 8 candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from harness.errors import HarnessError
from harness.lookback.classifier import Classifier
from harness.lookback.extraction import (
    Passage,
    Rows,
    attention_kind,
    device_of,
    head_layout,
    recording,
    uses_interface,
)

CHOICES = ("lookback", "probability", "first")
Ended = Callable[[Sequence[int]], bool]
"""Whether a response is finished after these tokens."""


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """How candidates are made and chosen."""

    candidates: int = 8
    chunk: int = 8
    """Tokens sampled before a choice."""
    temperature: float = 0.9
    max_new_tokens: int = 128
    choose: str = "lookback"
    """``lookback`` (the classifier's probability), or what it is to be compared with: ``probability`` (mean log-probability of the
    tokens) and ``first`` (plain sampling)."""

    def __post_init__(self) -> None:
        """Refuse what cannot be done."""
        problems = [
            f"{name} is {value}; it must be above 0"
            for name in ("candidates", "chunk", "temperature", "max_new_tokens")
            if not (value := getattr(self, name)) > 0
        ]
        if self.choose not in CHOICES:
            problems.append(f"choose is {self.choose!r}; it must be one of {', '.join(CHOICES)}")
        HarnessError.raise_for(problems, "Mend the options of guided decoding.")


@dataclass
class _Candidates:
    """One chunk of each candidate; k candidates."""

    tokens: list[list[int]]
    log_probs: list[list[float]]
    ratios: NDArray[np.float32]
    """[steps, k, L * H]."""
    ended: list[bool]


def check(model: Any, classifier: Classifier, name: str) -> None:
    """Refuse a model that cannot be guided.

    Raises:
        HarnessError: If its attention cannot be read while it decodes, or the classifier is for another layout.
    """
    if model.config.is_encoder_decoder or not uses_interface(model):
        raise HarnessError(
            f"{name}: its attention cannot be read while it decodes",
            "Guide a decoder whose attention goes through transformers' interface, such as Llama, Qwen2, Mistral, GPT-NeoX or OPT.",
        )
    problem = classifier.problem_with(head_layout(model), attention_kind(model), name)
    if problem is not None:
        raise problem


@torch.inference_mode()
def guided(
    model: Any,
    classifier: Classifier,
    passage: tuple[Sequence[int], int],
    guidance: Guidance,
    *,
    ended: Ended,
    seed: int,
) -> list[int]:
    """Response tokens to one prompt; the same seed gives the same.

    Args:
        model: A causal transformers model that passed `check`.
        classifier: Fits the model.
        passage: Prompt tokens (at least two), and how many of them are the context (see `harness.lookback.extraction`).
        guidance: How candidates are made and chosen.
        ended: The end-of-sequence token and stop strings; what follows is cut.
        seed: Of the sampling.
    """
    prompt, context = passage
    n_context = Passage(prompt, [0], context).n_context
    generator = torch.Generator(device_of(model)).manual_seed(seed)
    cache = DynamicCache()  # made without the configuration it drops no key outside a sliding window
    ids = torch.tensor([list(prompt)], device=device_of(model))
    model.base_model(input_ids=ids[:, :-1], past_key_values=cache, use_cache=True)
    response: list[int] = []
    last = ids[:, -1:]
    while len(response) < guidance.max_new_tokens:
        k = 1 if guidance.choose == "first" else guidance.candidates
        cache.batch_repeat_interleave(k)
        steps = min(guidance.chunk, guidance.max_new_tokens - len(response))
        found = _sample(
            model,
            cache,
            last.expand(k, 1),
            n_context,
            steps,
            guidance.temperature,
            generator,
            response,
            ended,
        )
        best = _best(found, classifier, guidance.choose)
        response += found.tokens[best]
        if found.ended[best]:
            break
        cache.batch_select_indices(torch.tensor([best], device=ids.device))
        last = torch.tensor([[response[-1]]], device=ids.device)
    return response


def _sample(
    model: Any,
    cache: DynamicCache,
    ids: Tensor,
    n_context: int,
    steps: int,
    temperature: float,
    generator: torch.Generator,
    before: Sequence[int],
    ended: Ended,
) -> _Candidates:
    """Sample one chunk for each row of ``ids`` [k, 1], whose earlier tokens are in the cache."""
    k = ids.shape[0]
    found = _Candidates([[] for _ in range(k)], [[] for _ in range(k)], np.empty(0, np.float32), [False] * k)
    rows = Rows(torch.zeros(k, 1, dtype=torch.long), torch.full((k,), n_context))
    ratios = []
    with recording(model, rows):
        for _ in range(steps):
            rows.positions.fill_(cache.get_seq_length())
            logits = model(input_ids=ids, past_key_values=cache, use_cache=True).logits[:, -1].float()
            ratios.append(rows.stacked()[:, 0].flatten(1).numpy())
            log_p = logits.log_softmax(-1)
            ids = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)
            chosen = log_p.gather(1, ids)[:, 0].tolist()
            for row, token in enumerate(ids[:, 0].tolist()):
                if not found.ended[row]:
                    found.tokens[row].append(token)
                    found.log_probs[row].append(chosen[row])
                    found.ended[row] = ended([*before, *found.tokens[row]])
            if all(found.ended):
                break
    found.ratios = np.stack(ratios)
    return found


def _best(found: _Candidates, classifier: Classifier, choose: str) -> int:
    if choose == "lookback":
        means = [found.ratios[: len(tokens), row].mean(0) for row, tokens in enumerate(found.tokens)]
        return int(classifier.probabilities(np.stack(means).astype(np.float64)).argmax())
    return int(np.argmax([np.mean(log_probs) for log_probs in found.log_probs]))


def ends_with(tokenizer: Any, stop: Sequence[str]) -> Ended:
    """Ends at the end-of-sequence token, or when the text holds a stop string."""
    ends = {tokenizer.eos_token_id}

    def ended(ids: Sequence[int]) -> bool:
        return ids[-1] in ends or any(word in tokenizer.decode(ids) for word in stop)

    return ended


def text_of(tokenizer: Any, ids: Sequence[int], stop: Sequence[str]) -> str:
    """The response as text, up to the first stop string."""
    text = str(tokenizer.decode(ids, skip_special_tokens=True))
    for word in stop:
        text = text.split(word)[0] if word else text
    return text
