"""Output head, cross-entropy and distillation from sparse labels in one pass, without [tokens, vocabulary].

Shapes: N response tokens, D hidden width, V rows of the head, K kept teacher entries, C rows of one chunk.

For one response token with logits z = W h + b, hard label y, and the teacher's kept probabilities p on a set
S of K tokens with tail mass t = 1 - sum p, all at temperature T:

    loss   = (1 - a) CE(z, y) + a T^2 D((p, t) || (q_S, q_tail)),   q = softmax(z / T),   q_tail = 1 - sum_S q
    d/dz_j = (1 - a) (softmax(z)_j - [j = y])
             + a T ([j in S] g_j + [j not in S] g_tail q_j / q_tail - q_j sum g)

where g is the divergence's slope with respect to log q (`harness_kd.loss.divergences`). For the forward KL g =
-(p, t), and the last bracket is q_j - p_j on S and q_j (1 - t / q_tail) off it. Losses are summed over tokens
and divided by ``num_items``.

The softmax is over all rows of the head, as at inference. Many heads have more of them than the tokenizer has
tokens (Qwen2.5: 151,936 rows, 151,665 tokens). Such padding is nobody's label: hard labels, smoothing, kept
entries and the tail are tokens, so each term of the loss pushes it down,

    d/dz_j = (1 - a) softmax(z)_j - a T q_j sum g        for padding j, with g_tail and q_tail of tokens alone.

Left out of the softmax, it would keep whatever logits it has, and at inference take the mass from the tokens.

The forward pass goes over chunks of rows, turns each chunk's logits into their gradient in place, and
multiplies that into the gradients of hidden states and weights at once. The peak is one or two [C, V]
buffers, and no logits are computed twice.

Source: the one-pass scheme is Liger-Kernel's fused linear cross-entropy (Hsu et al. 2024, arXiv 2410.10989,
section 3.2), extended here by sparse labels with a ghost tail.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness_kd.loss.logit_gradient import loss_and_gradient

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
    """A key of `harness_kd.loss.divergences.DIVERGENCES`, or `harness_kd.loss.uld.ULD`."""
    label_smoothing: float = 0.0
    """e in [0, 1): the hard label becomes (1 - e) onehot + e / V (Szegedy et al. 2016, arXiv 1512.00567,
    section 7), V the tokens."""
    vocabulary_size: int | None = None
    """Rows of the head that are the tokenizer's; those beyond are padding, in the softmax and in nobody's label. None: all
    are."""
    chunk_rows: int | None = None
    """Rows per chunk; None: as many as keep a chunk within `CHUNK_ELEMENTS`. The result does not depend on
    it."""


@dataclass(frozen=True, kw_only=True)
class SparseTargets:
    """The teacher's labels for N tokens, already at the loss's temperature."""

    ids: Tensor
    """int64 [N, K], kept tokens, each at most once per row."""
    log_probs: Tensor
    """float [N, K], nats, log-probabilities of the softmax over all tokens; -inf pads rows that keep fewer than K
    entries, never all of a row."""
    log_tail: Tensor
    """float [N], nats, log of the mass outside the kept entries; -inf for none."""


def rows_per_chunk(vocabulary: int) -> int:
    """Rows whose logits are computed at once: as many as stay within `CHUNK_ELEMENTS`, at least 64."""
    return max(64, CHUNK_ELEMENTS // vocabulary)


def kd_weight_of(kd_ratio: float) -> float:
    """The paper's ratio of distillation to hard labels as a share: a = kd_ratio / (1 + kd_ratio) (arXiv
    2502.11306); 1 at infinity.
    """
    return 1.0 if math.isinf(kd_ratio) else kd_ratio / (1.0 + kd_ratio)


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
        used_weight = weight.to(product_dtype)
        used_bias = None if bias is None else bias.to(exact)
        scale = 1.0 / num_items.to(exact)

        grad_hidden = torch.zeros_like(hidden) if needs_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=exact) if needs_weight else None
        grad_bias = torch.zeros_like(bias, dtype=exact) if bias is not None and needs_bias else None
        parts = torch.zeros(2, dtype=exact, device=hidden.device)

        chunk_rows = settings.chunk_rows or rows_per_chunk(weight.shape[0])
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
                grad, chunk_parts = loss_and_gradient(logits, labels[rows], targets, settings, scale)
                parts += chunk_parts
                factor = grad.to(product_dtype)
                if grad_hidden is not None:
                    grad_hidden[rows] = factor @ used_weight
                if grad_weight is not None:
                    _add_product(grad_weight, factor.T, states)
                if grad_bias is not None:
                    grad_bias += grad.sum(0)
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
