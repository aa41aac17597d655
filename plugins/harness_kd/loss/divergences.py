"""Divergences between teacher and student on the ghost-tail simplex, each with its derivative.

A teacher's cached label keeps K entries of the vocabulary and the mass of all others, the ghost tail. Both
distributions are compared on those K + 1 buckets, so that student mass outside the kept entries is punished
too. Renormalising the kept entries instead leaves it free: `benchmarks/soft_labels.py` measures the bias of
both.

A head may have rows beyond the tokenizer's vocabulary, its padding. The student's softmax is over all rows,
since it is at inference; the teacher gives the padding nothing. The tail holds tokens alone, and the padding is
a bucket of its own with p = 0.

Every function takes ``log_p`` (teacher) and ``log_q`` (student), float [N, K + 1], the last column the tail,
and ``beyond``, float [N], the student's mass on the padding, which q then lacks; None for a head without any.
It returns

- value, float [N], nats;
- slope, float [N, K + 1]: d value / d log q with the buckets taken as independent. The chain rule through the
  softmax is the loss kernel's work; a multiple of q vanishes there, so one is left out, or added to all
  buckets, such that the padding's slope is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor

Divergence = Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]

LOG_FLOOR = -87.0
"""Natural logarithm, just above float32's smallest normal number, that stands for probability zero: 0 * log 0
stays 0."""


def forward_kl(log_p: Tensor, log_q: Tensor, _beyond: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """KL(p || q) = sum p (log p - log q). Zero exactly where p = q (Hinton et al. 2015, arXiv 1503.02531)."""
    p = log_p.exp()
    return (p * (log_p - log_q)).sum(-1), -p


def soft_cross_entropy(log_p: Tensor, log_q: Tensor, _beyond: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """H(p, q) = -sum p log q: the gradient of `forward_kl`, but its value includes the teacher's entropy
    (arXiv 2502.11306).
    """
    p = log_p.exp()
    return -(p * log_q).sum(-1), -p


def reverse_kl(log_p: Tensor, log_q: Tensor, beyond: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """KL(q || p) = sum q (log q - log p): mode-seeking (Gu et al. 2024, MiniLLM, arXiv 2306.08543).

    On padding, where p = 0, it would be infinite. By the chain rule it is KL(r || p), r the student's
    distribution among the tokens, and the divergence of "a token or padding"; the latter's direction is turned,
    which gives KL(r || p) - log(1 - beyond): finite, zero exactly where q = p, and with the gradient of a
    cross-entropy on the padding. `forward_kl` is the same sum with KL(p || r).
    """
    if beyond is None:
        slope = log_q.exp() * (log_q - log_p)
        return slope.sum(-1), slope
    log_tokens = log_q.logsumexp(-1, keepdim=True)
    log_r = log_q - log_tokens
    r, excess = log_r.exp(), log_r - log_p
    inner = (r * excess).sum(-1, keepdim=True)
    return (inner - log_tokens).squeeze(-1), r * (excess - inner - 1)


def jensen_shannon(log_p: Tensor, log_q: Tensor, beyond: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """JSD(p, q) = KL(p || m) / 2 + KL(q || m) / 2 with m = (p + q) / 2; at most log 2 (Agarwal et al. 2024,
    arXiv 2306.13649).
    """
    p, q = log_p.exp(), log_q.exp()
    log_m = ((p + q) / 2).log()
    slope = q * (log_q - log_m) / 2
    value = (p * (log_p - log_m)).sum(-1) / 2 + slope.sum(-1)
    if beyond is None:
        return value, slope
    of_padding = math.log(2) / 2  # m = q / 2 there
    return value + of_padding * beyond, slope - of_padding * q


DIVERGENCES: dict[str, Divergence] = {
    "forward-kl": forward_kl,
    "soft-cross-entropy": soft_cross_entropy,
    "reverse-kl": reverse_kl,
    "jensen-shannon": jensen_shannon,
}
