"""Peak memory of a student's training, without its weights.

One step and one update of the optimizer run by the trainer's own code on tensors without memory (`harness_kd.dry_run.live`). The
fullest moment is one of

    a step         process + labels + weights + optimizer + (copies + gradients + logits + activations, at the fullest moment)
    the update     process + labels + weights + optimizer + gradients + what the update needs beside them
    the saving     process + labels + weights + optimizer + weights in the precision to save in, if that is another
    the merging    process + labels + the student as it is stored + what of it is written anew (adapters)
    the teacher    process + weights + optimizer + the teacher's weights and activations (with --online-teacher also in the others)

Shapes: B batch, T positions, N response tokens, K kept teacher entries, V rows of the head, D hidden width.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from harness.models.device import choose_device
from harness.models.weights import weight_files
from harness_kd.dry_run.inference import teacher_bytes
from harness_kd.dry_run.live import (
    ACTIVATIONS,
    COPIES,
    GRADIENTS,
    OPTIMIZER,
    WEIGHTS,
    LiveBytes,
    blank,
    counting,
    put,
    weightless,
)
from harness_kd.dry_run.memory import EXCHANGE, LABELS, PROCESS, TEACHER, Memory, process_bytes
from harness_kd.dry_run.shares import Shares
from harness_kd.loss.fused import IGNORE_INDEX
from harness_kd.processes import world_size
from harness_kd.soft_labels.size import label_bytes
from harness_kd.training.precision import stored_dtype

if TYPE_CHECKING:
    from harness_kd.data.examples import Example
    from harness_kd.plan import TrainPlan
    from harness_kd.training.train import Prepared

_ORDERS = 10
"""Epochs whose orders are searched for the largest micro-batch."""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Bytes of a student's training on one device, by what holds them."""

    step: Counter[str]
    """At the fullest moment of forward and backward passes, the optimizer's states aside."""
    update: Counter[str]
    """At the fullest moment of the optimizer's update."""
    weights: int
    trained: int
    """Of the weights, those that train."""
    optimizer: int
    largest_layer: int
    """Weights of the largest block that is gathered at once where weights are divided."""
    adapted: int
    """Number of the frozen weights that an adapter is merged into."""
    note: str = ""
    """What could not be counted."""


def training_memory(prepared: Prepared) -> Memory:
    """Of the process, at the fullest moment of training."""
    counted, plan = count_training(prepared), prepared.plan
    on_processor = process_bytes() > 0
    always = Counter({PROCESS: process_bytes()})
    if on_processor and prepared.manifest is not None and not plan.online_teacher:
        always[LABELS] = label_bytes(prepared.manifest, prepared.labelled)  # mapped from their files
    kept = Counter({WEIGHTS: counted.weights, OPTIMIZER: counted.optimizer})
    moments = [counted.step + Counter({OPTIMIZER: counted.optimizer}), counted.update]
    if on_processor and not plan.lora_rank and prepared.save_dtype != "float32":
        moments.append(kept + Counter({COPIES: counted.weights // 2}))
    if prepared.teacher is not None and plan.online_teacher:
        asked = teacher_bytes(prepared, [largest_batch(prepared)])
        always[TEACHER] = asked.pop(WEIGHTS)
        moments.append(kept + asked)
    shared = [_shared(moment, counted) for moment in moments]
    if on_processor and plan.lora_rank and not plan.keep_adapter:
        shared.append(_merging(prepared, counted.adapted))
    fullest = max(shared, key=lambda moment: moment.total())
    return Memory(parts=dict(always + fullest), note=counted.note)


def _merging(prepared: Prepared, adapted: int) -> Counter[str]:
    """The stored student, and in the precision to save in what of it is written anew: all of it where that is another."""
    student, dtype = prepared.student, prepared.save_dtype
    stored = sum(file.stat().st_size for file in weight_files(student.folder))
    written = adapted if dtype == stored_dtype(student.folder) else student.parameters
    return Counter({WEIGHTS: stored, COPIES: written * getattr(torch, dtype).itemsize})


def _shared(moment: Counter[str], counted: Counted) -> Counter[str]:
    """A process's part of what all of them hold, and what dividing it takes."""
    shares = Shares.launched()
    part = Counter(moment)
    for kind, ways in (
        (WEIGHTS, shares.weights),
        (GRADIENTS, shares.gradients),
        (OPTIMIZER, shares.optimizer),
    ):
        part[kind] = -(-moment[kind] // ways)
    if shares.exchange:
        part[EXCHANGE] = counted.trained
    if shares.weights > 1:
        part[EXCHANGE] = 2 * counted.largest_layer  # one computes while the next is gathered
    return part


_counted: dict[Any, Counted] = {}


def count_training(prepared: Prepared) -> Counted:
    """Bytes of training on this process's device, as if it trained alone. Students of one shape are counted once."""
    plan, inputs = prepared.plan, _inputs(prepared, largest_batch(prepared))
    shapes = tuple(sorted((name, tuple(tensor.shape)) for name, tensor in inputs.items()))
    alike = replace(
        plan,
        output="",
        data="",
        teacher=plan.teacher and "any",
        soft_labels=None,
        kd_ratio=min(plan.kd_ratio, 1.0),
    )
    key = (prepared.student.folder, alike, shapes, _targets(prepared, inputs))
    if key not in _counted:
        _counted[key] = _count(prepared, inputs)
    return _counted[key]


def largest_batch(prepared: Prepared) -> list[Example]:
    """The micro-batch of the run with most tokens, padding included."""
    from harness_kd.training.trainer import EpochSampler

    plan, examples = prepared.plan, prepared.data.examples
    lengths = [len(example.ids) for example in examples]
    order = EpochSampler(lengths, plan.seed, plan.batch_size * plan.accumulation * world_size())
    found: list[Example] = []
    for epoch in range(min(_ORDERS, math.ceil(plan.epochs))):
        order.set_epoch(epoch)
        rows = [examples[row] for row in order if row < len(examples)]
        batches = [rows[at : at + plan.batch_size] for at in range(0, len(rows), plan.batch_size)]
        found = max([found, *batches], key=lambda batch: _size(batch, packed=plan.packing))
    return found


def _inputs(prepared: Prepared, batch: Sequence[Example]) -> dict[str, Tensor]:
    """A micro-batch as the student is given it, the teacher's labels aside."""
    from harness_kd.loss.packing import pack_width
    from harness_kd.loss.states import decoder_start
    from harness_kd.training.trainer import Collator

    plan, model = prepared.plan, weightless(prepared.student).model()
    width = pack_width(model, plan.max_length) if plan.packing else 0
    return Collator(None, plan.temperature, decoder_start(model), width)(batch)


def _size(batch: Sequence[Example], *, packed: bool) -> tuple[int, int]:
    """Tokens of a micro-batch, with padding unless it is packed; then its targets."""
    lengths = [len(example.ids) for example in batch]
    tokens = sum(lengths) if packed else len(lengths) * max(lengths, default=0)
    return tokens, sum(example.targets for example in batch)


def _targets(prepared: Prepared, inputs: dict[str, Tensor]) -> int:
    labels = inputs["labels"]
    kept = labels if prepared.student.encoder_decoder else labels[:, 1:]
    return int((kept != IGNORE_INDEX).sum())


def _count(prepared: Prepared, inputs: dict[str, Tensor]) -> Counted:
    from harness_kd.training.fit import build_student, loss_settings

    plan, device, targets = prepared.plan, choose_device(), _targets(prepared, inputs)
    if prepared.manifest is not None:
        inputs = inputs | _labels_of(targets, prepared.manifest.most_entries)
    with LiveBytes():
        model = build_student(
            replace(prepared, student=weightless(prepared.student)), loss_settings(prepared)
        )
    rows, width = model.get_output_embeddings().weight.shape
    with counting(device, targets, (rows, width)) as live:
        put(model, device, live)
        model.train()
        given = blank(inputs, device)
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        for weight in trained:
            weight.register_post_accumulate_grad_hook(lambda one: live.label(one.grad, GRADIENTS))
        weights = live.now[WEIGHTS]
        live.forget_peak()
        for _ in range(min(2, plan.accumulation)):
            with torch.autocast(device.type, torch.bfloat16, enabled=plan.bf16):
                loss = model(**given).loss
            loss.backward()
            del loss
        step = Counter(live.peak)
        states, update, note = _update(trained, plan, live)
    return Counted(
        step=step,
        update=update,
        weights=weights,
        trained=sum(weight.numel() * weight.element_size() for weight in trained),
        optimizer=states,
        largest_layer=_largest_layer(model),
        adapted=sum(
            module.get_base_layer().weight.numel() for module in model.modules() if hasattr(module, "lora_A")
        ),
        note=note,
    )


def _labels_of(targets: int, kept: int) -> dict[str, Tensor]:
    """Soft labels as `harness_kd.training.trainer.Collator` gives them."""
    return {
        "teacher_ids": torch.empty(targets, kept, dtype=torch.long, device="meta"),
        "teacher_log_probs": torch.empty(targets, kept, device="meta"),
        "teacher_log_tail": torch.empty(targets, device="meta"),
    }


def _update(
    trained: Sequence[nn.Parameter], plan: TrainPlan, live: LiveBytes
) -> tuple[int, Counter[str], str]:
    """Bytes of the optimizer's states, bytes by kind at the fullest moment of its update, and what is not known of them."""
    live.forget_head()
    live.forget_peak()
    try:
        optimizer = optimizer_of(trained, plan)
        optimizer.step()
    except (
        Exception
    ) as error:  # kernels of its own, or a package that is not here, in any of three dozen optimizers
        states = 2 * sum(weight.numel() for weight in trained) * (1 if "8bit" in plan.optimizer else 4)
        note = f"{plan.optimizer}: taken to hold two numbers per weight ({type(error).__name__})"
        return states, Counter(live.now) + Counter({OPTIMIZER: states}), note
    update = Counter(live.peak)
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, Tensor):
                live.label(value, OPTIMIZER)
    states = live.now[OPTIMIZER]
    update[ACTIVATIONS] -= states
    update[OPTIMIZER] = states
    return states, update, ""


def optimizer_of(trained: Sequence[nn.Parameter], plan: TrainPlan) -> Any:
    """The Trainer's optimizer over some weights, without its groups for weight decay."""
    from transformers import Trainer, TrainingArguments

    # not initialised: that would have this process meet the others of its launch
    arguments: Any = object.__new__(TrainingArguments)
    arguments.optim, arguments.learning_rate = plan.optimizer, plan.learning_rate
    kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments)
    return kind(trained, **options)


def _largest_layer(model: nn.Module) -> int:
    """Bytes of the largest block of a stack of layers."""
    layers = [layer for module in model.modules() if isinstance(module, nn.ModuleList) for layer in module]
    return max(
        (sum(weight.numel() * weight.element_size() for weight in layer.parameters()) for layer in layers),
        default=0,
    )
