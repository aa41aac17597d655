"""Universal logit distillation against its formula by dense autograd, and with a teacher of another tokenizer."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from harness_kd.loss.fused import LossSettings, SparseTargets, kd_weight_of, linear_loss
from harness_kd.loss.uld import ULD
from harness_kd.soft_labels.labels import pack
from harness_kd.soft_labels.ranked import ranked
from safetensors.torch import load_file
from torch.nn import functional as F  # noqa: N812
from transformers import PreTrainedTokenizerFast

from harness.cli import main

N, D, V, TEACHER_V = 23, 8, 60, 90


def dense(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    labels: torch.Tensor,
    teacher: torch.Tensor,
    present: torch.Tensor,
    a: float,
) -> torch.Tensor:
    """Equation 3 of arXiv 2402.12030 with sorting, padded by zeros to the larger vocabulary; rows beyond V against 0."""
    q, padding = torch.softmax(hidden @ weight.T, -1).split([V, len(weight) - V], -1)
    width = max(q.shape[1], teacher.shape[1])
    q, p = (F.pad(x, (0, width - x.shape[1])).sort(-1, descending=True).values for x in (q, teacher))
    distance = ((q - p).abs().sum(-1) + padding.sum(-1))[present].sum()
    return ((1 - a) * F.cross_entropy(hidden @ weight.T, labels, reduction="sum") + a * distance) / N


@pytest.mark.parametrize("kept", [5, 40, TEACHER_V])
@pytest.mark.parametrize("chunk", [None, 7])
@pytest.mark.parametrize("padding", [0, 11])
def test_value_and_gradient_equal_the_sorted_formula(kept: int, chunk: int | None, padding: int) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(N, D, dtype=torch.double, requires_grad=True)
    weight = torch.randn(V + padding, D, dtype=torch.double, requires_grad=True)
    labels = torch.randint(0, V, (N,))
    p = torch.softmax(2 * torch.randn(N, TEACHER_V, dtype=torch.double), -1).sort(-1, descending=True).values
    p[:, kept:] = 0  # beyond the kept entries the teacher counts as 0
    present = torch.arange(N) < N - 4
    log_tail = torch.where(present, -1.0, torch.inf).double()
    targets = SparseTargets(
        ids=torch.arange(kept).expand(N, -1), log_probs=p[:, :kept].log(), log_tail=log_tail
    )
    a = kd_weight_of(2.0)
    settings = LossSettings(kd_weight=a, divergence=ULD, vocabulary_size=V, chunk_rows=chunk)
    ours = linear_loss(hidden, weight, labels, settings, num_items=N, targets=targets)[0]
    theirs = dense(hidden, weight, labels, p, present, a)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-9)
    for found, expected in zip(
        torch.autograd.grad(ours, (hidden, weight)),
        torch.autograd.grad(theirs, (hidden, weight)),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


def test_labels_are_laid_beside_the_students_tokens() -> None:
    rng = np.random.default_rng(0)
    log_probs = np.log(rng.dirichlet(np.ones(5), 3)).astype(np.float32)[:, :4]
    ids = np.stack([rng.choice(70_000, 4, replace=False) for _ in range(3)])
    labels = pack(ids, log_probs, np.ones((3, 4), bool), np.zeros((3, 1), np.float32), np.zeros(3, np.float32),
                  vocabulary_size=70_000, dtype="float32")  # fmt: skip
    longer = ranked(labels, 5)
    assert longer.entries_per_token().tolist() == [4, 4, 4, 1, 1]
    assert np.isinf(longer.log_tail[3:]).all()
    np.testing.assert_array_equal(longer.log_probs[:4], np.sort(log_probs[0])[::-1])
    assert ranked(labels, 2).entries_per_token().tolist() == [4, 4]


def test_a_teacher_with_another_tokenizer_teaches(
    tmp_path: Path,
    student: str,
    build_model: Callable[..., str],
    build_tokenizer: Callable[..., PreTrainedTokenizerFast],
    data_file: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [f"word{index}" for index in range(0, 90, 2)]  # every second word is unknown to it
    teacher = build_model(tmp_path / "teacher", width=32, seed=7, tokenizer=build_tokenizer(words))
    common = ["train-kd", "--student", student, "--teacher", teacher, "--data", str(data_file), "--kd-ratio", "1",
              "--epochs", "1", "--batch-size", "4", "--max-length", "64", "--max-prompt-length", "32",
              "--learning-rate", "0.01"]  # fmt: skip
    assert main([*common, "--output", str(tmp_path / "kl")]) == 2
    assert "--divergence uld" in capsys.readouterr().err
    for name in ("a", "b"):
        assert main([*common, "--divergence", "uld", "--output", str(tmp_path / name)]) == 0
    run = json.loads((tmp_path / "a" / "run.json").read_text())
    assert "uld" in json.dumps(run)
    first, again = (load_file(tmp_path / name / "model.safetensors") for name in ("a", "b"))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert "it ruined a student" not in capsys.readouterr().err
    assert (
        main(
            [*common, "--divergence", "uld", "--output", str(tmp_path / "c"), "--kd-ratio", "10", "--dry-run"]
        )
        == 0
    )
    assert "it ruined a student" in capsys.readouterr().err
