"""Low-rank adapters by peft: added to the student before training, merged or kept after it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.models.weights import ADAPTER
from harness_kd.training.precision import require_finite, stored_dtype

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

    from harness.models.source import ModelSource
    from harness_kd.plan import TrainPlan


def add_adapter(model: PreTrainedModel, plan: TrainPlan) -> Any:
    """The model with a fresh adapter; only the adapter trains.

    Raises:
        HarnessError: If peft is missing, the model has no such modules, or the adapter could not be merged.
    """
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise HarnessError("--lora-rank needs peft", "pip install 'faithfulness-harness[lora]'") from error
    targets: str | list[str] | None = plan.lora_targets.split(",") if plan.lora_targets else None
    if targets == ["all-linear"]:
        targets = "all-linear"
    config = LoraConfig(
        r=plan.lora_rank,
        lora_alpha=plan.lora_alpha,
        lora_dropout=plan.lora_dropout,
        target_modules=targets,
        task_type="SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM",
    )
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight  # type: ignore[no-untyped-call]
    try:
        adapted = _with_adapter(model, config)
    except ValueError as error:
        raise HarnessError(
            f"no adapter for {type(model).__name__}: {str(error).splitlines()[0]}",
            "Name the linear modules with --lora-targets, such as q_proj,v_proj or all-linear.",
        ) from error
    ends = (model.get_input_embeddings(), model.get_output_embeddings())  # type: ignore[no-untyped-call]
    if tied and not plan.keep_adapter and any(hasattr(end, "lora_A") for end in ends):
        raise HarnessError(
            f"{type(model).__name__}: its output head and input embedding are the same weights, so an adapter on one of them "
            "cannot be merged",
            "Leave both out of --lora-targets, or add --keep-adapter.",
        )
    return adapted


def _with_adapter(model: Any, config: Any) -> Any:
    from peft import get_peft_model

    with warnings.catch_warnings():  # peft asks transformers by a name that is on its way out
        warnings.simplefilter("ignore", FutureWarning)
        return get_peft_model(model, config)


def merged(student: ModelSource, adapter: Path, *, dtype: str) -> PreTrainedModel:
    """The student as it is stored, with the product of a trained adapter added to its weights in float32 and rounded once.

    Training may hold the frozen weights in less precision; what the adapter does not touch ends as it began.

    Args:
        adapter: Folder that peft saved it in.
        dtype: Of the result.
    """
    import torch
    from peft import PeftConfig, set_peft_model_state_dict
    from peft.tuners.lora import LoraLayer
    from safetensors.torch import load_file

    target: torch.dtype = getattr(torch, dtype)
    base: Any = student.model(dtype=stored_dtype(student.folder))
    adapted = _with_adapter(base, PeftConfig.from_pretrained(str(adapter)))
    # peft saves an adapted head beside its adapter, in the precision that it was frozen in
    trained = {name: tensor for name, tensor in load_file(adapter / ADAPTER).items() if "lora_" in name}
    set_peft_model_state_dict(adapted, trained)
    layers: dict[str, Any] = {n: one for n, one in adapted.named_modules() if isinstance(one, LoraLayer)}
    for name, layer in layers.items():
        weight = layer.get_base_layer().weight
        total = weight.data.float()
        for one in layer.active_adapters:
            total = total + layer.get_delta_weight(one).detach().float()
        weight.data = total.to(target)
        require_finite(name, total, weight.data)
    plain: Any = adapted.unload().to(target)
    return plain  # type: ignore[no-any-return]
