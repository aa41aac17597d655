"""``harness train-kd`` and ``harness soft-labels``. Heavy imports stay inside the functions that run."""

from __future__ import annotations

import dataclasses
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.plugins import Command
from harness_kd.plan import DIVERGENCE_NAMES, TrainPlan

_DEFAULTS = {field.name: field.default for field in dataclasses.fields(TrainPlan)}


def _add_option(parser: ArgumentParser, name: str, help_text: str, **kwargs: Any) -> None:
    default = _DEFAULTS[name]
    flag = "--" + name.replace("_", "-")
    if isinstance(default, bool):
        parser.add_argument(flag, action="store_true", help=help_text)
    elif default is dataclasses.MISSING:
        parser.add_argument(flag, required=True, help=help_text, **kwargs)
    else:
        kind = str if default is None else type(default)
        shown = "" if default is None else f" (default: {default})"
        parser.add_argument(flag, default=default, type=kind, help=help_text + shown, **kwargs)


def _add_data_options(parser: ArgumentParser) -> None:
    _add_option(
        parser,
        "data",
        "JSON Lines file, or dolly, cnndm, newsworld with options: newsworld?n=2000&noise=0.4&seed=0",
        metavar="PATH_OR_NAME",
    )
    _add_option(parser, "max_length", "tokens of prompt and response together")
    _add_option(parser, "max_prompt_length", "tokens of the prompt")
    _add_option(parser, "overlong", "what to do with longer rows", choices=["drop", "truncate"])
    _add_option(parser, "top_k", "teacher entries kept per token, at most")
    _add_option(parser, "max_tail", "keep fewer entries once the mass outside them is at most this")
    _add_option(parser, "temperature", "temperature of the distillation loss")


def _add_train_arguments(parser: ArgumentParser) -> None:
    _add_option(parser, "student", "model folder or hub name to train", metavar="PATH")
    _add_option(parser, "teacher", "model folder or hub name to learn from", metavar="PATH")
    _add_option(parser, "output", "folder of the trained model", metavar="DIR")
    _add_option(
        parser, "kd_ratio", "weight of distillation relative to the hard labels; 0 is plain finetuning"
    )
    _add_option(parser, "divergence", "distillation loss", choices=DIVERGENCE_NAMES)
    _add_option(parser, "label_smoothing", "on the hard labels")
    _add_option(
        parser, "soft_labels", "cache folder (default: soft-labels/ beside the output)", metavar="DIR"
    )
    _add_data_options(parser)
    _add_option(parser, "epochs", "passes over the data")
    _add_option(parser, "learning_rate", "peak of the cosine schedule")
    _add_option(parser, "warmup_steps", "steps of linear warm-up")
    _add_option(parser, "weight_decay", "of AdamW")
    _add_option(parser, "batch_size", "rows per micro-batch and process")
    _add_option(parser, "accumulation", "micro-batches per step")
    _add_option(parser, "max_grad_norm", "gradient clipping; 0 for none")
    _add_option(parser, "bf16", "autocast to bfloat16")
    _add_option(parser, "gradient_checkpointing", "recompute activations in the backward pass")
    _add_option(parser, "min_learning_rate", "where the cosine schedule ends")
    _add_option(parser, "dev", "data to choose a checkpoint on", metavar="PATH_OR_NAME")
    _add_option(
        parser,
        "select",
        "the last checkpoint, or the best epoch on --dev",
        choices=["last", "dev-loss", "rougeL"],
    )
    _add_option(parser, "packing", "join examples into full rows, each seeing only itself")
    _add_option(parser, "lora_rank", "rank of a low-rank adapter (peft); 0 trains all weights")
    _add_option(parser, "lora_alpha", "scale of the adapter, over its rank")
    _add_option(parser, "lora_dropout", "on the adapter's input")
    _add_option(
        parser, "lora_targets", "linear modules, comma-separated, or all-linear; empty: peft's own choice"
    )
    _add_option(parser, "keep_adapter", "save the adapter alone; without this it is merged")
    _add_option(parser, "report_to", "wandb, tensorboard, trackio: the Trainer's reporting, comma-separated")
    _add_option(parser, "checkpoint_steps", "steps between checkpoints; 0: five per run")
    _add_option(parser, "seed", "of data order and dropout")
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything, print the plan, write nothing"
    )


def _plan_of(arguments: Namespace) -> TrainPlan:
    return TrainPlan(**{name: getattr(arguments, name) for name in _DEFAULTS if hasattr(arguments, name)})


def _run_train(arguments: Namespace) -> int:
    plan = _plan_of(arguments)
    if arguments.dry_run:
        _hide_loading_bars()
        from harness_kd.estimate import describe
        from harness_kd.train import prepare

        print(describe(prepare(plan)))
        return 0
    from harness_kd.train import train

    _hide_loading_bars()
    print(train(plan))
    return 0


def _hide_loading_bars() -> None:
    """One bar for the work is enough: transformers shows one more per weight file."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def _add_soft_label_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    capture = actions.add_parser("capture", help="store the teacher's soft labels of a data set")
    _add_option(capture, "teacher", "model folder or hub name", metavar="PATH", required=True)
    capture.add_argument(
        "--output", required=True, metavar="DIR", help="cache folder; a second call adds what is missing"
    )
    _add_data_options(capture)
    capture.add_argument(
        "--dry-run", action="store_true", help="check everything, print the plan, write nothing"
    )
    for name, help_text in (("inspect", "say what a cache holds"), ("verify", "check every file of a cache")):
        action = actions.add_parser(name, help=help_text)
        action.add_argument("folder", type=Path, metavar="DIR", help="cache folder")


def _run_soft_labels(arguments: Namespace) -> int:
    return {"capture": _capture, "inspect": _inspect, "verify": _verify}[arguments.action](arguments)


def _capture(arguments: Namespace) -> int:
    from harness_kd.estimate import describe_labels
    from harness_kd.train import capture_labels, prepare

    options = {
        name: getattr(arguments, name) for name in _DEFAULTS if name != "output" and hasattr(arguments, name)
    }
    # a cache depends on the tokenizer that both models share, so the teacher stands in for the student
    plan = TrainPlan(
        student=arguments.teacher,
        output=arguments.output,
        soft_labels=arguments.output,
        kd_ratio=1.0,
        **options,
    )
    prepared = prepare(plan)
    _hide_loading_bars()
    if arguments.dry_run:
        print(describe_labels(prepared))
        return 0
    print(f"{capture_labels(prepared)} examples captured into {arguments.output}")
    return 0


def _inspect(arguments: Namespace) -> int:
    from harness_kd.soft_labels.cache import SoftLabelCache, label_files
    from harness_kd.soft_labels.manifest import Manifest

    manifest = Manifest.read(arguments.folder)
    cache = SoftLabelCache(arguments.folder, manifest)
    files = label_files(arguments.folder)
    size, tokens = sum(file.stat().st_size for file in files), cache.tokens
    for name, value in dataclasses.asdict(manifest).items():
        print(f"{name:18} {value}")
    print(f"{'examples':18} {len(cache)}\n{'tokens':18} {tokens}\n{'files':18} {len(files)}")
    print(f"{'bytes':18} {size}" + (f" ({size / tokens:.1f} per token)" if tokens else ""))
    return 0


def _verify(arguments: Namespace) -> int:
    from harness_kd.soft_labels.cache import verify

    if not arguments.folder.is_dir():
        raise HarnessError(f"{arguments.folder}: no such folder", "Give a folder of soft labels.")
    print(f"{verify(arguments.folder)} files are whole")
    return 0


TRAIN_KD = Command(
    name="train-kd",
    help="finetune a model, with or without distillation from a teacher",
    add_arguments=_add_train_arguments,
    run=_run_train,
)
SOFT_LABELS = Command(
    name="soft-labels",
    help="capture, inspect and verify a teacher's soft labels",
    add_arguments=_add_soft_label_arguments,
    run=_run_soft_labels,
)
