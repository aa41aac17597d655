"""One chunk of logits turned into its loss and, in place, into the gradient: the kernel of `harness_kd.loss.fused`.

Shapes: C rows of the chunk, V rows of the head, of which the first are tokens and the rest padding, K kept teacher entries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness_kd.loss.divergences import DIVERGENCES, LOG_FLOOR
from harness_kd.loss.uld import ULD, uld_gradient

if TYPE_CHECKING:
    from harness_kd.loss.fused import LossSettings, SparseTargets

_STEEPEST = 1e36
"""Bound on slopes per unit of the student's tail, so that no factor of a tail below float32's range overflows."""


def loss_and_gradient(
    logits: Tensor, labels: Tensor, targets: SparseTargets | None, settings: LossSettings, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Scaled loss parts and d loss / d logits of one chunk; ``logits`` [C, V] is overwritten."""
    smoothing, a = settings.label_smoothing, settings.kd_weight
    tokens = _tokens(logits, settings)
    hard = logits.gather(1, labels[:, None])
    if smoothing:
        hard = (1 - smoothing) * hard + smoothing * logits[:, :tokens].mean(-1, keepdim=True)
    if targets is not None and settings.divergence == ULD:
        q, log_z = _softmax_in_place(logits, torch.ones_like(scale))
        grad, divergence = uld_gradient(
            q,
            targets.log_probs,
            targets.log_tail,
            tokens=tokens,
            ce_weight=(1 - a) * scale,
            weight=a * scale,
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
        grad[:, :tokens].sub_((1 - a) * smoothing / tokens * scale)
    onehot = (-(1 - a) * (1 - smoothing) * scale).expand(labels.shape[0], 1)
    grad.scatter_add_(1, labels[:, None], onehot)
    return grad, torch.stack([cross_entropy, divergence]) * scale


def _tokens(logits: Tensor, settings: LossSettings) -> int:
    """How many of the columns of ``logits`` [C, V], from the first, are tokens."""
    return min(settings.vocabulary_size or logits.shape[1], logits.shape[1])


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
    temperature, a, tokens = settings.temperature, settings.kd_weight, _tokens(scores, settings)
    padded = tokens < scores.shape[1]
    valid = targets.log_probs > LOG_FLOOR
    # entries that only fill up a row repeat its first, with no mass: they must not point at a token outside the kept set
    ids = torch.where(valid, targets.ids, targets.ids[:, :1])
    peak = scores.amax(-1, keepdim=True)
    kept_scores = scores.gather(1, ids) - peak
    exponentials = scores.sub_(peak).exp_()
    # the tail is summed without the kept entries: 1 - sum(q) would cancel where the student is peaked
    exponentials.scatter_(1, ids, 0.0)
    of_tokens, of_padding = exponentials[:, :tokens], exponentials[:, tokens:]
    tail = of_tokens.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    log_mass = torch.cat([kept_scores.masked_fill(~valid, -torch.inf), tail.log()], -1)
    beyond = of_padding.sum(-1, keepdim=True).log() if padded else log_mass[:, :0]
    log_z = torch.cat([log_mass, beyond], -1).logsumexp(-1, keepdim=True)

    log_q = (log_mass - log_z).clamp_min(LOG_FLOOR)
    log_p = torch.cat([targets.log_probs, targets.log_tail[:, None]], -1).clamp_min(LOG_FLOOR)
    lost = (beyond - log_z).exp().squeeze(1) if padded else None
    value, slope = DIVERGENCES[settings.divergence](log_p, log_q, lost)
    total_slope = slope.sum(-1, keepdim=True)
    q, q_tail = log_q[:, :-1].exp(), log_q[:, -1:].exp()

    kd_scale = a * temperature
    steepness = (slope[:, -1:] / q_tail).clamp(-_STEEPEST, _STEEPEST)
    off_kept = ce_weight + kd_scale * (steepness - total_slope)
    on_kept = ce_weight * q + kd_scale * (slope[:, :-1] - q * total_slope)
    of_tokens.mul_(off_kept * scale * (-log_z).exp())
    of_padding.mul_((ce_weight - kd_scale * total_slope) * scale * (-log_z).exp())
    grad = exponentials.scatter_add_(1, ids, on_kept * valid * scale)
    return grad, log_z + peak, temperature**2 * value.sum()
