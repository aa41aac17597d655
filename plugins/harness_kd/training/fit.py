"""One training run in its folder: transformers' Trainer with the fused loss, from the last complete checkpoint."""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.models.device import choose_device
from harness_kd.models import vocabulary_size
from harness_kd.plan import TrainPlan
from harness_kd.processes import agreed, world_size
from harness_kd.training.allocator import large_blocks_given_back
from harness_kd.training.attention import suit_processor
from harness_kd.training.checkpoints import usable_checkpoint
from harness_kd.training.lora import add_adapter, merged
from harness_kd.training.sharding import release

if TYPE_CHECKING:
    from transformers import TrainingArguments

    from harness_kd.loss.fused import LossSettings
    from harness_kd.soft_labels.online import LabelSource
    from harness_kd.training.train import Prepared
    from harness_kd.training.trainer import DistillationTrainer


def fit(prepared: Prepared, labels: LabelSource | None, folder: Path) -> dict[str, Any]:
    """Train from the last complete checkpoint, or from the start, and leave the model in ``folder/model``.

    Returns:
        ``steps`` taken; ``history``, the logged losses and their parts in nats per target token; ``dev``, the score of each epoch.
    """
    from transformers import ProgressCallback, set_seed

    from harness_kd.loss.packing import pack_width
    from harness_kd.loss.states import decoder_start
    from harness_kd.training.callbacks import BestInPlace, LogEpochs, StepProgress
    from harness_kd.training.dev_scores import scorer
    from harness_kd.training.trainer import Collator, DistillationTrainer, ExampleDataset

    plan = prepared.plan
    set_seed(plan.seed)
    model = build_student(prepared, loss_settings(prepared))
    width = pack_width(model, plan.max_length) if plan.packing else 0
    trainer = DistillationTrainer(
        model=model,
        args=_arguments(prepared, folder),
        train_dataset=ExampleDataset(prepared.data.examples),
        eval_dataset=None if prepared.dev is None else ExampleDataset(prepared.dev.examples),
        data_collator=Collator(labels, plan.temperature, decoder_start(model), width),
    )
    del model  # the trainer's alone, which gives it back before an adapter is merged
    if prepared.dev is not None:
        room = plan.max_length - plan.max_prompt_length
        trainer.score_dev = scorer(plan.select, prepared.dev.examples, prepared.tokenizer, new_tokens=room)
    trainer.remove_callback(ProgressCallback)
    for callback in (LogEpochs, StepProgress(trainer), BestInPlace):
        trainer.add_callback(callback)
    spare = plan.gradient_checkpointing and choose_device().type == "cpu"
    try:
        with large_blocks_given_back(spare):
            result = trainer.train(resume_from_checkpoint=agreed(lambda: _resume_from(folder)))
    except ImportError as error:
        raise HarnessError(
            f"--optimizer {plan.optimizer}: {str(error).splitlines()[0]}", "Install that, or choose another."
        ) from error
    _save(trainer, prepared, folder)
    logged = trainer.state.log_history
    shown = ("step", "epoch", "loss", "cross_entropy", "divergence", "learning_rate")
    history = [{name: entry[name] for name in shown if name in entry} for entry in logged if "loss" in entry]
    return {
        "steps": result.global_step,
        "history": history,
        "dev": _dev_scores(plan, logged),
    }


def _save(trainer: DistillationTrainer, prepared: Prepared, folder: Path) -> None:
    """Leave the model in ``folder/model``: in the precision to save in, with its adapter merged; or the adapter alone."""
    plan = prepared.plan
    if not plan.lora_rank:
        trainer.save_dtype = prepared.save_dtype
    trainer.finished = True
    merge = plan.lora_rank > 0 and not plan.keep_adapter
    trainer.save_model(str(folder / ("adapter" if merge else "model")))
    release(trainer)
    if merge and trainer.args.should_save:
        merged(prepared.student, folder / "adapter", dtype=prepared.save_dtype).save_pretrained(
            folder / "model"
        )


def _resume_from(folder: Path) -> str | None:
    checkpoint = usable_checkpoint(folder, say=lambda line: print(line, file=sys.stderr, flush=True))
    return None if checkpoint is None else str(checkpoint)


def build_student(prepared: Prepared, settings: LossSettings) -> Any:
    """The student with the fused loss and its adapter, as a run trains it, on the processor.

    Raises:
        HarnessError: If it cannot be trained as planned.
    """
    from harness_kd.loss.head import attach_loss
    from harness_kd.loss.packing import require_packable

    plan = prepared.plan
    # what trains stays in float32: bfloat16 would round the small updates of finetuning away
    frozen = plan.bf16 and plan.lora_rank > 0
    model: Any = prepared.student.model(dtype="bfloat16" if frozen else "float32")
    if plan.gradient_checkpointing:
        with warnings.catch_warnings():  # the name changes from transformers 5 to 6
            warnings.simplefilter("ignore", FutureWarning)
            # the reentrant kind drops the gradients of an adapter on a frozen body
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if plan.bf16 and choose_device().type == "cpu" and not plan.packing:
        suit_processor(model, max(len(example.ids) for example in prepared.data.examples))
    attach_loss(model, settings)
    if plan.packing:
        require_packable(model)
    return add_adapter(model, plan) if plan.lora_rank else model


def _dev_scores(plan: TrainPlan, history: list[dict[str, float]]) -> list[dict[str, float]]:
    """The score of each epoch's checkpoint; empty without dev data."""
    key = "eval_loss" if plan.select == "dev-loss" else "eval_rougeL"
    return [{"epoch": entry["epoch"], key: entry[key]} for entry in history if key in entry]


def loss_settings(prepared: Prepared) -> LossSettings:
    """The `harness_kd.loss.fused.LossSettings` of a plan."""
    from harness_kd.loss.fused import LossSettings, kd_weight_of

    plan = prepared.plan
    return LossSettings(
        kd_weight=kd_weight_of(plan.kd_ratio),
        temperature=plan.temperature,
        divergence=plan.divergence,
        label_smoothing=plan.label_smoothing,
        vocabulary_size=vocabulary_size(prepared.tokenizer),
    )


def checkpoint_steps(steps: int) -> int:
    """Steps between checkpoints: five a run, and at least 50 steps of one process apart, which N processes do in 50 / N."""
    return max(math.ceil(50 / world_size()), math.ceil(steps / 5))


def _arguments(prepared: Prepared, folder: Path) -> TrainingArguments:
    import torch
    from transformers import TrainingArguments

    from harness_kd.training.dev_scores import METRICS

    plan = prepared.plan
    key, higher = METRICS.get(plan.select, (None, None))
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=plan.epochs,
        learning_rate=plan.learning_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": plan.min_learning_rate / plan.learning_rate},
        warmup_steps=plan.warmup_steps,
        weight_decay=plan.weight_decay,
        optim=plan.optimizer,
        per_device_train_batch_size=plan.batch_size,
        gradient_accumulation_steps=plan.accumulation,
        max_grad_norm=plan.max_grad_norm,
        bf16=plan.bf16,
        seed=plan.seed,
        eval_strategy="no" if prepared.dev is None else "epoch",
        save_strategy="steps" if prepared.dev is None else "epoch",
        load_best_model_at_end=prepared.dev is not None,
        metric_for_best_model=key,
        greater_is_better=higher,
        save_steps=plan.checkpoint_steps or checkpoint_steps(prepared.steps),
        save_total_limit=None,  # the trainer deletes them once the newer is sealed
        logging_steps=max(1, math.ceil(prepared.steps / 20)),
        report_to=_reporters(plan),
        run_name=Path(plan.output).name,
        disable_tqdm=False,
        use_cpu=not torch.accelerator.is_available(),
        dataloader_pin_memory=torch.accelerator.is_available(),
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,  # every weight of a language model is used in every step
    )


def _reporters(plan: TrainPlan) -> list[str]:
    """The Trainer's reporting backends; TensorBoard's files go to ``OUTPUT.logs``, which outlives the run."""
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", f"{Path(plan.output).resolve()}.logs")
    return [name for name in plan.report_to.split(",") if name and name != "none"] or ["none"]


def require_optimizer(name: str) -> None:
    """Refuse an optimizer that transformers does not know.

    Raises:
        HarnessError: With those that it knows.
    """
    from transformers.training_args import OptimizerNames

    known = [one.value for one in OptimizerNames]
    if name not in known:
        raise HarnessError(f"--optimizer {name}: unknown to transformers", f"It knows {', '.join(known)}.")


def require_reporters(names: Sequence[str]) -> None:
    """Refuse reporting backends that are not installed.

    Raises:
        HarnessError: With the command that installs them.
    """
    from transformers.integrations.integration_utils import get_available_reporting_integrations

    available = get_available_reporting_integrations()  # type: ignore[no-untyped-call]
    missing = [name for name in names if name != "none" and name not in available]
    HarnessError.raise_for(
        [f"--report-to {name}: {name} is not installed" for name in missing],
        f"pip install {' '.join(missing)}",
    )
