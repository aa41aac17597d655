"""What a run will take, before it starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from harness.models.device import choose_device, free_memory
from harness_kd.plan import TrainPlan
from harness_kd.soft_labels.labels import RANGE

if TYPE_CHECKING:
    from harness_kd.data.examples import Example
    from harness_kd.training.train import Prepared

_TIMED_BATCHES = 3
_TIMED_EXAMPLES = 8


def label_bytes(prepared: Prepared) -> int:
    """Disk for the soft labels of all examples at full K, in bytes; an adaptive K needs less."""
    manifest = prepared.manifest
    if manifest is None:
        return 0
    kept = min(manifest.most_entries, manifest.vocabulary_size)
    ranges = -(-manifest.vocabulary_size // RANGE) * (1 if manifest.most_entries < 256 else 2)
    per_token = (
        kept * (2 + (2 if manifest.label_dtype == "float16" else 4))
        + ranges
        + 2 * len(manifest.temperatures)
        + 4
    )
    return prepared.labelled.target_tokens * per_token + 64 * len(prepared.labelled.examples)


def describe_labels(prepared: Prepared) -> str:
    """Size of the soft-label cache as text."""
    if prepared.plan.online_teacher:
        return "soft labels    none stored: the teacher runs at every step"
    needed = label_bytes(prepared)
    tokens = prepared.labelled.target_tokens
    size = f"{_size(needed)} at most ({needed / tokens:.0f} bytes per token)"
    return f"soft labels    {size}, {prepared.labels_folder}"


def describe_capture(prepared: Prepared) -> str:
    """What is to be captured as text; the time is measured on one batch of the teacher."""
    from harness_kd.soft_labels.capture import missing_examples

    data, folder, manifest = prepared.labelled, prepared.labels_folder, prepared.manifest
    if folder is None or manifest is None:
        raise ValueError("a plan without a teacher captures nothing")
    missing = missing_examples(folder, manifest, data.examples)
    lines = [
        f"rows           {len(data.examples)} ({data.dropped} dropped, {data.truncated} truncated as overlong)",
        f"to capture     {len(missing)} examples, {sum(example.targets for example in missing)} response tokens",
        f"teacher        {prepared.plan.teacher}, {manifest.teacher_dtype}",
        describe_labels(prepared),
    ]
    if missing and prepared.plan.engine == "transformers" and prepared.teacher is not None:
        held = prepared.teacher.parameters * (4 if manifest.teacher_dtype == "float32" else 2)
        lines.append(_time(held, lambda: _capture_seconds(prepared, missing), "capture"))
    return "\n".join(lines)


def _capture_seconds(prepared: Prepared, examples: Sequence[Example]) -> float:
    """Labels of a few examples, scaled by tokens to all."""
    from harness_kd.soft_labels.capture import label_batch

    teacher, manifest = prepared.teacher, prepared.manifest
    if teacher is None or manifest is None:
        return 0.0
    model = teacher.placed(dtype=manifest.teacher_dtype)
    batch = examples[:: max(1, len(examples) // _TIMED_EXAMPLES)][:_TIMED_EXAMPLES]
    for _ in range(2):  # the first pass warms up
        start = time.perf_counter()
        label_batch(model, batch, manifest, choose_device())
        seconds = time.perf_counter() - start
    return seconds / sum(len(one.ids) for one in batch) * sum(len(one.ids) for one in examples)


def describe(prepared: Prepared) -> str:
    """The plan of a training run as text; the time is measured on a few steps of the student, in memory."""
    plan, data = prepared.plan, prepared.data
    weights = prepared.student.parameters * (2 if plan.bf16 and plan.lora_rank else 4)
    overlong = f"{data.dropped} dropped, {data.truncated} truncated as overlong"
    batches = f"{plan.epochs:g} epochs, {plan.batch_size * plan.accumulation} rows a step"
    if plan.lora_rank:
        memory = f"{_size(weights)} for frozen weights, and the adapter with its gradients and AdamW, and activations"
        disk = f"{_size(weights)} when done, and the adapter's while training"
    else:
        adam = plan.optimizer == TrainPlan.optimizer
        held = (
            "weights, gradients and AdamW" if adam else f"weights and gradients, what {plan.optimizer} holds"
        )
        memory = f"{_size((4 if adam else 2) * weights)} for {held}, and activations"
        disk = f"{_size(6 * weights)} at most while training, {_size(weights)} when done"
    lines = [
        f"rows           {len(data.examples)} ({overlong})",
        f"tokens         {data.tokens} ({data.target_tokens} targets) per epoch",
        f"steps          {prepared.steps} ({batches})",
        f"memory         {memory}",
        f"checkpoints    {disk}",
    ]
    if prepared.manifest is not None:
        lines.append(describe_labels(prepared))
    lines.append(_time(weights if plan.lora_rank else 2 * weights, lambda: _seconds(prepared), "training"))
    return "\n".join(lines)


def _time(needed: float, measure: Callable[[], float], work: str) -> str:
    """A line on the time, measured unless ``needed`` bytes are more than there are: a plan must not bring a machine down."""
    free = free_memory()
    if needed > free:
        return f"time           not measured: {work} needs over {_size(needed)} of memory, {_size(free)} are free"
    return f"time           about {duration(measure())} of {work} on this machine"


def duration(seconds: float) -> str:
    """A time in the largest unit of which there are two."""
    for unit, length in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def _size(count: float) -> str:
    """Bytes in the largest decimal unit below them."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.4g} GB"


def _seconds(prepared: Prepared) -> float:
    """Forward and backward passes of a few batches in the data's order, scaled by tokens to the whole run."""
    import torch

    from harness_kd.loss.fused import LossSettings
    from harness_kd.loss.states import decoder_start
    from harness_kd.training.fit import build_student
    from harness_kd.training.trainer import Collator

    place = choose_device()
    model = build_student(prepared, LossSettings()).to(place).train()
    size = prepared.plan.batch_size
    examples = prepared.data.examples
    seconds = tokens = 0.0
    for step in range(_TIMED_BATCHES):
        batch = [examples[(step * size + row) % len(examples)] for row in range(min(size, len(examples)))]
        inputs = {
            name: tensor.to(place) for name, tensor in Collator(start=decoder_start(model))(batch).items()
        }
        start = time.perf_counter()
        with torch.autocast(place.type, torch.bfloat16, enabled=prepared.plan.bf16):
            loss = model(**inputs).loss
        loss.backward()
        float(loss.detach())  # waits for the device
        if step or _TIMED_BATCHES == 1:  # the first pass warms up
            seconds += time.perf_counter() - start
            tokens += sum(len(example.ids) for example in batch)
    return seconds / tokens * prepared.data.tokens * prepared.plan.epochs
