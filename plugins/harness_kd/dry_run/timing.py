"""How long the parts of a run would take here: a small piece of each is timed, where it fits in memory.

Where it does not fit, the time of its matrix products alone is a lower bound, at the rate of a small product that is timed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import torch
from torch import nn

from harness.models.device import choose_device, free_memory
from harness_kd.dry_run.live import weightless
from harness_kd.dry_run.memory import Memory
from harness_kd.placement import free_device
from harness_kd.processes import world_size
from harness_kd.training.precision import stored_dtype

if TYPE_CHECKING:
    from harness.models.source import ModelSource
    from harness_kd.data.examples import Example
    from harness_kd.soft_labels.manifest import Manifest
    from harness_kd.training.train import Prepared

P = ParamSpec("P")
T = TypeVar("T")
_PROBE_TOKENS = 2048
"""Tokens of a probe, about."""
_PROBE_SECONDS = 3.0
"""After which no other call is timed."""
_LONG = 10.0
"""A call of this many seconds is not made again."""
_CALLS = 4
_PRODUCT = 1024
"""Rows and columns of the product whose rate is timed."""
_NEW = 8
"""Tokens of a response that is timed."""


@dataclass(frozen=True, kw_only=True)
class Time:
    """An estimate."""

    seconds: float
    basis: str
    """What was timed."""
    least: bool = False
    """Whether it is a lower bound."""


def fits(memory: Memory) -> bool:
    """Whether a process has room for this now, beside the others of its machine; each accelerator is one process's alone."""
    here = 1 if choose_device().type != "cpu" else int(os.environ.get("LOCAL_WORLD_SIZE", world_size()))
    return here * memory.yet <= free_memory()


def _alone(probe: Callable[P, T]) -> Callable[P, T]:
    """A probe whose model is let go when it is over: it would be in the way of the next, and of what is said to be free."""

    @wraps(probe)
    def probed(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return probe(*args, **kwargs)
        finally:
            free_device()

    return probed


def training_time(prepared: Prepared, memory: Memory) -> Time:
    """Of a student's training on its rows by all processes, the teacher's labels being there."""
    plan, tokens = prepared.plan, prepared.data.tokens * prepared.plan.epochs
    if not fits(memory):
        passes = (2 if plan.lora_rank else 3) + plan.gradient_checkpointing
        flops = passes * _flops(prepared.student, tokens, prepared.data.target_tokens * plan.epochs)
        return _least(flops, "bfloat16" if plan.bf16 else "float32")
    per_token, per_update, basis = _timed_training(prepared)
    seconds = per_token * tokens / world_size() + per_update * prepared.steps
    return Time(seconds=seconds, basis=basis)


def capture_time(prepared: Prepared, examples: Sequence[Example], memory: Memory) -> Time:
    """Of the capture of soft labels by all processes."""
    teacher, manifest = prepared.teacher, prepared.manifest
    if teacher is None or manifest is None:
        raise ValueError("there is no teacher")
    tokens = sum(len(example.ids) for example in examples)
    if not fits(memory):
        return _least(_flops(teacher, tokens, sum(e.targets for e in examples)), manifest.teacher_dtype)
    batch = _some(examples)
    seconds, probed = _timed_labels(teacher, manifest, batch), sum(len(example.ids) for example in batch)
    return Time(
        seconds=seconds / probed * tokens / world_size(),
        basis=f"{len(batch)} rows of {probed:,} tokens in {seconds:.2g} s",
    )


@_alone
def _timed_labels(teacher: ModelSource, manifest: Manifest, batch: Sequence[Example]) -> float:
    """Seconds to label some examples."""
    from harness_kd.soft_labels.capture import label_batch

    model = teacher.placed(dtype=manifest.teacher_dtype)
    return _timed(lambda: label_batch(model, batch, manifest, choose_device()))


def evaluation_time(
    source: ModelSource, memory: Memory, *, rows: int, documents: int, prompt_tokens: int, new_tokens: int
) -> Time:
    """Of a model's answers to documents, all of them as long as allowed; scoring aside.

    Args:
        source: The model, or one of the same shape.
        memory: Its `evaluation_memory`.
        rows: Prompts at once.
        documents: Prompts.
        prompt_tokens: Of a prompt.
        new_tokens: Of a response; 0 where responses are given and only scored.
    """
    if not fits(memory):
        total = documents * (prompt_tokens + new_tokens)
        return _least(_flops(source, total, documents * max(1, new_tokens)), stored_dtype(source.folder))
    reading, writing, basis = _timed_answers(source, min(rows, documents), prompt_tokens)
    batches = -(-documents // rows)
    return Time(seconds=documents * reading + batches * new_tokens * writing, basis=basis)


@lru_cache(maxsize=64)
@_alone
def _timed_answers(source: ModelSource, rows: int, prompt_tokens: int) -> tuple[float, float, str]:
    """Seconds to read a prompt, and to write a token of a batch; and what was timed."""
    few = max(1, min(rows, _PROBE_TOKENS // max(1, prompt_tokens)))
    prompts = torch.full((few, prompt_tokens), 1, device=choose_device())
    begun = torch.full((rows, min(prompt_tokens, 32)), 1, device=choose_device())
    model = source.placed(dtype="auto")
    reading = _timed(lambda: _answer(model, prompts, 1))
    one = _timed(lambda: _answer(model, begun, 1))
    more = _timed(lambda: _answer(model, begun, 1 + _NEW))
    writing = max(0.0, more - one) / _NEW
    basis = f"{few} prompts of {prompt_tokens:,} tokens in {reading:.2g} s, {_NEW} tokens for each of {rows} in {more - one:.2g} s"
    return reading / few, writing, basis


def _answer(model: Any, prompts: torch.Tensor, tokens: int) -> None:
    with torch.no_grad():
        model.generate(
            input_ids=prompts,
            attention_mask=torch.ones_like(prompts),
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            do_sample=False,
            num_beams=1,
            pad_token_id=0,
        )


def _some(examples: Sequence[Example], rows: int | None = None) -> list[Example]:
    """A few examples from all over the data, of `_PROBE_TOKENS` tokens together but at least one."""
    spread = examples[:: max(1, len(examples) // 64)]
    found: list[Example] = []
    for example in spread[:rows]:
        if found and sum(len(one.ids) for one in [*found, example]) > _PROBE_TOKENS:
            break
        found.append(example)
    return found


_known: dict[Any, tuple[float, float, str]] = {}


def _timed_training(prepared: Prepared) -> tuple[float, float, str]:
    """Seconds for a token, forward and backward, and for an update of the optimizer; and what was timed. Equal ones share it."""
    plan = prepared.plan
    alike = replace(
        plan, output="", data="", teacher=None, soft_labels=None, kd_ratio=0.0, online_teacher=False
    )
    key = (prepared.student.folder, alike, prepared.data.fingerprint)
    if key not in _known:
        _known[key] = _time_training(prepared)
    return _known[key]


@_alone
def _time_training(prepared: Prepared) -> tuple[float, float, str]:
    from harness_kd.dry_run.training import optimizer_of
    from harness_kd.loss.fused import LossSettings
    from harness_kd.loss.states import decoder_start
    from harness_kd.training.fit import build_student
    from harness_kd.training.trainer import Collator

    plan, place = prepared.plan, choose_device()
    batch = _some(prepared.data.examples, plan.batch_size)
    model = build_student(prepared, LossSettings()).to(place).train()
    inputs = {name: tensor.to(place) for name, tensor in Collator(start=decoder_start(model))(batch).items()}

    def step() -> None:
        with torch.autocast(place.type, torch.bfloat16, enabled=plan.bf16):
            loss = model(**inputs).loss
        loss.backward()
        float(loss.detach())  # waits for the device

    seconds = _timed(step)
    optimizer = optimizer_of([weight for weight in model.parameters() if weight.requires_grad], plan)
    update = _timed(optimizer.step)
    probed = sum(len(example.ids) for example in batch)
    basis = f"{len(batch)} rows of {probed:,} tokens in {seconds:.2g} s, an update in {update:.2g} s"
    return seconds / probed, update, basis


def _timed(work: Callable[[], object]) -> float:
    """Seconds of the fastest of a few calls, which other work on the machine has disturbed least."""
    taken: list[float] = []
    while len(taken) < 2 or (len(taken) < _CALLS and sum(taken) < _PROBE_SECONDS):
        start = time.perf_counter()
        work()
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()
        taken.append(time.perf_counter() - start)
        if taken[0] > _LONG:
            break
    return min(taken)


def _flops(source: ModelSource, tokens: float, targets: float) -> float:
    """Of a forward pass: two for each weight that a token is multiplied with; the output head sees targets alone."""
    model: Any = weightless(source).model()
    head = model.get_output_embeddings().weight
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    body = sum(
        weight.numel()
        for weight in model.parameters()
        if weight.dim() > 1 and id(weight) not in tables and weight is not head
    )
    return float(2 * (body * tokens + head.numel() * targets))


def _least(flops: float, dtype: str) -> Time:
    rate = _product_rate(dtype)
    return Time(
        seconds=flops / rate / world_size(),
        basis=f"{flops:.2g} FLOPs of its matrix products, at the {rate / 1e9:,.0f} GFLOP/s of one in {dtype} here",
        least=True,
    )


@lru_cache(maxsize=3)
def _product_rate(dtype: str) -> float:
    """Operations per second of a product of square matrices here."""
    left = torch.rand(_PRODUCT, _PRODUCT, device=choose_device()).to(getattr(torch, dtype))
    seconds = _timed(lambda: left @ left)
    return float(2 * _PRODUCT**3) / seconds
