"""Output head, cross-entropy and distillation from sparse labels in one pass, without [tokens, vocabulary].

Shapes: N response tokens, D hidden width, V vocabulary, K kept teacher entries, C rows of one chunk.

For one response token with logits z = W h + b, hard label y, and the teacher's kept probabilities p on a set
S of K tokens with tail mass t = 1 - sum p, all at temperature T:

    loss   = (1 - a) CE(z, y) + a T^2 D((p, t) || (q_S, q_tail)),   q = softmax(z / T),   q_tail = 1 - sum_S q
    d/dz_j = (1 - a) (softmax(z)_j - [j = y])
             + a T ([j in S] g_j + [j not in S] g_tail q_j / q_tail - q_j sum g)

where g is the divergence's slope with respect to log q (`harness_kd.divergences`). For the forward KL g =
-(p, t), and the last bracket is q_j - p_j on S and q_j (1 - t / q_tail) off it. Losses are summed over tokens
and divided by ``num_items``.

The forward pass goes over chunks of rows, turns each chunk's logits into their gradient in place, and
multiplies that into the gradients of hidden states and weights at once. The peak is one or two [C, V]
buffers, and no logits are computed twice.

Source: the one-pass scheme is Liger-Kernel's fused linear cross-entropy (Hsu et al. 2024, arXiv 2410.10989,
section 3.2), extended here by sparse labels with a ghost tail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness_kd.divergences import DIVERGENCES, LOG_FLOOR
from harness_kd.uld import ULD, uld_gradient

IGNORE_INDEX = -100
CHUNK_ELEMENTS = 1 << 26
"""Logits of one chunk: 64 Mi elements, 256 MiB in float32."""


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """What is minimised; see the module's formula."""

    kd_weight: float = 0.0
    """a in [0, 1], the share of distillation; 0 is plain cross-entropy. `kd_weight_of` derives it from the
    paper's kd_ratio."""
    temperature: float = 1.0
    """T > 0. The divergence is scaled by T^2, so its gradient keeps its size (Hinton et al. 2015, section
    2)."""
    divergence: str = "forward-kl"
    """A key of `harness_kd.divergences.DIVERGENCES`, or `harness_kd.uld.ULD`."""
    label_smoothing: float = 0.0
    """e in [0, 1): the hard label becomes (1 - e) onehot + e / V (Szegedy et al. 2016, arXiv 1512.00567,
    section 7)."""
    vocabulary_size: int | None = None
    """Rows of the head that belong to the tokenizer; padding rows beyond it take no part. None: all rows."""
    chunk_rows: int | None = None
    """Rows per chunk; None: as many as keep a chunk within `CHUNK_ELEMENTS`. The result does not depend on
    it."""


@dataclass(frozen=True, kw_only=True)
class SparseTargets:
    """The teacher's labels for N tokens, already at the loss's temperature."""

    ids: Tensor
    """int64 [N, K], kept tokens, each at most once per row."""
    log_probs: Tensor
    """float [N, K], nats, full-softmax log-probabilities; -inf pads rows that keep fewer than K entries,
    never all of a row."""
    log_tail: Tensor
    """float [N], nats, log of the mass outside the kept entries; -inf for none."""


def rows_per_chunk(vocabulary: int) -> int:
    """Rows whose logits are computed at once: as many as stay within `CHUNK_ELEMENTS`, at least 64."""
    return max(64, CHUNK_ELEMENTS // vocabulary)


def kd_weight_of(kd_ratio: float) -> float:
    """The paper's ratio of distillation to hard labels as a share: a = kd_ratio / (1 + kd_ratio) (arXiv
    2502.11306).
    """
    return kd_ratio / (1.0 + kd_ratio)


def linear_loss(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    settings: LossSettings,
    *,
    num_items: Tensor | float,
    targets: SparseTargets | None = None,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Loss of response tokens from the hidden states that predict them; see the module's formula.

    Args:
        hidden: float [N, D], hidden state at the position before each target. N may be 0.
        weight: float [V, D], weight of the output head.
        labels: int64 [N], target tokens; every row counts, so masked rows must be dropped beforehand.
        settings: What is minimised.
        num_items: Target tokens in the whole optimizer step, over all micro-batches and processes; at least 1
            is assumed.
        targets: The teacher's labels; needed if ``settings.kd_weight`` > 0.
        bias: float [V], bias of the head.

    Returns:
        The loss, a scalar in nats per target token of the whole step, and its parts ``[cross-entropy,
        divergence]`` (float [2], no gradient, each unweighted). With N = 0 all are 0 and the gradients are
        zeros. Not twice differentiable.

    Raises:
        ValueError: If distillation is asked for without targets.
    """
    if settings.kd_weight > 0 and targets is None:
        raise ValueError("kd_weight > 0 needs the teacher's targets")
    kept = targets if settings.kd_weight > 0 else None
    loss, parts = _LinearLoss.apply(  # type: ignore[no-untyped-call]
        hidden,
        weight,
        bias,
        labels,
        kept.ids if kept else None,
        kept.log_probs if kept else None,
        kept.log_tail if kept else None,
        settings,
        torch.as_tensor(num_items, device=hidden.device).clamp(min=1),
    )
    return loss, parts


class _LinearLoss(torch.autograd.Function):
    """Computes all gradients in the forward pass; backward only hands them over."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        ids: Tensor | None,
        log_probs: Tensor | None,
        log_tail: Tensor | None,
        settings: LossSettings,
        num_items: Tensor,
    ) -> tuple[Tensor, Tensor]:
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        device = hidden.device.type
        autocast = torch.is_autocast_enabled(device)
        product_dtype = torch.get_autocast_dtype(device) if autocast else hidden.dtype
        exact = torch.float64 if product_dtype == torch.float64 else torch.float32
        vocabulary = settings.vocabulary_size or weight.shape[0]
        used_weight = weight[:vocabulary].to(product_dtype)
        used_bias = None if bias is None else bias[:vocabulary].to(exact)
        scale = 1.0 / num_items.to(exact)

        grad_hidden = torch.zeros_like(hidden) if needs_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=exact) if needs_weight else None
        grad_bias = torch.zeros_like(bias, dtype=exact) if bias is not None and needs_bias else None
        parts = torch.zeros(2, dtype=exact, device=hidden.device)

        chunk_rows = settings.chunk_rows or rows_per_chunk(vocabulary)
        with torch.autocast(device, enabled=False):
            for start in range(0, hidden.shape[0], chunk_rows):
                rows = slice(start, start + chunk_rows)
                states = hidden[rows].to(product_dtype)
                logits = (states @ used_weight.T).to(exact)
                if used_bias is not None:
                    logits += used_bias
                if ids is None or log_probs is None or log_tail is None:
                    targets = None
                else:
                    kept, tail = log_probs[rows].to(exact), log_tail[rows].to(exact)
                    targets = SparseTargets(ids=ids[rows], log_probs=kept, log_tail=tail)
                grad, chunk_parts = _loss_and_logit_gradient(logits, labels[rows], targets, settings, scale)
                parts += chunk_parts
                factor = grad.to(product_dtype)
                if grad_hidden is not None:
                    grad_hidden[rows] = factor @ used_weight
                if grad_weight is not None:
                    _add_product(grad_weight[:vocabulary], factor.T, states)
                if grad_bias is not None:
                    grad_bias[:vocabulary] += grad.sum(0)
                # or they would live on beside the next chunk's logits
                del logits, grad, factor

        ctx.gradients = (
            grad_hidden,
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None if grad_bias is None or bias is None else grad_bias.to(bias.dtype),
        )
        loss = (1 - settings.kd_weight) * parts[0] + settings.kd_weight * parts[1]
        ctx.mark_non_differentiable(parts)
        return loss, parts

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, _grad_parts: Tensor) -> tuple[Tensor | None, ...]:
        # dropping the references lets AccumulateGrad take the buffers over instead of copying them
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            raise RuntimeError("the fused loss was backpropagated twice: compute it again instead")
        if not torch.equal(grad_loss, torch.ones_like(grad_loss)):
            gradients = tuple(None if g is None else g.mul_(grad_loss) for g in gradients)
        return (*gradients, None, None, None, None, None, None)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left @ right to ``total``, accumulated in the precision of ``total``."""
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total += (left @ right).to(total.dtype)


def _loss_and_logit_gradient(
    logits: Tensor, labels: Tensor, targets: SparseTargets | None, settings: LossSettings, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Scaled loss parts and d loss / d logits of one chunk; ``logits`` [C, V] is overwritten."""
    smoothing, a = settings.label_smoothing, settings.kd_weight
    hard = logits.gather(1, labels[:, None])
    if smoothing:
        hard = (1 - smoothing) * hard + smoothing * logits.mean(-1, keepdim=True)
    if targets is not None and settings.divergence == ULD:
        q, log_z = _softmax_in_place(logits, torch.ones_like(scale))
        grad, divergence = uld_gradient(
            q, targets.log_probs, targets.log_tail, ce_weight=(1 - a) * scale, weight=a * scale
        )
        cross_entropy = (log_z - hard).sum()
    elif targets is None:
        grad, log_z = _softmax_in_place(logits, (1 - a) * scale)
        cross_entropy, divergence = (log_z - hard).sum(), torch.zeros_like(scale)
    elif settings.temperature == 1.0:
        grad, log_z, divergence = _divergence_and_gradient(logits, targets, settings, scale, ce_weight=1 - a)
        cross_entropy = (log_z - hard).sum()
    else:
        tempered = logits / settings.temperature
        grad, _, divergence = _divergence_and_gradient(tempered, targets, settings, scale, ce_weight=0.0)
        softmax, log_z = _softmax_in_place(logits, (1 - a) * scale)
        cross_entropy = (log_z - hard).sum()
        grad += softmax
    if smoothing:
        grad.sub_((1 - a) * smoothing / logits.shape[1] * scale)
    onehot = (-(1 - a) * (1 - smoothing) * scale).expand(labels.shape[0], 1)
    grad.scatter_add_(1, labels[:, None], onehot)
    return grad, torch.stack([cross_entropy, divergence]) * scale


def _softmax_in_place(logits: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """``scale`` times the softmax, in the memory of ``logits`` [C, V], and the log-normaliser [C, 1].

    `torch.logsumexp` would allocate another [C, V] and pass over the logits once more.
    """
    peak = logits.amax(-1, keepdim=True)
    exponentials = logits.sub_(peak).exp_()
    total = exponentials.sum(-1, keepdim=True)
    return exponentials.mul_(scale / total), total.log() + peak


def _divergence_and_gradient(
    scores: Tensor, targets: SparseTargets, settings: LossSettings, scale: Tensor, *, ce_weight: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The divergence part at one temperature, with the softmax part of the cross-entropy folded in (at T = 1
    they share q).

    Args:
        scores: float [C, V], logits / T; overwritten by the gradient.
        ce_weight: Weight of softmax(z) from the cross-entropy, to be added where T = 1; else 0.

    Returns:
        Gradient [C, V] with respect to the logits, log-normaliser of ``scores`` [C, 1], T^2 times the
        divergence, summed.
    """
    temperature, a = settings.temperature, settings.kd_weight
    valid = targets.log_probs > LOG_FLOOR
    # padding repeats the row's first entry, with no mass: it must not point at a token outside the kept set
    ids = torch.where(valid, targets.ids, targets.ids[:, :1])
    peak = scores.amax(-1, keepdim=True)
    kept_scores = scores.gather(1, ids) - peak
    exponentials = scores.sub_(peak).exp_()
    # the tail is summed without the kept entries: 1 - sum(q) would cancel where the student is peaked
    exponentials.scatter_(1, ids, 0.0)
    tail = exponentials.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    log_mass = torch.cat([kept_scores.masked_fill(~valid, -torch.inf), tail.log()], -1)
    log_z = log_mass.logsumexp(-1, keepdim=True)

    log_q = (log_mass - log_z).clamp_min(LOG_FLOOR)
    log_p = torch.cat([targets.log_probs, targets.log_tail[:, None]], -1).clamp_min(LOG_FLOOR)
    value, slope = DIVERGENCES[settings.divergence](log_p, log_q)
    total_slope = slope.sum(-1, keepdim=True)
    q, q_tail = log_q[:, :-1].exp(), log_q[:, -1:].exp()

    kd_scale = a * temperature
    off_kept = ce_weight + kd_scale * (slope[:, -1:] / q_tail - total_slope)
    on_kept = ce_weight * q + kd_scale * (slope[:, :-1] - q * total_slope)
    grad = exponentials.mul_(off_kept * scale * (-log_z).exp())
    grad.scatter_add_(1, ids, on_kept * valid * scale)
    return grad, log_z + peak, temperature**2 * value.sum()
