"""``harness train-kd``. Heavy imports stay inside the functions that run."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.models.device import DTYPES
from harness.plugins import Command, add_run_file, names, settings
from harness.quiet import hide_loading_bars
from harness_kd.commands.options import add_data_options, add_option
from harness_kd.plan import DIVERGENCE_NAMES, SELECTIONS, TrainPlan
from harness_kd.presets import PRESETS, differences, with_preset

if TYPE_CHECKING:
    from harness_kd.studies.evaluation import Evaluation


def _ratios(text: str) -> tuple[float, ...]:
    try:
        ratios = tuple(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 0.1,1,10") from None
    return ratios


_ULD_RATIO = 1.5
"""Of its paper (arXiv 2402.12030), and the highest that `benchmarks/kd_ways.py` found to do no harm."""


def _add_arguments(parser: ArgumentParser) -> None:
    add_option(parser, "student", "what to train: model folder, or hub name[@revision]", metavar="PATH")
    add_option(
        parser, "teacher", "model to learn from; self: the student's own finetuned twin", metavar="PATH"
    )
    add_option(parser, "output", "folder of the trained model", metavar="DIR")
    parser.add_argument(
        "--kd-ratio",
        type=_ratios,
        default=(0.0,),
        metavar="R[,R...]",
        help="weight of distillation relative to the hard labels, inf for distillation alone; several: a student for each "
        "(default: 0)",
    )
    parser.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        help="the settings of arXiv 2502.11306; options given beside it win",
    )
    add_option(parser, "divergence", "distillation loss", choices=DIVERGENCE_NAMES)
    add_option(parser, "label_smoothing", "on the hard labels")
    add_option(parser, "soft_labels", "cache folder (default: soft-labels/ beside the output)", metavar="DIR")
    add_option(parser, "online_teacher", "ask the teacher at every step; no soft labels are stored")
    add_data_options(parser)
    _add_optimizer_options(parser)
    _add_lora_options(parser)
    _add_evaluation_options(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything, print the plan, write nothing"
    )
    add_run_file(parser, lambda arguments: Path(arguments.output))


def _add_optimizer_options(parser: ArgumentParser) -> None:
    add_option(parser, "epochs", "passes over the data")
    add_option(parser, "learning_rate", "peak of the cosine schedule")
    add_option(parser, "min_learning_rate", "where the cosine schedule ends")
    add_option(parser, "warmup_steps", "steps of linear warm-up")
    add_option(parser, "weight_decay", "of the optimizer")
    add_option(parser, "optimizer", "one of transformers', such as adafactor, which holds less memory")
    add_option(parser, "batch_size", "rows per micro-batch and process")
    add_option(parser, "accumulation", "micro-batches per step")
    add_option(parser, "max_grad_norm", "gradient clipping; 0 for none")
    add_option(parser, "packing", "join examples into full rows, each seeing only itself")
    add_option(parser, "bf16", "autocast to bfloat16")
    add_option(
        parser,
        "save_dtype",
        "of the finished model; auto: as the student is stored",
        choices=("auto", *DTYPES),
    )
    add_option(parser, "gradient_checkpointing", "recompute activations in the backward pass")
    add_option(parser, "dev", "data to choose a checkpoint on", metavar="PATH_OR_NAME")
    add_option(parser, "select", "the last checkpoint, or the best epoch on --dev", choices=SELECTIONS)
    add_option(
        parser,
        "report_to",
        "wandb, tensorboard, trackio: the Trainer's reporting, comma-separated",
        type=names,
    )
    add_option(parser, "checkpoint_steps", "steps between checkpoints; 0: five per run")
    add_option(
        parser,
        "peer_timeout",
        "of several processes: how long each waits at the start for the others, in seconds",
    )
    add_option(parser, "seed", "of data order and dropout")


def _add_lora_options(parser: ArgumentParser) -> None:
    add_option(parser, "lora_rank", "rank of a low-rank adapter (peft); 0 trains all weights")
    add_option(parser, "lora_alpha", "scale of the adapter, over its rank")
    add_option(parser, "lora_dropout", "on the adapter's input")
    add_option(
        parser,
        "lora_targets",
        "linear modules, comma-separated, or all-linear; empty: peft's own choice",
        type=names,
    )
    add_option(parser, "keep_adapter", "save the adapter alone; without this it is merged")


def _add_evaluation_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--then-eval",
        action="store_true",
        help="evaluate the student beside the untuned model, with a teacher also beside a twin trained without it; "
        "add all to a leaderboard",
    )
    parser.add_argument(
        "--tasks", type=names, help="of lm-eval, comma-separated (default: those of the data)"
    )
    parser.add_argument(
        "--eval-data",
        type=Path,
        metavar="FILE",
        help="evaluate on your own rows: source and reference, or as in --data (default task: kd_custom_factual)",
    )
    parser.add_argument(
        "--board", type=Path, metavar="FILE", help="specification of the leaderboard to add to (NAME.json)"
    )
    parser.add_argument("--eval-limit", type=int, metavar="N", help="documents per task; for trials")
    parser.add_argument("--eval-batch-size", type=int, default=16, help="prompts at once (default: 16)")
    parser.add_argument(
        "--eval-metadata",
        type=settings,
        default="",
        metavar="OPTIONS",
        help="options of the tasks and metrics, as key=value,key=value or a JSON object; "
        "lookback_classifier=student=FILE+teacher=FILE gives each model its own",
    )


def plan_of(arguments: Namespace) -> TrainPlan:
    """The plan of a student at the highest ratio: options as given, then the preset's, then the defaults.

    Raises:
        HarnessError: With all that is wrong with the options; or if the preset needs dev data and there is none.
    """
    names = [field.name for field in dataclasses.fields(TrainPlan) if field.name != "kd_ratio"]
    given = {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}
    HarnessError.raise_for(
        [f"--{name} is empty" for name in ("data", "output") if given.get(name) == ""],
        "Name a file or a data set, and a folder to write.",
    )
    options = with_preset(arguments.preset, given) if arguments.preset else given
    return TrainPlan(**{**options, "kd_ratio": max(arguments.kd_ratio)})


def _evaluation(arguments: Namespace, plan: TrainPlan) -> Evaluation | None:
    """What is evaluated afterwards; None for nothing.

    Raises:
        HarnessError: If an option describes an evaluation that is not asked for, or is wrong.
    """
    if not arguments.then_eval:
        given = [name for name in ("tasks", "eval_data", "board") if getattr(arguments, name)]
        HarnessError.raise_for(
            [f"--{name.replace('_', '-')} describes an evaluation, which is not asked for" for name in given],
            "Add --then-eval.",
        )
        return None
    from harness.lmeval.request import parse_metadata
    from harness_kd.studies.evaluation import plan_evaluation

    return plan_evaluation(
        plan.data,
        tasks=[name for name in (arguments.tasks or "").split(",") if name],
        eval_data=arguments.eval_data,
        metadata=parse_metadata(arguments.eval_metadata, "--eval-metadata"),
        board=arguments.board,
        limit=arguments.eval_limit,
        batch_size=arguments.eval_batch_size,
    )


def _run(arguments: Namespace) -> int:
    from harness_kd.processes import rank
    from harness_kd.studies.closing import closing
    from harness_kd.studies.described import describe_study
    from harness_kd.studies.then_eval import TEACHER, UNTUNED, check, runs, then_eval, train_all
    from harness_kd.training.summary import summary

    plan, ratios = plan_of(arguments), arguments.kd_ratio
    check(plan, ratios)
    runs(plan, ratios, compared=arguments.then_eval)  # a wrong ratio shows before anything is trained
    if plan.divergence == "uld" and max(ratios) > _ULD_RATIO:
        print(
            "warning: --divergence uld compares ranks, not tokens: it ruined a student at --kd-ratio 10, and did no harm up to "
            f"{_ULD_RATIO:g} (docs/distillation.md)",
            file=sys.stderr,
        )
    hide_loading_bars()
    evaluation = _evaluation(arguments, plan)
    if arguments.dry_run and rank() > 0:
        return 0
    if arguments.dry_run:
        print(describe_study(plan, ratios, evaluation))
        for line in differences(arguments.preset, plan):
            print(line)
        return 0
    if evaluation is not None:
        board = then_eval(plan, ratios, evaluation)
        if rank() == 0:
            models = [UNTUNED, TEACHER, *runs(plan, ratios, compared=True)]
            print(f"\n{closing(board, models)}")
        return 0
    for folder in train_all(plan, ratios, say=lambda _: None).values():
        if rank() == 0:
            print(summary(folder), file=sys.stderr)
            print(folder)
    return 0


TRAIN_KD = Command(
    name="train-kd",
    help="finetune a model, with or without distillation from a teacher",
    add_arguments=_add_arguments,
    run=_run,
)
