"""Universal logit distillation, the loss for teachers with another vocabulary.

The distance is sum_i |q_(i) - p_(i)| over ranks i: no token of one vocabulary need mean one of the other. Beyond the teacher's kept
entries p counts as 0. There q_(i) exceeds it, so the student's top K are all that must be sorted:

    d/dz_j = q_j (s_j - sum_i s_i q_i),   s_i = sign(q_(i) - p_(i)), 1 beyond K.

q is the student's softmax over all rows of its head, but tokens alone have ranks. Rows beyond its tokenizer are compared with the
0 that the teacher gives them: s_i = 1. Ranked too, they could stand for the teacher's tokens.

Source: Boizard et al. 2024, arXiv 2402.12030, equation 3.
"""

from __future__ import annotations

import torch
from torch import Tensor

ULD = "uld"


def uld_gradient(
    q: Tensor, log_probs: Tensor, log_tail: Tensor, *, tokens: int, ce_weight: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradient with respect to the logits, and the distance.

    Args:
        q: float [C, V], the student's softmax over all rows of its head; overwritten by the gradient.
        log_probs: float [C, K], the teacher's, descending; -inf pads.
        log_tail: float [C]; +inf marks a row without a teacher's token, which takes part with its cross-entropy alone.
        tokens: Columns of ``q``, from the first, that are tokens.
        ce_weight: Of softmax(z) from the cross-entropy, to be added.
        weight: Of the distance.

    Returns:
        Gradient [C, V], and the distances summed.
    """
    p = log_probs.exp()
    top, ids = _top_tokens(q, min(p.shape[1], tokens), tokens)
    beyond = p[:, top.shape[1] :].sum(-1, keepdim=True)  # ranks that the student's vocabulary does not have
    p = p[:, : top.shape[1]]
    present = (log_tail < torch.inf)[:, None]
    outside = 1 - top.sum(-1, keepdim=True)
    distance = (top - p).abs().sum(-1, keepdim=True) + outside + beyond
    slope = (top - p).sign()
    mean = (slope * top).sum(-1, keepdim=True) + outside
    scale = weight * present
    on_kept = top * (ce_weight + scale * (slope - mean))
    grad = q.mul_(ce_weight + scale * (1 - mean)).scatter_(1, ids, on_kept)
    return grad, (distance * present).sum()


def _top_tokens(q: Tensor, k: int, tokens: int) -> tuple[Tensor, Tensor]:
    """The k largest of the first columns of ``q`` [C, V], descending, and their columns."""
    padding = q[:, tokens:].clone()
    q[:, tokens:] = -1.0  # a top K of a part of the columns would copy them on some devices
    values, ids = q.topk(k, -1)
    q[:, tokens:] = padding
    return values, ids
