"""Labels that are drawn: right on average, the same whenever they are drawn again, and used by the trainer as they are."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from harness_kd.data.examples import Example
from harness_kd.loss.fused import LossSettings, SparseTargets, linear_loss
from harness_kd.plan import TrainPlan
from harness_kd.soft_labels.cache import SoftLabelCache
from harness_kd.soft_labels.capture import capture, label_rows
from harness_kd.soft_labels.manifest import Manifest
from torch import nn

from harness.cli import main
from harness.errors import HarnessError
from harness.models.source import ModelSource
from tests.kd.conftest import known
from tests.kd.test_soft_labels import manifest_of

TRIALS, VOCABULARY = 3000, 40


def drawn_targets(
    logits: torch.Tensor, manifest: Manifest
) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """One drawn target for each row of logits [N, V], dense."""
    uniform = torch.rand(len(logits), manifest.tail_draws, dtype=torch.float64)
    ids, log_probs, keep, log_tail, _ = label_rows(logits, nn.Identity(), manifest, uniform)
    assert torch.isinf(log_tail).all()
    dense = torch.zeros(logits.shape, dtype=torch.float64)
    dense.scatter_add_(1, ids, log_probs.double().exp() * keep)
    return dense, (ids, log_probs, keep)


@pytest.mark.parametrize(("top_k", "draws"), [(0, 6), (0, 1), (5, 3), (5, 50)])
def test_the_mean_label_is_the_whole_distribution(source: ModelSource, top_k: int, draws: int) -> None:
    torch.manual_seed(0)
    manifest = manifest_of(
        source, vocabulary_size=VOCABULARY, temperatures=(1.0,), top_k=top_k, tail_draws=draws
    )
    logits = 2 * torch.randn(VOCABULARY)
    p = logits.double().softmax(-1)
    dense, _ = drawn_targets(logits.expand(TRIALS, -1).contiguous(), manifest)
    torch.testing.assert_close(dense.sum(-1), torch.ones(TRIALS, dtype=torch.float64), rtol=0, atol=1e-5)
    error = dense.mean(0) - p
    bound = (
        5 * (p / TRIALS).sqrt() + 3 / TRIALS
    )  # at least that of independent draws, also of tokens too rare to be drawn
    assert (error.abs() < bound).all()
    top = p.topk(max(top_k, 1)).indices
    if top_k:  # kept entries are exact in every draw
        assert (dense[:, top] - p[top]).abs().max() < 1e-6


@pytest.mark.parametrize("padding", [0, 9])
def test_the_mean_gradient_is_the_whole_distributions(source: ModelSource, padding: int) -> None:
    """Through the fused loss, against softmaxes over all rows of the head; with a ghost tail instead it is not."""
    torch.manual_seed(1)
    width, settings = 8, LossSettings(kd_weight=1.0, vocabulary_size=VOCABULARY)
    manifest = manifest_of(source, vocabulary_size=VOCABULARY, temperatures=(1.0,), top_k=4, tail_draws=4)
    logits, weight = 2 * torch.randn(VOCABULARY), torch.randn(VOCABULARY + padding, width)
    hidden = torch.randn(1, width)

    def gradient(rows: int, targets: SparseTargets) -> torch.Tensor:
        states = hidden.expand(rows, -1).contiguous().requires_grad_()
        labels = torch.zeros(rows, dtype=torch.long)
        linear_loss(states, weight, labels, settings, num_items=1, targets=targets)[0].backward()
        return known(states.grad).double()

    log_p = logits.log_softmax(-1)[None]
    none = torch.full((1,), -torch.inf)
    p = nn.functional.pad(log_p.exp(), (0, padding))
    exact = (((hidden @ weight.T).softmax(-1) - p) @ weight)[0].double()
    _, (ids, log_probs, keep) = drawn_targets(logits.expand(TRIALS, -1).contiguous(), manifest)
    masked = log_probs.masked_fill(~keep, -torch.inf)
    found = gradient(TRIALS, SparseTargets(ids=ids, log_probs=masked, log_tail=none.expand(TRIALS)))
    bound = 5 * found.std(0) / math.sqrt(TRIALS)
    assert ((found.mean(0) - exact).abs() < bound).all()
    kept, top = log_p.topk(4)
    ghost = SparseTargets(ids=top, log_probs=kept, log_tail=torch.log1p(-kept.exp().sum(-1)))
    assert ((gradient(1, ghost)[0] - exact).abs() > bound).any()


def test_drawing_again_draws_the_same(
    source: ModelSource, examples: tuple[Example, ...], tmp_path: Path
) -> None:
    manifest = manifest_of(source, temperatures=(1.0,), top_k=2, tail_draws=5)
    capture(source.model, examples, tmp_path / "a", manifest)
    capture(source.model, examples[:3], tmp_path / "b", manifest)
    capture(source.model, examples[::-1], tmp_path / "b", manifest)
    first, second = (SoftLabelCache(tmp_path / name, manifest) for name in ("a", "b"))
    for example in examples:
        one, other = first.get(example.key), second.get(example.key)
        assert one.full_ids().tolist() == other.full_ids().tolist()
        assert (one.entries_per_token() <= 7).all()
    with pytest.raises(HarnessError, match="tail draws is 5, this run needs none"):
        capture(source.model, examples, tmp_path / "a", manifest_of(source, temperatures=(1.0,), top_k=2))


def test_the_trainer_uses_them(tmp_path: Path, student: str, teacher: str, data_file: str) -> None:
    words = ["train-kd", "--student", student, "--teacher", teacher, "--data", str(data_file), "--kd-ratio", "1",
             "--epochs", "1", "--batch-size", "4", "--max-length", "64", "--max-prompt-length", "32",
             "--output", str(tmp_path / "x")]  # fmt: skip
    assert main([*words, "--top-k", "0", "--tail-draws", "12"]) == 0
    assert (tmp_path / "x" / "model.safetensors").exists()


@pytest.mark.parametrize("change", [{"temperature": 2.0}, {"divergence": "reverse-kl"}])
def test_where_they_would_be_biased_they_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(HarnessError, match="would be biased"):
        TrainPlan(student="s", teacher="t", data="d", output="o", kd_ratio=1.0, tail_draws=4, **change)
