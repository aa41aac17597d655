"""Low-rank adapters by peft: added to the student before training, merged or kept after it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from harness_kd.plan import TrainPlan


def add_adapter(model: PreTrainedModel, plan: TrainPlan) -> Any:
    """The model with a fresh adapter; only the adapter trains.

    Raises:
        HarnessError: If peft is missing, the model has no such modules, or the adapter could not be merged.
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
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():  # peft asks transformers by a name that is on its way out
            warnings.simplefilter("ignore", FutureWarning)
            adapted = get_peft_model(model, config)
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


def merged(model: Any) -> PreTrainedModel:
    """The plain model with the adapter's product added to its weights."""
    plain: PreTrainedModel = model.merge_and_unload()
    return plain
