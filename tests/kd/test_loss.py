"""The fused loss against dense autograd in double precision, and the identities that shipped losses broke."""

import math
from typing import Any

import pytest
import torch
from harness_kd.loss.divergences import DIVERGENCES
from harness_kd.loss.fused import LossSettings, SparseTargets, kd_weight_of, linear_loss
from torch.nn import functional as F  # noqa: N812

N, D, V, K = 37, 16, 300, 8


def bucket_divergence(name: str, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """The divergences as their textbook sums over buckets, left to autograd; p = 0 is allowed (0 log 0 = 0)."""
    m = (p + q) / 2
    return {
        "forward-kl": lambda: F.kl_div(q.log(), p, reduction="sum"),
        "soft-cross-entropy": lambda: -(p * q.log()).sum(),
        "reverse-kl": lambda: F.kl_div(p.log(), q, reduction="sum"),
        "jensen-shannon": lambda: (
            0.5 * (F.kl_div(m.log(), p, reduction="sum") + F.kl_div(m.log(), q, reduction="sum"))
        ),
    }[name]()


def divergence_of(name: str, p: torch.Tensor, q: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
    """Over tokens' buckets p and q [N, B], and the student's mass on padding [N, 1], where the teacher has none."""
    if not padding.any():
        return bucket_divergence(name, p, q)
    if name == "reverse-kl":  # infinite there: among the tokens, and the surprise of being a token
        return bucket_divergence(name, p, q / (1 - padding)) - (1 - padding).log().sum()
    return bucket_divergence(name, torch.cat([p, torch.zeros_like(padding)], -1), torch.cat([q, padding], -1))


def dense_loss(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    labels: torch.Tensor,
    targets: SparseTargets,
    settings: LossSettings,
    num_items: int,
) -> torch.Tensor:
    """The module's formula written densely: every logit at once, gradients by autograd."""
    logits = hidden @ weight.T + bias
    tokens = settings.vocabulary_size or logits.shape[1]
    log_s = logits.log_softmax(-1)
    smooth = settings.label_smoothing
    hard = (1 - smooth) * log_s.gather(1, labels[:, None]) + smooth * log_s[:, :tokens].mean(-1, keepdim=True)
    loss = -(1 - settings.kd_weight) * hard.sum()
    if settings.kd_weight:
        q = torch.softmax(logits / settings.temperature, -1)
        outside = torch.ones_like(q).scatter(1, targets.ids, 0.0)
        tail = (q * outside)[:, :tokens].sum(-1, keepdim=True)
        p = torch.cat([targets.log_probs, targets.log_tail[:, None]], -1).exp()
        divergence = divergence_of(
            settings.divergence,
            p,
            torch.cat([q.gather(1, targets.ids), tail], -1),
            q[:, tokens:].sum(-1, keepdim=True),
        )
        loss = loss + settings.kd_weight * settings.temperature**2 * divergence
    return loss / num_items


def problem(
    seed: int = 0,
    *,
    rows: int = N,
    temperature: float = 1.0,
    dtype: torch.dtype = torch.double,
    vocabulary: int = V,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, SparseTargets]:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, D, generator=generator, dtype=dtype).requires_grad_()
    weight = torch.randn(vocabulary, D, generator=generator, dtype=dtype).requires_grad_()
    bias = torch.randn(vocabulary, generator=generator, dtype=dtype).requires_grad_()
    labels = torch.randint(0, V, (rows,), generator=generator)
    teacher = 3 * torch.randn(rows, V, generator=generator, dtype=dtype)
    return hidden, weight, bias, labels, top_k(teacher / temperature, K)


def top_k(scores: torch.Tensor, k: int) -> SparseTargets:
    log_probs, ids = torch.log_softmax(scores, -1).topk(k, -1)
    outside = torch.ones_like(scores).scatter(1, ids, 0.0)
    return SparseTargets(ids=ids, log_probs=log_probs, log_tail=(scores.softmax(-1) * outside).sum(-1).log())


def gradients_of(loss: torch.Tensor, *inputs: Any) -> tuple[Any, ...]:
    return torch.autograd.grad(loss, inputs)


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("padding", [0, 20])
def test_value_and_gradients_equal_dense_autograd(
    divergence: str, temperature: float, smoothing: float, padding: int
) -> None:
    hidden, weight, bias, labels, targets = problem(temperature=temperature, vocabulary=V + padding)
    settings = LossSettings(
        kd_weight=0.3,
        temperature=temperature,
        divergence=divergence,
        label_smoothing=smoothing,
        vocabulary_size=V,
        chunk_rows=7,
    )
    expected = dense_loss(hidden, weight, bias, labels, targets, settings, 50)
    loss, _ = linear_loss(hidden, weight, labels, settings, num_items=50, targets=targets, bias=bias)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    actual, wanted = gradients_of(loss, hidden, weight, bias), gradients_of(expected, hidden, weight, bias)
    for gradient, reference in zip(actual, wanted, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_plain_cross_entropy_is_torchs(smoothing: float) -> None:
    hidden, weight, _, labels, _ = problem()
    loss, parts = linear_loss(hidden, weight, labels, LossSettings(label_smoothing=smoothing), num_items=N)
    expected = F.cross_entropy(hidden @ weight.T, labels, label_smoothing=smoothing)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(parts, torch.stack([expected.detach(), torch.zeros((), dtype=torch.double)]))


@pytest.mark.parametrize("divergence", ["forward-kl", "reverse-kl", "jensen-shannon"])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_student_equal_to_its_teacher_has_no_divergence_and_no_gradient(
    divergence: str, temperature: float
) -> None:
    hidden, weight, _, labels, _ = problem()
    targets = top_k((hidden @ weight.T).detach() / temperature, K)
    settings = LossSettings(kd_weight=1.0, temperature=temperature, divergence=divergence)
    loss, _ = linear_loss(hidden, weight, labels, settings, num_items=N, targets=targets)
    (gradient,) = gradients_of(loss, hidden)
    assert abs(loss.item()) < 1e-12
    assert gradient.abs().max() < 1e-12


def test_soft_cross_entropy_is_forward_kl_plus_the_teachers_entropy() -> None:
    hidden, weight, _, labels, targets = problem()
    losses = {
        name: linear_loss(
            hidden, weight, labels, LossSettings(kd_weight=1.0, divergence=name), num_items=1, targets=targets
        )[0]
        for name in ("forward-kl", "soft-cross-entropy")
    }
    log_p = torch.cat([targets.log_probs, targets.log_tail[:, None]], -1)
    entropy = -(log_p.exp() * log_p).sum()
    torch.testing.assert_close(losses["soft-cross-entropy"] - losses["forward-kl"], entropy)


def test_no_rows_give_a_finite_zero_with_zero_gradients() -> None:
    hidden, weight, bias, labels, targets = problem(rows=0)
    settings = LossSettings(kd_weight=0.5)
    loss, _ = linear_loss(hidden, weight, labels, settings, num_items=0, targets=targets, bias=bias)
    assert loss.item() == 0.0
    gradients = gradients_of(loss, hidden, weight, bias)
    assert all(torch.equal(gradient, torch.zeros_like(gradient)) for gradient in gradients)


def test_chunking_changes_nothing() -> None:
    hidden, weight, bias, labels, targets = problem()
    results = []
    for chunk_rows in (1, 5, N, None):
        settings = LossSettings(kd_weight=0.5, chunk_rows=chunk_rows)
        loss, _ = linear_loss(hidden, weight, labels, settings, num_items=N, targets=targets, bias=bias)
        results.append((loss, *gradients_of(loss, hidden, weight, bias)))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-12, atol=1e-14)


def test_micro_batches_add_up_to_the_whole_batch() -> None:
    hidden, weight, _, labels, targets = problem()
    settings = LossSettings(kd_weight=0.5)
    whole, _ = linear_loss(hidden, weight, labels, settings, num_items=N, targets=targets)
    total, gradient = torch.zeros((), dtype=torch.double), torch.zeros_like(weight)
    for rows in torch.arange(N).split([1, 20, 16]):
        part_targets = SparseTargets(
            ids=targets.ids[rows], log_probs=targets.log_probs[rows], log_tail=targets.log_tail[rows]
        )
        part, _ = linear_loss(hidden[rows], weight, labels[rows], settings, num_items=N, targets=part_targets)
        gradient += gradients_of(part, weight)[0]
        total += part.detach()
    torch.testing.assert_close(total, whole.detach())
    torch.testing.assert_close(gradient, gradients_of(whole, weight)[0])


def test_rows_with_fewer_entries_may_be_padded() -> None:
    hidden, weight, _, labels, _ = problem()
    narrow = top_k(torch.log_softmax(3 * torch.randn(N, V, dtype=torch.double), -1), 3)
    padded = SparseTargets(
        ids=F.pad(narrow.ids, (0, 5), value=V - 1),
        log_probs=F.pad(narrow.log_probs, (0, 5), value=-math.inf),
        log_tail=narrow.log_tail,
    )
    settings = LossSettings(kd_weight=0.7)
    exact, _ = linear_loss(hidden, weight, labels, settings, num_items=N, targets=narrow)
    loss, _ = linear_loss(hidden, weight, labels, settings, num_items=N, targets=padded)
    torch.testing.assert_close(loss, exact)
    torch.testing.assert_close(gradients_of(loss, weight), gradients_of(exact, weight))


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_keeping_the_whole_vocabulary_is_the_dense_divergence(divergence: str) -> None:
    hidden, weight, _, labels, _ = problem()
    teacher = torch.log_softmax(3 * torch.randn(N, V, dtype=torch.double), -1)
    targets = SparseTargets(
        ids=torch.arange(V).expand(N, V),
        log_probs=teacher,
        log_tail=torch.full((N,), -math.inf, dtype=torch.double),
    )
    settings = LossSettings(kd_weight=1.0, divergence=divergence)
    loss, _ = linear_loss(hidden, weight, labels, settings, num_items=1, targets=targets)
    expected = bucket_divergence(divergence, teacher.exp(), torch.softmax(hidden @ weight.T, -1))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients_of(loss, hidden), gradients_of(expected, hidden))


@pytest.mark.parametrize("sharpness", [1.0, 60.0])
def test_a_peaked_student_keeps_finite_accurate_gradients_in_single_precision(sharpness: float) -> None:
    double = problem(seed=3)
    hidden, weight, _, labels, targets = double
    hidden = (hidden.detach() * sharpness).requires_grad_()
    settings = LossSettings(kd_weight=0.5)
    exact, _ = linear_loss(hidden, weight, labels, settings, num_items=N, targets=targets)
    single = linear_loss(
        hidden.float(),
        weight.float(),
        labels,
        settings,
        num_items=N,
        targets=SparseTargets(
            ids=targets.ids, log_probs=targets.log_probs.float(), log_tail=targets.log_tail.float()
        ),
    )[0]
    assert math.isfinite(single.item())
    wanted, actual = gradients_of(exact, hidden)[0], gradients_of(single, hidden)[0]
    assert torch.isfinite(actual).all()
    # a student tail below float32's range is floored, which can only shorten its own gradient
    assert (actual - wanted).norm() / wanted.norm() < (1e-5 if sharpness == 1.0 else 0.05)


def test_bfloat16_autocast_keeps_float32_gradients_close() -> None:
    hidden, weight, _, labels, targets = problem(dtype=torch.float32)
    settings = LossSettings(kd_weight=0.5)
    exact, _ = linear_loss(hidden, weight, labels, settings, num_items=N, targets=targets)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = linear_loss(hidden, weight, labels, settings, num_items=N, targets=targets)
    assert loss.dtype == torch.float32
    wanted, actual = gradients_of(exact, weight)[0], gradients_of(loss, weight)[0]
    assert actual.dtype == torch.float32
    assert ((actual - wanted).norm() / wanted.norm()).item() < 0.02


def test_a_scaled_loss_scales_its_gradients() -> None:
    hidden, weight, _, labels, targets = problem()
    settings = LossSettings(kd_weight=0.5)
    gradient = gradients_of(
        linear_loss(hidden, weight, labels, settings, num_items=N, targets=targets)[0], weight
    )[0]
    tripled = 3 * linear_loss(hidden, weight, labels, settings, num_items=N, targets=targets)[0]
    torch.testing.assert_close(gradients_of(tripled, weight)[0], 3 * gradient)


def test_distillation_without_targets_is_refused() -> None:
    hidden, weight, _, labels, _ = problem()
    with pytest.raises(ValueError, match="targets"):
        linear_loss(hidden, weight, labels, LossSettings(kd_weight=0.5), num_items=N)


def test_a_graph_cannot_be_backpropagated_twice() -> None:
    hidden, weight, _, labels, _ = problem()
    loss, _ = linear_loss(hidden, weight, labels, LossSettings(), num_items=N)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="twice"):
        loss.backward()


@pytest.mark.parametrize(("ratio", "weight"), [(0.0, 0.0), (0.1, 0.0909), (1.0, 0.5), (10.0, 0.909)])
def test_the_papers_ratios(ratio: float, weight: float) -> None:
    assert kd_weight_of(ratio) == pytest.approx(weight, abs=1e-4)
