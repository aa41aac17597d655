"""A trained model is saved in the precision that its student came in, and only there rounded."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from harness_kd.plan import TrainPlan
from harness_kd.studies.then_eval import sft_twin
from harness_kd.training.precision import cast, state_dtype, stored_dtype
from harness_kd.training.train import train
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from harness.errors import HarnessError

DTYPES = ("float32", "bfloat16", "float16")


@pytest.fixture
def student_in(build_model: Callable[..., str], tmp_path: Path) -> Callable[..., Any]:
    """A student stored in a precision, as save_pretrained stores it."""

    def build(dtype: str, tie: bool = True) -> str:
        folder = build_model(tmp_path / f"student-{dtype}-{tie}", seed=1, tie=tie)
        AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).save_pretrained(folder)
        return folder

    return build


def weights(folder: Path | str) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")


def configured(folder: Path) -> str:
    return json.loads((Path(folder) / "config.json").read_text())["dtype"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tie", [True, False])
def test_a_model_is_saved_as_its_student_is_stored(
    plan: TrainPlan, student_in: Callable[..., Any], tmp_path: Path, dtype: str, tie: bool
) -> None:
    """The masters of training are float32 all the same: rounded once at the end, they are the saved weights."""
    plan = replace(plan, student=student_in(dtype, tie))
    output = train(plan)
    exact = train(replace(plan, output=str(tmp_path / "exact"), save_dtype="float32"))
    found, full, before = weights(output), weights(exact), weights(plan.student)
    assert found.keys() == before.keys()
    assert (configured(output), configured(exact)) == (dtype, "float32")
    for name, tensor in found.items():
        assert tensor.dtype == getattr(torch, dtype)
        assert full[name].dtype == torch.float32
        assert torch.equal(tensor, full[name].to(tensor.dtype))
    assert any(not torch.equal(tensor, before[name]) for name, tensor in found.items())
    if dtype != "float32":
        assert any(
            not torch.equal(tensor.to(getattr(torch, dtype)).float(), tensor) for tensor in full.values()
        )
    assert "saved in " + dtype in (output / "README.md").read_text()


def test_student_and_twin_and_untuned_model_are_read_in_one_precision(
    plan: TrainPlan, student_in: Callable[..., Any]
) -> None:
    plan = replace(plan, student=student_in("bfloat16"))
    for folder in (plan.student, train(plan), train(sft_twin(plan))):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
        assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_another_precision_is_another_run(plan: TrainPlan) -> None:
    train(plan)
    with pytest.raises(HarnessError, match="save_dtype 'float32', not 'bfloat16'"):
        train(replace(plan, save_dtype="bfloat16"))
    assert train(replace(plan, save_dtype="float32")) == Path(plan.output)  # it is what auto stood for
    with pytest.raises(HarnessError, match="save_dtype must be auto or one of float32"):
        replace(plan, save_dtype="int8")


@pytest.mark.parametrize(("dtype", "bf16"), [("float32", True), ("bfloat16", True), ("float16", False)])
def test_a_merged_adapter_is_added_to_the_weights_as_stored(
    plan: TrainPlan, student_in: Callable[..., Any], tmp_path: Path, dtype: str, bf16: bool
) -> None:
    """Against the product of the kept adapter's matrices; under --bf16 a float32 body trains in bfloat16, and is not saved so."""
    plan = replace(
        plan,
        student=student_in(dtype),
        bf16=bf16,
        lora_rank=4,
        lora_alpha=8,
        lora_targets="q_proj,down_proj",
    )
    output = train(plan)
    kept = train(replace(plan, keep_adapter=True, output=str(tmp_path / "kept")))
    adapter = load_file(kept / "adapter_model.safetensors")
    before, after = weights(plan.student), weights(output)
    assert configured(output) == dtype
    touched = 0
    for name, tensor in before.items():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{stem}.lora_A.weight" not in adapter:
            assert torch.equal(after[name], tensor), name  # bit for bit, in the student's own precision
            continue
        down, up = (adapter[f"{stem}.lora_{part}.weight"].double() for part in "AB")
        exact = tensor.double() + 8 / 4 * up @ down
        error = (after[name].double() - exact).abs().max() / exact.abs().max()
        assert error <= torch.finfo(tensor.dtype).eps  # one rounding
        assert not torch.equal(after[name], tensor)
        touched += 1
    assert touched == 2


def test_weights_say_how_they_are_stored_whatever_the_configuration_says(
    student_in: Callable[..., Any], tmp_path: Path
) -> None:
    folder = Path(student_in("bfloat16"))
    state_dtype(folder, "float32")
    assert configured(folder) == "float32"
    assert stored_dtype(folder) == "bfloat16"
    mixed = {
        "large": torch.zeros(90, dtype=torch.float16),
        "small": torch.zeros(4),
        "ids": torch.zeros(900, dtype=torch.int64),
    }
    save_file(mixed, tmp_path / "model.safetensors")
    assert stored_dtype(tmp_path) == "float16"


def test_configurations_within_a_configuration_say_the_same(tmp_path: Path) -> None:
    nested = {"dtype": "float32", "text_config": {"dtype": "float32", "layers": 2}, "rope": {"factor": 2}}
    (tmp_path / "config.json").write_text(json.dumps(nested))
    state_dtype(tmp_path, "bfloat16")
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "dtype": "bfloat16",
        "text_config": {"dtype": "bfloat16", "layers": 2},
        "rope": {"factor": 2},
    }


def test_tied_weights_stay_one_and_integers_stay_whole() -> None:
    weight = torch.randn(4, 3)
    found = cast({"embed": weight, "head": weight, "ids": torch.arange(3), "part": weight[:2]}, "bfloat16")
    assert found["embed"] is found["head"]
    assert found["ids"].dtype == torch.int64
    assert torch.equal(found["part"], weight[:2].bfloat16())


def test_weights_too_large_for_float16_are_refused() -> None:
    assert (
        cast({"w": torch.tensor([65504.0, torch.inf])}, "float16")["w"][0] == 65504
    )  # what was infinite may stay so
    with pytest.raises(HarnessError, match=r"^w: holds 1e\+05, which float16 cannot\n.*bfloat16"):
        cast({"w": torch.tensor([1.0, 1e5])}, "float16")
