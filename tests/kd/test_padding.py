"""Rows of a head beyond the tokenizer's tokens: in the student's softmax as at inference, in no label, held down by training."""

import math

import pytest
import torch
from harness_kd.loss.divergences import DIVERGENCES
from harness_kd.loss.fused import LossSettings, SparseTargets, kd_weight_of, linear_loss
from harness_kd.loss.uld import ULD
from torch.nn import functional as F  # noqa: N812

from tests.kd.conftest import known

N, D, V, PADDING, K = 29, 12, 50, 7, 6
ALL = [*DIVERGENCES, ULD]


def problem(
    *, lift: float = 0.0, flat: float = 1.0, dtype: torch.dtype = torch.double
) -> tuple[torch.Tensor, ...]:
    """Hidden states, weight, bias with ``lift`` on padding rows, labels, and the teacher's log-probabilities [N, V]."""
    draw = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, D, generator=draw, dtype=dtype) / 2 for n in (N, V + PADDING))
    bias = torch.randn(V + PADDING, generator=draw, dtype=dtype)
    bias[V:] += lift
    labels = torch.randint(0, V, (N,), generator=draw)
    teacher = (flat * torch.randn(N, V, generator=draw, dtype=dtype)).log_softmax(-1)
    return hidden.requires_grad_(), weight.requires_grad_(), bias.requires_grad_(), labels, teacher


def sparse(teacher: torch.Tensor, k: int = V) -> SparseTargets:
    """The k likeliest tokens and the rest as a tail."""
    order, ids = teacher.sort(-1, descending=True)
    tail = order[:, k:].exp().sum(-1).log() if k < V else torch.full((len(teacher),), -torch.inf)
    return SparseTargets(ids=ids[:, :k], log_probs=order[:, :k], log_tail=tail.to(teacher))


def over_all_rows(name: str, logits: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    """A divergence from p [N, V + PADDING], zero on padding, to the softmax of logits, row by row."""
    log_q = logits.log_softmax(-1)
    q, m = log_q.exp(), (p + log_q.exp()) / 2
    if name == "forward-kl":
        return F.kl_div(log_q, p, reduction="sum")
    if name == "soft-cross-entropy":
        return F.cross_entropy(logits, p, reduction="sum")
    if name == "jensen-shannon":
        return (F.kl_div(m.log(), p, reduction="sum") + F.kl_div(m.log(), q, reduction="sum")) / 2
    # infinite: so among the tokens, and the cross-entropy of being one
    among = F.kl_div(p[:, :V].log(), logits[:, :V].softmax(-1), reduction="sum")
    return among - q[:, :V].sum(-1).log().sum()


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("chunk", [None, 4])
def test_a_label_of_every_token_is_compared_over_all_rows(
    divergence: str, temperature: float, chunk: int | None
) -> None:
    hidden, weight, bias, labels, teacher = problem(lift=1.0)
    settings = LossSettings(
        kd_weight=0.6, temperature=temperature, divergence=divergence, vocabulary_size=V, chunk_rows=chunk
    )
    ours, _ = linear_loss(hidden, weight, labels, settings, num_items=N, targets=sparse(teacher), bias=bias)
    logits = hidden @ weight.T + bias
    hard = F.cross_entropy(logits, labels, reduction="sum")
    soft = over_all_rows(divergence, logits / temperature, F.pad(teacher.exp(), (0, PADDING)))
    expected = (0.4 * hard + 0.6 * temperature**2 * soft) / N
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=0)
    given = (hidden, weight, bias)
    for found, wanted in zip(
        torch.autograd.grad(ours, given), torch.autograd.grad(expected, given), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("divergence", ALL)
@pytest.mark.parametrize("kept", [K, V])
def test_padding_without_mass_changes_nothing(divergence: str, kept: int) -> None:
    hidden, weight, bias, labels, teacher = problem(lift=-1e4)
    settings = LossSettings(kd_weight=0.6, divergence=divergence, vocabulary_size=V, label_smoothing=0.1)
    found = []
    for rows in (V, V + PADDING):
        h, w, b = (x.detach().clone().requires_grad_() for x in (hidden, weight[:rows], bias[:rows]))
        loss, _ = linear_loss(h, w, labels, settings, num_items=N, targets=sparse(teacher, kept), bias=b)
        loss.backward()
        found.append([loss.detach(), known(h.grad), known(w.grad)[:V], known(b.grad)[:V]])
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("divergence", [name for name in ALL if name != "soft-cross-entropy"])
def test_a_student_that_lost_mass_to_padding_alone_pays_for_that_mass(divergence: str) -> None:
    """Logits are the teacher's own on tokens, so that q = (1 - m) p there: each distance is a function of m."""
    _, _, _, labels, teacher = problem()
    m = 0.3
    of_padding = torch.full((N, PADDING), math.log(m / (1 - m) / PADDING), dtype=torch.double)
    logits = torch.cat([teacher, of_padding], -1)
    settings = LossSettings(kd_weight=1.0, divergence=divergence, vocabulary_size=V)
    unit = torch.eye(V + PADDING).double()
    value = linear_loss(logits, unit, labels, settings, num_items=N, targets=sparse(teacher))[0].item()
    half = 1 - m / 2
    assert value == pytest.approx(
        {
            "forward-kl": -math.log(1 - m),
            "reverse-kl": -math.log(1 - m),
            "jensen-shannon": (-math.log(half) + (1 - m) * math.log((1 - m) / half) + m * math.log(2)) / 2,
            "uld": 2 * m,
        }[divergence],
        rel=1e-9,
    )


@pytest.mark.parametrize("divergence", ALL)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize(
    "flat", [0.1, 3.0]
)  # a teacher whose tail is wider than the student's, and a sure one
@pytest.mark.parametrize("kept", [K, V])
def test_the_teacher_alone_pushes_every_padding_row_down(
    divergence: str, temperature: float, flat: float, kept: int
) -> None:
    hidden, weight, bias, labels, teacher = problem(lift=2.0, flat=flat)
    settings = LossSettings(kd_weight=1.0, temperature=temperature, divergence=divergence, vocabulary_size=V)
    targets = sparse((teacher / temperature).log_softmax(-1), kept)
    loss, _ = linear_loss(hidden, weight, labels, settings, num_items=N, targets=targets, bias=bias)
    (gradient,) = torch.autograd.grad(loss, bias)
    mass = (hidden @ weight.T + bias).softmax(-1).mean(0)
    assert (gradient[V:] > 0.01 * mass[V:]).all()


@pytest.mark.parametrize("divergence", ALL)
@pytest.mark.parametrize("temperature", [1.0, 16.0])
def test_padding_far_above_all_tokens_gives_finite_gradients_in_single_precision(
    divergence: str, temperature: float
) -> None:
    hidden, weight, bias, labels, teacher = problem(lift=2000.0, dtype=torch.float32)
    settings = LossSettings(kd_weight=0.5, temperature=temperature, divergence=divergence, vocabulary_size=V)
    targets = sparse((teacher / temperature).log_softmax(-1), K)
    loss, _ = linear_loss(hidden, weight, labels, settings, num_items=N, targets=targets, bias=bias)
    gradients = torch.autograd.grad(loss, (hidden, weight, bias))
    assert math.isfinite(loss.item())
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert (gradients[2][V:] > 0).all()


def test_smoothing_gives_padding_nothing() -> None:
    hidden, weight, bias, labels, _ = problem(lift=1.0)
    settings = LossSettings(label_smoothing=0.2, vocabulary_size=V)
    ours, _ = linear_loss(hidden, weight, labels, settings, num_items=N, bias=bias)
    label = 0.8 * F.one_hot(labels, V + PADDING).double()
    label[:, :V] += 0.2 / V
    expected = F.cross_entropy(hidden @ weight.T + bias, label)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=0)
    for found, wanted in zip(
        torch.autograd.grad(ours, (weight, bias)), torch.autograd.grad(expected, (weight, bias)), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-13)


def test_a_ratio_without_bound_is_the_teacher_alone() -> None:
    assert kd_weight_of(math.inf) == 1.0
    assert kd_weight_of(1e6) == pytest.approx(1.0, abs=1e-5)
