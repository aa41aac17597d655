"""Low-rank adapters by peft: added to the student before training, merged or kept after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from harness_kd.plan import TrainPlan


def add_adapter(model: PreTrainedModel, plan: TrainPlan) -> Any:
    """The model with a fresh adapter; only the adapter trains.

    Raises:
        HarnessError: If peft is missing, or the model has no such modules.
    """
    try:
        from peft import LoraConfig, get_peft_model
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
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise HarnessError(
            f"no adapter for {type(model).__name__}: {str(error).splitlines()[0]}",
            "Name the linear modules with --lora-targets, such as q_proj,v_proj or all-linear.",
        ) from error


def merged(model: Any) -> PreTrainedModel:
    """The plain model with the adapter's product added to its weights."""
    plain: PreTrainedModel = model.merge_and_unload()
    return plain
