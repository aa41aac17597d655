"""What runs on a processor gives the same on an accelerator. Skipped where there is none; run with ``pytest -m gpu``."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness_kd.loss.divergences import DIVERGENCES
from harness_kd.loss.fused import LossSettings, SparseTargets, linear_loss
from harness_kd.plan import TrainPlan
from harness_kd.soft_labels.cache import SoftLabelCache
from harness_kd.studies.teacher_responses import SequencePlan, generate
from harness_kd.studies.teacher_responses import prepare as prepare_sequences
from harness_kd.training.train import capture_labels, prepare, train
from safetensors.torch import load_file

from harness.generation import Decoding
from harness.models.device import choose_device
from harness.models.source import ModelSource
from tests.kd.conftest import known

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.accelerator.is_available(), reason="no accelerator"),
]


@pytest.mark.parametrize("divergence", [None, *DIVERGENCES, "uld"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("tokens", [500, 470])
def test_the_fused_loss(divergence: Any, temperature: Any, tokens: Any) -> None:
    if divergence == "uld" and temperature != 1:
        pytest.skip("has no temperature")
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, 32, generator=generator) for n in (70, 500))
    labels = torch.randint(0, tokens, (70,), generator=generator)
    log_probs, ids = (3 * torch.randn(70, tokens, generator=generator) / temperature).log_softmax(-1).topk(8)
    tail = (-log_probs.exp().sum(-1)).log1p()
    settings = LossSettings(
        kd_weight=0.0 if divergence is None else 0.5,
        divergence=divergence or "forward-kl",
        temperature=temperature,
        vocabulary_size=tokens,
        chunk_rows=32,
    )
    found = []
    for place in (torch.device("cpu"), choose_device()):
        h, w = (tensor.to(place).requires_grad_() for tensor in (hidden, weight))
        targets = SparseTargets(ids=ids.to(place), log_probs=log_probs.to(place), log_tail=tail.to(place))
        loss, _ = linear_loss(h, w, labels.to(place), settings, num_items=70, targets=targets)
        loss.backward()
        found.append([tensor.detach().cpu() for tensor in (loss, known(h.grad), known(w.grad))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("draws", [0, 4])
def test_captured_labels(
    plan: TrainPlan, tmp_path: Path, draws: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches = []
    for name in ("accelerator", "processor"):
        if name == "processor":
            monkeypatch.setattr("harness.models.source.choose_device", lambda: torch.device("cpu"))
        prepared = prepare(
            replace(plan, tail_draws=draws, teacher_dtype="float32", soft_labels=str(tmp_path / name))
        )
        capture_labels(prepared)
        caches.append(SoftLabelCache(tmp_path / name, known(prepared.manifest)))
    for example in prepared.data.examples:
        one, other = (cache.get(example.key) for cache in caches)
        assert np.array_equal(one.full_ids(), other.full_ids())
        np.testing.assert_allclose(one.log_probs, other.log_probs, rtol=0, atol=5e-3)
        np.testing.assert_allclose(one.log_tail, other.log_tail, rtol=0, atol=5e-3)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bf16": True, "gradient_checkpointing": True},
        {"bf16": True, "lora_rank": 4, "lora_targets": "q_proj,v_proj"},
        {"online_teacher": True},
        {"packing": True},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_training(plan: TrainPlan, options: Any) -> None:
    assert ModelSource.find(plan.student, role="student").placed().device.type == choose_device().type
    output = train(replace(plan, **options))
    before, after = (load_file(f"{folder}/model.safetensors") for folder in (plan.student, output))
    assert all(tensor.isfinite().all() for tensor in after.values())
    assert max((after[name].float() - tensor).abs().max() for name, tensor in before.items()) > 0.01


def test_generated_sequences(teacher: Any, data_file: str, tmp_path: Path) -> None:
    plan = SequencePlan(
        teacher=teacher,
        data=data_file,
        output=tmp_path / "rows.jsonl",
        decoding=Decoding(max_new_tokens=4),
        max_prompt_length=32,
        batch_size=8,
    )
    assert generate(prepare_sequences(plan))["rows"] > 0
