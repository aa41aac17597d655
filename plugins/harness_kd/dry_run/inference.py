"""Peak memory of models that answer and do not train, without their weights: a teacher that labels, a model that is evaluated.

Shapes: B batch, T positions, N response tokens, V rows of the head, D hidden width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch

from harness.models.device import choose_device
from harness_kd.dry_run.live import blank, counting, put, weightless
from harness_kd.dry_run.memory import CACHE, PROCESS, Memory, process_bytes

if TYPE_CHECKING:
    from harness.models.source import ModelSource
    from harness_kd.data.examples import Example
    from harness_kd.training.train import Prepared


@torch.no_grad()
def teacher_bytes(prepared: Prepared, batches: Sequence[Sequence[Example]]) -> Counter[str]:
    """Bytes that the teacher takes to label its largest batch, by what holds them.

    Args:
        batches: Those that it is given, of which the one with most padded tokens counts.

    Raises:
        ValueError: If the plan has no teacher.
    """
    from harness_kd.loss.fused import rows_per_chunk
    from harness_kd.loss.states import decoder_start, padded, response_states
    from harness_kd.soft_labels.capture import label_rows

    teacher, manifest = prepared.teacher, prepared.manifest
    if teacher is None or manifest is None:
        raise ValueError("there is no teacher")
    batch = max(
        batches, key=lambda one: (len(one) * max(len(e.ids) for e in one), sum(e.targets for e in one))
    )
    device, targets = choose_device(), sum(example.targets for example in batch)
    model: Any = weightless(teacher).model(dtype=manifest.teacher_dtype)
    head = model.get_output_embeddings()
    inputs = padded(batch, decoder_start(model))
    with counting(device, targets, tuple(head.weight.shape)) as live:
        put(model, device, live)
        given = blank(inputs, device)
        live.forget_peak()
        hidden = response_states(model, given)
        rows = hidden[: rows_per_chunk(manifest.vocabulary_size)]
        draws = torch.empty(len(rows), manifest.tail_draws, dtype=torch.float64, device=device)
        label_rows(rows, head, manifest, draws)
        return Counter(live.peak)


def capture_memory(prepared: Prepared, examples: Sequence[Example]) -> Memory:
    """Of a process while it captures the labels of these examples."""
    from harness_kd.soft_labels.capture import length_buckets

    ordered = sorted(examples, key=lambda example: len(example.ids))
    parts = teacher_bytes(prepared, list(length_buckets(ordered)))
    return Memory(parts=dict(parts + Counter({PROCESS: process_bytes()})))


@torch.no_grad()
def evaluation_memory(
    source: ModelSource, *, rows: int, prompt_tokens: int, new_tokens: int, dtype: str = "auto"
) -> Memory:
    """Of a process while a model answers a batch of prompts. What judges and metrics load beside it is not part of it.

    Args:
        source: The model, or one of the same shape.
        rows: Prompts at once.
        prompt_tokens: Of the longest prompt.
        new_tokens: Of the longest response.
        dtype: Of the weights; ``auto`` as they are stored.
    """
    parts, held = _prompt_bytes(source, rows, prompt_tokens, dtype)
    _, one_more = _prompt_bytes(source, rows, prompt_tokens, dtype, more=1)
    cache = Counter({CACHE: new_tokens * (one_more - held), PROCESS: process_bytes()})
    return Memory(parts=dict(parts + cache))


def _prompt_bytes(
    source: ModelSource, rows: int, tokens: int, dtype: str, more: int = 0
) -> tuple[Counter[str], int]:
    """Bytes at the fullest moment of a pass over prompts, by what holds them, and bytes left after it: the cache.

    Args:
        more: Tokens of the response, in the same pass.
    """
    model: Any = weightless(source).model(dtype=dtype)
    device = choose_device()
    with counting(device, rows, tuple(model.get_output_embeddings().weight.shape)) as live:
        put(model, device, live)
        ids = torch.zeros(
            rows, tokens + (0 if source.encoder_decoder else more), dtype=torch.long, device=device
        )
        given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": True}
        if source.encoder_decoder:
            given["decoder_input_ids"] = torch.zeros(rows, 1 + more, dtype=torch.long, device=device)
        if "logits_to_keep" in signature(model.forward).parameters:
            given["logits_to_keep"] = 1
        before = live.now.total()
        live.forget_peak()
        answer = model(**given)
        held = live.now.total() - before
        del answer
        return Counter(live.peak), held
