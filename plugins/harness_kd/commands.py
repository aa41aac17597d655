"""``harness train-kd``. Heavy imports stay inside the functions that run."""

from __future__ import annotations

import dataclasses
from argparse import ArgumentParser, Namespace
from typing import Any

from harness.plugins import Command
from harness_kd.plan import DIVERGENCE_NAMES, TrainPlan

DEFAULTS = {field.name: field.default for field in dataclasses.fields(TrainPlan)}


def add_option(parser: ArgumentParser, name: str, help_text: str, **kwargs: Any) -> None:
    """An option for a field of `TrainPlan`, with its type and default."""
    default = DEFAULTS[name]
    flag = "--" + name.replace("_", "-")
    if isinstance(default, bool):
        parser.add_argument(flag, action="store_true", help=help_text)
    elif default is dataclasses.MISSING:
        parser.add_argument(flag, required=True, help=help_text, **kwargs)
    else:
        kind = str if default is None else type(default)
        shown = "" if default is None else f" (default: {default})"
        parser.add_argument(flag, default=default, type=kind, help=help_text + shown, **kwargs)


def add_data_options(parser: ArgumentParser) -> None:
    """What training and capturing share: the data, and what is kept of the teacher."""
    add_option(
        parser,
        "data",
        "JSON Lines file, or dolly, cnndm, newsworld with options: newsworld?n=2000&noise=0.4&seed=0",
        metavar="PATH_OR_NAME",
    )
    add_option(parser, "max_length", "tokens of prompt and response together")
    add_option(parser, "max_prompt_length", "tokens of the prompt")
    add_option(parser, "overlong", "what to do with longer rows", choices=["drop", "truncate"])
    add_option(parser, "top_k", "teacher entries kept per token, at most")
    add_option(parser, "max_tail", "keep fewer entries once the mass outside them is at most this")
    add_option(parser, "temperature", "temperature of the distillation loss")


def _add_train_arguments(parser: ArgumentParser) -> None:
    add_option(parser, "student", "model folder or hub name to train", metavar="PATH")
    add_option(parser, "teacher", "model folder or hub name to learn from", metavar="PATH")
    add_option(parser, "output", "folder of the trained model", metavar="DIR")
    add_option(
        parser, "kd_ratio", "weight of distillation relative to the hard labels; 0 is plain finetuning"
    )
    add_option(parser, "divergence", "distillation loss", choices=DIVERGENCE_NAMES)
    add_option(parser, "label_smoothing", "on the hard labels")
    add_option(parser, "soft_labels", "cache folder (default: soft-labels/ beside the output)", metavar="DIR")
    add_data_options(parser)
    add_option(parser, "epochs", "passes over the data")
    add_option(parser, "learning_rate", "peak of the cosine schedule")
    add_option(parser, "warmup_steps", "steps of linear warm-up")
    add_option(parser, "weight_decay", "of AdamW")
    add_option(parser, "batch_size", "rows per micro-batch and process")
    add_option(parser, "accumulation", "micro-batches per step")
    add_option(parser, "max_grad_norm", "gradient clipping; 0 for none")
    add_option(parser, "bf16", "autocast to bfloat16")
    add_option(parser, "gradient_checkpointing", "recompute activations in the backward pass")
    add_option(parser, "min_learning_rate", "where the cosine schedule ends")
    add_option(parser, "dev", "data to choose a checkpoint on", metavar="PATH_OR_NAME")
    add_option(
        parser,
        "select",
        "the last checkpoint, or the best epoch on --dev",
        choices=["last", "dev-loss", "rougeL"],
    )
    add_option(parser, "packing", "join examples into full rows, each seeing only itself")
    add_option(parser, "lora_rank", "rank of a low-rank adapter (peft); 0 trains all weights")
    add_option(parser, "lora_alpha", "scale of the adapter, over its rank")
    add_option(parser, "lora_dropout", "on the adapter's input")
    add_option(
        parser, "lora_targets", "linear modules, comma-separated, or all-linear; empty: peft's own choice"
    )
    add_option(parser, "keep_adapter", "save the adapter alone; without this it is merged")
    add_option(parser, "report_to", "wandb, tensorboard, trackio: the Trainer's reporting, comma-separated")
    add_option(parser, "checkpoint_steps", "steps between checkpoints; 0: five per run")
    add_option(parser, "seed", "of data order and dropout")
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything, print the plan, write nothing"
    )


def _plan_of(arguments: Namespace) -> TrainPlan:
    return TrainPlan(**{name: getattr(arguments, name) for name in DEFAULTS if hasattr(arguments, name)})


def _run_train(arguments: Namespace) -> int:
    plan = _plan_of(arguments)
    if arguments.dry_run:
        hide_loading_bars()
        from harness_kd.estimate import describe
        from harness_kd.train import prepare

        print(describe(prepare(plan)))
        return 0
    from harness_kd.train import train

    hide_loading_bars()
    print(train(plan))
    return 0


def hide_loading_bars() -> None:
    """One bar for the work is enough: transformers shows one more per weight file."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


TRAIN_KD = Command(
    name="train-kd",
    help="finetune a model, with or without distillation from a teacher",
    add_arguments=_add_train_arguments,
    run=_run_train,
)
