"""Adapters: on the body, on the output head, in bfloat16, merged or kept."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from harness_kd.loss.states import padded
from harness_kd.plan import TrainPlan
from harness_kd.training.fit import build_student, loss_settings
from harness_kd.training.train import prepare, train
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from harness.errors import HarnessError

IDS = torch.tensor([[5, 9, 14, 3, 60]])


@pytest.fixture
def plan(plan: TrainPlan, build_model: Callable[..., str], tmp_path: Path) -> TrainPlan:
    untied = build_model(tmp_path / "untied", seed=3, tie=False, rows=100)  # six more than there are tokens
    return replace(plan, student=untied, lora_rank=4, lora_dropout=0.0)


@pytest.mark.parametrize("targets", ["q_proj,v_proj", "q_proj,lm_head", "lm_head"])
def test_the_fused_loss_has_the_gradients_of_pefts_own_forward(plan: TrainPlan, targets: str) -> None:
    """In float64 to 1e-12, the head's adapter included, whose ``weight`` leaves it out, and its rows beyond the tokenizer."""
    prepared = prepare(replace(plan, lora_targets=targets, kd_ratio=0.0))
    model = build_student(prepared, loss_settings(prepared)).double()
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zeros at the start, which would hide the other half
            torch.nn.init.normal_(parameter)
    batch = padded(prepared.data.examples[:8])
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert {part for part in targets.split(",") if any(part in name for name in trained)} == set(
        targets.split(",")
    )
    model(**batch).loss.backward()
    fused = {name: p.grad.clone() for name, p in trained.items()}
    model.zero_grad()
    labels = batch.pop("labels")[:, 1:]
    torch.nn.functional.cross_entropy(
        model(**batch).logits[:, :-1].flatten(0, 1), labels.flatten(), ignore_index=-100
    ).backward()
    for name, parameter in trained.items():
        torch.testing.assert_close(fused[name], parameter.grad, rtol=1e-10, atol=1e-12, msg=name)
        assert parameter.grad.abs().max() > 0


def test_a_merged_adapter_on_the_head_is_the_kept_one(plan: TrainPlan, tmp_path: Path) -> None:
    plan = replace(plan, lora_targets="q_proj,lm_head")
    merged = AutoModelForCausalLM.from_pretrained(train(plan))
    kept = AutoPeftModelForCausalLM.from_pretrained(
        train(replace(plan, output=str(tmp_path / "kept"), keep_adapter=True))
    )
    before = AutoModelForCausalLM.from_pretrained(plan.student)
    with torch.no_grad():
        one, other, base = (model.eval()(IDS).logits for model in (merged, kept, before))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert (one - base).abs().max() > 0.05


def test_a_tied_head_is_not_merged_into_the_embedding(
    plan: TrainPlan, build_model: Callable[..., str], tmp_path: Path
) -> None:
    tied = replace(plan, student=build_model(tmp_path / "tied", seed=3), lora_targets="q_proj,lm_head")
    for end in ("lm_head", "embed_tokens"):
        with pytest.raises(HarnessError, match="cannot be merged"):
            train(replace(tied, lora_targets=f"q_proj,{end}"))
    output = train(replace(tied, keep_adapter=True, output=str(tmp_path / "kept")))
    assert AutoPeftModelForCausalLM.from_pretrained(output).eval()(IDS).logits.isfinite().all()
    train(replace(tied, lora_targets="q_proj", output=str(tmp_path / "body")))


def test_weights_under_an_adapter_are_bfloat16_and_the_adapter_is_not(plan: TrainPlan) -> None:
    plan = replace(plan, bf16=True, lora_targets="q_proj,lm_head")
    prepared = prepare(plan)
    model = build_student(prepared, loss_settings(prepared))
    kinds = {(p.requires_grad, p.dtype) for p in model.parameters()}
    assert kinds == {(False, torch.bfloat16), (True, torch.float32)}
    output = train(plan)
    before, after = (load_file(f"{folder}/model.safetensors") for folder in (plan.student, output))
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed == {"lm_head.weight", "model.layers.0.self_attn.q_proj.weight"}
    # what trained in bfloat16 is saved in the student's precision, from the student's own weights
    assert AutoModelForCausalLM.from_pretrained(output, dtype="auto").dtype == torch.float32
    head = before["lm_head.weight"]
    assert 0 < (after["lm_head.weight"] - head).abs().max() < 0.5 * head.abs().max()
