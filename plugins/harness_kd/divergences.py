"""Divergences between teacher and student on the ghost-tail simplex, each with its derivative.

A teacher's cached label keeps K entries of the vocabulary and the mass of all others, the ghost tail. Both
distributions are compared on those K + 1 buckets, so that student mass outside the kept entries is punished
too. Renormalising the kept entries instead leaves it free: `benchmarks/soft_labels.py` measures the bias of
both.

Every function takes ``log_p`` (teacher) and ``log_q`` (student), float [N, K + 1], the last column the tail,
and returns

- value, float [N], nats;
- slope, float [N, K + 1]: d value / d log q with the buckets taken as independent. The chain rule through the
  softmax is the loss kernel's work; terms proportional to q vanish there and are left out here.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Divergence = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

LOG_FLOOR = -87.0
"""Natural logarithm, just above float32's smallest normal number, that stands for probability zero: 0 * log 0
stays 0."""


def forward_kl(log_p: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    """KL(p || q) = sum p (log p - log q). Zero exactly where p = q (Hinton et al. 2015, arXiv 1503.02531)."""
    p = log_p.exp()
    return (p * (log_p - log_q)).sum(-1), -p


def soft_cross_entropy(log_p: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    """H(p, q) = -sum p log q: the gradient of `forward_kl`, but its value includes the teacher's entropy
    (arXiv 2502.11306).
    """
    p = log_p.exp()
    return -(p * log_q).sum(-1), -p


def reverse_kl(log_p: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    """KL(q || p) = sum q (log q - log p): mode-seeking (Gu et al. 2024, MiniLLM, arXiv 2306.08543)."""
    slope = log_q.exp() * (log_q - log_p)
    return slope.sum(-1), slope


def jensen_shannon(log_p: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    """JSD(p, q) = KL(p || m) / 2 + KL(q || m) / 2 with m = (p + q) / 2; at most log 2 (Agarwal et al. 2024,
    arXiv 2306.13649).
    """
    p, q = log_p.exp(), log_q.exp()
    log_m = ((p + q) / 2).log()
    slope = q * (log_q - log_m) / 2
    return (p * (log_p - log_m)).sum(-1) / 2 + slope.sum(-1), slope


DIVERGENCES: dict[str, Divergence] = {
    "forward-kl": forward_kl,
    "soft-cross-entropy": soft_cross_entropy,
    "reverse-kl": reverse_kl,
    "jensen-shannon": jensen_shannon,
}
