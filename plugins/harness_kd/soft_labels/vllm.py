"""Capture by vLLM, for teachers that it serves faster than transformers does.

What the engine gives decides what these labels are: log-probabilities of the prompt's tokens (`prompt_logprobs`), whose entry 0 is
empty; the engine's ``max_logprobs`` caps K; there is no temperature for them, so the grid is T = 1; the tail mass is 1 minus the
kept mass, which includes what the teacher gives to rows beyond its tokenizer, and the log-normaliser is not known (stored as 0).

Not run where this was written, which had no vLLM: `labels_of` is tested on objects of the documented shape (vLLM 0.6 to 0.11).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from harness.errors import HarnessError
from harness.models.source import ModelSource
from harness_kd.data.examples import Example
from harness_kd.soft_labels.capture import Labeller, store_missing
from harness_kd.soft_labels.labels import SoftLabels, pack
from harness_kd.soft_labels.manifest import Manifest


class Logprob(Protocol):
    """An entry of ``prompt_logprobs``."""

    logprob: float


def require_vllm() -> None:
    """Refuse early where vLLM is not installed.

    Raises:
        HarnessError: With the command that installs it.
    """
    from importlib.util import find_spec

    if find_spec("vllm") is None:
        raise HarnessError("--engine vllm: vLLM is not installed", "pip install vllm, or leave --engine out.")


def capture_with_vllm(
    teacher: ModelSource, examples: Sequence[Example], folder: Path, manifest: Manifest
) -> int:
    """As `harness_kd.soft_labels.capture.capture`, in one process of ours; the engine may use several devices.

    Raises:
        HarnessError: If vLLM is missing, or the labels asked for are none that it can give.
    """
    require_vllm()
    if teacher.encoder_decoder or manifest.tail_draws:
        what = "an encoder-decoder" if teacher.encoder_decoder else "drawn labels"
        raise HarnessError(f"--engine vllm cannot capture {what}", "Leave --engine out.")
    from vllm import LLM, SamplingParams  # type: ignore[import-not-found]

    def start() -> Labeller:
        engine = LLM(
            model=str(teacher.folder),
            max_logprobs=manifest.top_k,
            tensor_parallel_size=_devices(teacher),
            trust_remote_code=False,
        )
        ask = SamplingParams(max_tokens=1, prompt_logprobs=manifest.top_k)

        def label(batch: Sequence[Example]) -> list[SoftLabels]:
            prompts: list[Any] = [{"prompt_token_ids": example.ids.tolist()} for example in batch]
            outputs = engine.generate(prompts, ask, use_tqdm=False)
            return [
                labels_of(output.prompt_logprobs, example, manifest)
                for example, output in zip(batch, outputs, strict=True)
            ]

        return label

    return store_missing(start, examples, folder, manifest)


def _devices(teacher: ModelSource) -> int:
    """Devices that the engine may split the model over: all, or the most that its attention heads divide by."""
    import torch

    heads = json.loads((teacher.folder / "config.json").read_text("utf-8")).get("num_attention_heads", 1)
    count = torch.accelerator.device_count() if torch.accelerator.is_available() else 1
    return max(n for n in range(1, max(count, 1) + 1) if heads % n == 0)


def labels_of(
    prompt_logprobs: Sequence[Mapping[int, Logprob] | None], example: Example, manifest: Manifest
) -> SoftLabels:
    """Labels of an example's response tokens.

    Args:
        prompt_logprobs: One entry per token: the distribution that predicts it, by token id; None for the first. An entry holds the
            K likeliest tokens and the one that stands there, so K + 1 where that is not among them.
        example: What was given to the engine.
        manifest: What is stored; temperatures are (1.0,).

    Raises:
        HarnessError: If the engine gave fewer entries than were asked for: its ``max_logprobs`` is lower.
    """
    k = min(manifest.top_k, manifest.vocabulary_size)
    ids = np.zeros((example.targets, k), np.int64)
    log_probs = np.full((example.targets, k), -np.inf, np.float32)
    for row, entry in enumerate(prompt_logprobs[example.boundary :]):
        found = {
            token: one.logprob for token, one in (entry or {}).items() if token < manifest.vocabulary_size
        }
        best = sorted(found, key=lambda token: (-found[token], token))[:k]
        if len(best) < k:
            raise HarnessError(
                f"vLLM gave {len(best)} log-probabilities for a token where {k} were asked for",
                "Lower --top-k to the engine's limit.",
            )
        ids[row], log_probs[row] = best, [found[token] for token in best]
    keep = np.ones_like(ids, dtype=bool)
    kept = np.exp(log_probs.astype(np.float64))
    if manifest.max_tail > 0:
        keep[:, 1:] = kept.cumsum(1)[:, :-1] < 1 - manifest.max_tail
    with np.errstate(divide="ignore"):
        log_tail = np.log((1 - (kept * keep).sum(1)).clip(0))[:, None].astype(np.float32)
    return pack(
        ids,
        log_probs,
        keep,
        log_tail,
        np.zeros(example.targets, np.float32),
        vocabulary_size=manifest.vocabulary_size,
        dtype=manifest.label_dtype,
    )
