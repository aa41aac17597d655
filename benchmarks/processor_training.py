"""Tokens per second of finetuning on a processor: ``harness train-kd`` beside transformers' Trainer and TRL's SFTTrainer.

Same model, rows, batch, optimizer and precision (float32 weights under a bfloat16 autocast where the processor computes it). Each
contender trains one epoch in a process of its own; the first two steps are not counted. Seconds are the process's own, which other
programs disturb less than the clock; tokens are those of the rows, without padding. Rounds go through all contenders in turn.

    python benchmarks/processor_training.py --model FOLDER [--data E2E_FOLDER/devset.csv] [--rows 192] [--batch 16] [--rounds 3]

Without ``--data`` rows are random words of E2E's lengths. TRL is left out where it is not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

CONTENDERS = ("Trainer", "SFTTrainer", "harness, SFT", "harness, KD")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", required=True, metavar="FOLDER", help="student, and teacher of the distilled one"
    )
    parser.add_argument("--data", metavar="FILE", help="descriptions of E2E")
    parser.add_argument("--rows", type=int, default=192)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(arguments)))
        return
    names = [name for name in CONTENDERS if name != "SFTTrainer" or importlib.util.find_spec("trl")]
    speeds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(arguments.rounds):
        for name in names:
            command = [sys.executable, *sys.argv, "--one", name]
            environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads)}
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
            found = json.loads(done.stdout.splitlines()[-1])
            speeds[name].append(found["tokens"] / found["seconds"])
            print(f"{name}: {speeds[name][-1]:.0f} tokens a second", file=sys.stderr, flush=True)
    print("| trainer | tokens per second of processor time | times the Trainer (median of rounds, range) |")
    print("|---|---:|---:|")
    for name, found in speeds.items():
        ratios = [own / base for own, base in zip(found, speeds["Trainer"], strict=True)]
        print(
            f"| {name} | {median(found):.0f} | {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |"
        )


class Clock:
    """Tokens and processor seconds of all steps but the first two."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.marks: list[float] = []

    def counting(self, collate: Callable[..., Any]) -> Callable[..., Any]:
        """The collator, with its tokens counted."""

        def counted(batch: Any) -> Any:
            made = collate(batch)
            self.tokens.append(int(made["attention_mask"].sum()))
            return made

        return counted

    def callback(self) -> Any:
        """Notes when each step ends."""
        from transformers import TrainerCallback

        clock = self

        class Mark(TrainerCallback):
            def on_step_end(self, *_: Any, **__: Any) -> None:
                clock.marks.append(time.process_time())

        return Mark()

    def found(self) -> dict[str, float]:
        """What was measured."""
        return {"tokens": sum(self.tokens[2 : len(self.marks)]), "seconds": self.marks[-1] - self.marks[1]}


def one(arguments: argparse.Namespace) -> dict[str, float]:
    """Train with one contender."""
    from harness.quiet import hide_loading_bars

    hide_loading_bars()
    with TemporaryDirectory(prefix="processor-training-") as work:
        rows = write_rows(arguments, Path(work) / "rows.jsonl")
        if arguments.one.startswith("harness"):
            return ours(arguments, Path(work), rows)
        return theirs(arguments, Path(work), rows)


def ours(arguments: argparse.Namespace, work: Path, rows: Path) -> dict[str, float]:
    """All of `train`, with its labels captured before the clock starts."""
    from harness_kd.plan import TrainPlan
    from harness_kd.training import trainer
    from harness_kd.training.train import train

    from harness.models.device import computes_bfloat16

    clock, start = Clock(), trainer.DistillationTrainer.__init__

    def clocked(self: Any, *given: Any, **named: Any) -> None:
        named["data_collator"] = clock.counting(named["data_collator"])
        start(self, *given, **named)
        self.add_callback(clock.callback())

    trainer.DistillationTrainer.__init__ = clocked  # type: ignore[method-assign]
    distilled = arguments.one.endswith("KD")
    train(
        TrainPlan(
            student=arguments.model,
            teacher=arguments.model if distilled else None,
            kd_ratio=1.0 if distilled else 0.0,
            data=str(rows),
            output=str(work / "out"),
            batch_size=arguments.batch,
            epochs=1,
            bf16=computes_bfloat16(),
            checkpoint_steps=1_000_000,
        )
    )
    return clock.found()


def theirs(arguments: argparse.Namespace, work: Path, file: Path) -> dict[str, float]:
    """Transformers' Trainer with its own collator, or TRL's with its defaults, on the same tokens and targets."""
    from datasets import Dataset
    from harness_kd.data.examples import tokenize_rows
    from harness_kd.data.rows import load_rows
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        Trainer,
        TrainingArguments,
    )

    from harness.models.device import computes_bfloat16

    clock = Clock()
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    settings: dict[str, Any] = {
        "output_dir": str(work / "out"),
        "per_device_train_batch_size": arguments.batch,
        "num_train_epochs": 1,
        "bf16": computes_bfloat16(),
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
    }
    rows = load_rows(str(file))
    if arguments.one == "SFTTrainer":
        from trl import SFTConfig, SFTTrainer

        data = Dataset.from_list([{"prompt": row.prompt, "completion": row.response} for row in rows])
        trainer: Any = SFTTrainer(
            model=model, args=SFTConfig(**settings), train_dataset=data, processing_class=tokenizer
        )
    else:
        found = tokenize_rows(rows, tokenizer, max_length=1024, max_prompt_length=512, overlong="drop")
        data = Dataset.from_list(
            [
                {
                    "input_ids": example.ids.tolist(),
                    "labels": [-100] * example.boundary + example.ids[example.boundary :].tolist(),
                }
                for example in found.examples
            ]
        )
        collator = DataCollatorForSeq2Seq(tokenizer)
        trainer = Trainer(
            model=model, args=TrainingArguments(**settings), train_dataset=data, data_collator=collator
        )
    trainer.data_collator = clock.counting(trainer.data_collator)
    trainer.add_callback(clock.callback())
    trainer.train()
    return clock.found()


def write_rows(arguments: argparse.Namespace, path: Path) -> Path:
    """The first rows of the data, or random words of their lengths."""
    from harness_kd.data.rows import load_rows

    if arguments.data:
        rows = [
            (row.prompt, row.response) for row in load_rows(f"e2e?path={arguments.data}&n={arguments.rows}")
        ]
    else:
        draw = random.Random(0)

        def words(count: int) -> str:
            return " ".join(
                draw.choice(("river", "pub", "family", "cheap", "food", "near", "the")) for _ in range(count)
            )

        rows = [
            (words(draw.randint(50, 70)), " " + words(draw.randint(15, 45))) for _ in range(arguments.rows)
        ]
    path.write_text("".join(json.dumps({"prompt": p, "response": r}) + "\n" for p, r in rows), "utf-8")
    return path


if __name__ == "__main__":
    main()
