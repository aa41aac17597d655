"""What differs where the weights of a model are spread over processes: DeepSpeed's ZeRO, and FSDP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness_kd.placement import free_device
from harness_kd.processes import rank

if TYPE_CHECKING:
    from torch import Tensor

    from harness_kd.training.trainer import DistillationTrainer


def master_weights(engine: Any, state: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """A model's state with the weights that DeepSpeed's optimizer holds: under --bf16 the model's own are rounded copies.

    Every process must call it, for they gather each weight together; the first alone keeps what it gets.

    Args:
        engine: A `deepspeed.DeepSpeedEngine`.
        state: The model's own state, in the first process.

    Returns:
        float32 on the processor for each weight that trains, the rest of ``state`` as it is; empty in other processes.
    """
    from deepspeed.utils import safe_get_full_fp32_param

    found = dict(state or {})
    for name, parameter in engine.module.named_parameters():
        if not parameter.requires_grad:
            continue
        whole = safe_get_full_fp32_param(parameter)
        if rank() == 0 and whole is not None:
            found[name] = whole.detach().to("cpu")
    return found if rank() == 0 else {}


def release(trainer: DistillationTrainer) -> None:
    """Give back what training held on its device, and load models whole again, for what follows in this process.

    Under ZeRO-3 transformers would spread every model over the processes as it loads.
    """
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()  # type: ignore[no-untyped-call]
    trainer.accelerator.free_memory()
    del trainer.model, trainer.model_wrapped, trainer.callback_handler.model
    trainer.optimizer = trainer.callback_handler.optimizer = None
    free_device()
