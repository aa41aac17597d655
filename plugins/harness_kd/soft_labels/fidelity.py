"""How much of the teacher survives in a cache, before anything is trained from it.

For a sample of response tokens the teacher's full distribution p is computed, and for each K and temperature what the cache
would hold of it, through the product's own top-K, rounding and unpacking. Reported, as means over tokens:

- tail mass outside the kept entries;
- KL(p || p'), with p' the kept entries and the tail spread like the student's own, which is what the loss pulls to; nats, x 1000;
- gradient bias |g - g*| / |g*| over all tokens, g* = q - p the logit gradient of the full distribution, g = q - p' of the cache;
- bytes per token.

The student q is a given model, else the teacher itself at twice the temperature, a stand-in that is wrong in the same places.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.errors import HarnessError
from harness_kd.data.examples import Example
from harness_kd.loss.states import decoder_start, padded, response_states
from harness_kd.placement import input_device
from harness_kd.soft_labels.capture import label_rows, length_buckets
from harness_kd.soft_labels.labels import SoftLabels, pack
from harness_kd.soft_labels.manifest import Manifest

BIAS_BOUND = 0.03
"""Gradient bias at T = 1 below which a K is recommended."""
_ROWS = 32
"""Tokens whose full distributions are held at once."""


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """One K at one temperature."""

    top_k: int
    temperature: float
    entries: float
    """Kept per token; fewer than K where K adapts."""
    bytes_per_token: float
    tail: float
    kl: float
    """Nats."""
    bias: float


@dataclass
class _Sums:
    tokens: int = 0
    entries: int = 0
    bytes: int = 0
    tail: float = 0.0
    kl: float = 0.0
    error: float = 0.0
    norm: float = 0.0

    def result(self, top_k: int, temperature: float) -> Fidelity:
        n = self.tokens
        return Fidelity(
            top_k=top_k,
            temperature=temperature,
            entries=self.entries / n,
            bytes_per_token=self.bytes / n,
            tail=self.tail / n,
            kl=self.kl / n,
            bias=(self.error / self.norm) ** 0.5 if self.norm else 0.0,
        )


def measure(
    teacher: Any,
    examples: Sequence[Example],
    manifest: Manifest,
    *,
    ks: Sequence[int],
    tokens: int,
    student: Any = None,
) -> list[Fidelity]:
    """Measure every K at every temperature of the manifest's grid on the first ``tokens`` response tokens, shortest examples first.

    Raises:
        HarnessError: If a K is below 1.
    """
    if not ks or min(ks) < 1:
        raise HarnessError(f"K must be at least 1, not {min(ks, default=0)}", "Give --ks as in 8,16,32,64.")
    ks = sorted({min(k, manifest.vocabulary_size) for k in ks})
    sums = {(k, t): _Sums() for k in ks for t in manifest.temperatures}
    for teacher_logits, student_logits in _logits(
        teacher, student, examples, manifest.vocabulary_size, tokens
    ):
        for k in ks:
            labels = stored(teacher_logits, replace(manifest, top_k=k))
            for index, t in enumerate(manifest.temperatures):
                _add(sums[k, t], labels, index, t, teacher_logits, student_logits)
    return [found.result(k, t) for (k, t), found in sums.items()]


def stored(logits: Tensor, manifest: Manifest) -> SoftLabels:
    """What the cache holds of some positions, float32 logits [N, V]."""
    arrays = [tensor.cpu().numpy() for tensor in label_rows(logits, nn.Identity(), manifest)]
    return pack(*arrays, vocabulary_size=manifest.vocabulary_size, dtype=manifest.label_dtype)


def target(labels: SoftLabels, index: int, temperature: float, q: Tensor) -> Tensor:
    """The distribution [N, V] that the loss pulls ``q`` [N, V] towards: the tail spread like q's own."""
    log_probs, log_tail = labels.at_temperature(index, temperature)
    rows = torch.from_numpy(np.repeat(np.arange(len(q)), labels.entries_per_token()))
    ids = torch.from_numpy(labels.full_ids())
    dense, outside = torch.zeros_like(q), q.clone()
    dense[rows, ids] = torch.from_numpy(log_probs).exp().to(q)
    outside[rows, ids] = 0.0
    tail = torch.from_numpy(log_tail).exp().to(q)[:, None]
    return dense + outside / outside.sum(-1, keepdim=True).clamp_min(1e-30) * tail


def recommend(found: Sequence[Fidelity]) -> str:
    """The smallest K whose gradient bias at T = 1 is below `BIAS_BOUND`, in a sentence."""
    at_one = [one for one in found if one.temperature == 1.0]
    good = [one for one in at_one if one.bias < BIAS_BOUND]
    if not good:
        best = min(at_one, key=lambda one: one.bias)
        return (
            f"No K keeps the gradient bias at T = 1 below {BIAS_BOUND:.0%}: K = {best.top_k} has {best.bias:.1%}. "
            "Keep more entries, or use unbiased samples."
        )
    one = min(good, key=lambda one: one.top_k)
    return f"K = {one.top_k} is enough: gradient bias {one.bias:.1%} at T = 1, {one.bytes_per_token:.0f} bytes per token."


def table(found: Sequence[Fidelity]) -> str:
    """As markdown."""
    lines = [
        "| K | T | entries | bytes/token | tail mass | KL, nats x 1000 | gradient bias |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.top_k} | {one.temperature:g} | {one.entries:.1f} | {one.bytes_per_token:.0f} | {one.tail:.4f} "
        f"| {1000 * one.kl:.2f} | {one.bias:.2%} |"
        for one in found
    ]
    return "\n".join(lines)


def figure(found: Sequence[Fidelity]) -> str:
    """Gradient bias over K, a line for each temperature, as SVG."""
    import io

    from matplotlib import rc_context
    from matplotlib.figure import Figure

    ks = sorted({one.top_k for one in found})
    picture = Figure(figsize=(6, 4), layout="constrained")
    axes = picture.subplots()
    for temperature in sorted({one.temperature for one in found}):
        line = [one for one in found if one.temperature == temperature]
        axes.plot(
            [one.top_k for one in line],
            [100 * one.bias for one in line],
            marker="o",
            label=f"T = {temperature:g}",
        )
    axes.axhline(100 * BIAS_BOUND, color="0.6", linestyle="--", linewidth=1)
    axes.set(xlabel="K, entries kept per token", ylabel="gradient bias, %", xscale="log")
    axes.set_xticks(ks, [str(k) for k in ks])
    axes.minorticks_off()
    axes.legend()
    axes.grid(alpha=0.3)
    out = io.StringIO()
    with rc_context(
        {"svg.hashsalt": "fidelity", "svg.fonttype": "none"}
    ):  # the same numbers give the same file
        picture.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


@torch.inference_mode()
def _logits(
    teacher: Any, student: Any, examples: Sequence[Example], vocabulary: int, tokens: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Teacher's float32 logits [n, V], n <= `_ROWS`, of response tokens, and the student's of all rows of its head, at least V."""
    left = tokens
    for batch in length_buckets(sorted(examples, key=lambda example: (len(example.ids), example.key))):
        states = [_states(model, batch) for model in (teacher, student) if model is not None]
        for start in range(0, len(states[0][0]), _ROWS):
            if left <= 0:
                return
            rows = slice(start, start + min(_ROWS, left))
            pair = [head(hidden[rows]).float().cpu() for hidden, head in states]
            logits = pair[0][:, :vocabulary]
            left -= len(logits)
            yield logits, pair[1] if student is not None else logits / 2


def _states(model: Any, batch: Sequence[Example]) -> tuple[Tensor, nn.Module]:
    device = input_device(model)
    inputs = {name: tensor.to(device) for name, tensor in padded(batch, decoder_start(model)).items()}
    return response_states(model, inputs), model.get_output_embeddings()


def _add(
    sums: _Sums, labels: SoftLabels, index: int, temperature: float, teacher: Tensor, student: Tensor
) -> None:
    log_p = (teacher / temperature).double().log_softmax(-1)
    p, full = log_p.exp(), (student / temperature).double().softmax(-1)
    q, beyond = (
        full[:, : p.shape[1]],
        full[:, p.shape[1] :],
    )  # where the teacher, and so every label of it, has no mass
    cached = target(labels, index, temperature, q)
    sums.tokens += len(p)
    sums.entries += int(labels.entries_per_token().sum())
    sums.bytes += sum(
        getattr(labels, name).nbytes for name in ("ids", "log_probs", "counts", "log_tail", "log_normalizer")
    )
    sums.tail += float(np.exp(labels.log_tail[:, index].astype(np.float64)).sum())
    sums.kl += float((p * (log_p - cached.clamp_min(1e-300).log())).sum())
    sums.error += float((p - cached).square().sum())
    sums.norm += float((q - p).square().sum() + beyond.square().sum())
