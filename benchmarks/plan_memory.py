"""Peak memory as ``harness train-kd --dry-run`` plans it, and as the same run then takes it: full finetuning and LoRA, with and
without gradient checkpointing and bfloat16, and distillation with the capture of its labels.

Each plan and each run has a process of its own. A run is all of `harness_kd.training.train.train`, from reading the rows to the
saved model. Measured is the high-water mark of the process's resident memory; on a GPU, the most that its allocator gave at once.

    python benchmarks/plan_memory.py [--model FOLDER] [--batch 4] [--length 512] [--steps 3] [--cases full,lora] [--threads 2]

Without a folder the model has SmolLM2-135M's shape and random weights, which take the same memory.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

CASES: dict[str, dict[str, Any]] = {
    "full": {},
    "full, checkpointing": {"gradient_checkpointing": True},
    "full, bf16": {"bf16": True},
    "full, adafactor, checkpointing": {"optimizer": "adafactor", "gradient_checkpointing": True},
    "lora": {"lora_rank": 8},
    "lora, checkpointing": {"lora_rank": 8, "gradient_checkpointing": True},
    "lora, bf16": {"lora_rank": 8, "bf16": True},
    "distilled": {"kd_ratio": 1.0},
    "distilled, online teacher": {"kd_ratio": 1.0, "online_teacher": True},
}
_WORDS = 49_152


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", metavar="FOLDER", help="student, and teacher where there is one")
    parser.add_argument("--batch", type=int, default=4, help="rows of a micro-batch (default: 4)")
    parser.add_argument("--length", type=int, default=512, help="tokens of the longest rows (default: 512)")
    parser.add_argument("--steps", type=int, default=3, help="optimizer steps (default: 3)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cases", help=f"comma-separated numbers of {list(CASES)}, from 1 (default: all)")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(json.loads(arguments.one))))
        return
    with TemporaryDirectory(prefix="plan-memory-") as folder:
        work = Path(folder)
        model = arguments.model or random_model(work / "model")
        write_rows(work / "rows.jsonl", rows=arguments.batch * arguments.steps, length=arguments.length)
        print(f"{arguments.batch} rows of at most {arguments.length} tokens, {arguments.steps} steps\n")
        print("| case | planned MB | measured MB | planned / measured | planned, by what holds it |")
        print("|---|---:|---:|---:|---|", flush=True)
        chosen = arguments.cases.split(",") if arguments.cases else map(str, range(1, len(CASES) + 1))
        for name, options in ((list(CASES)[int(n) - 1], list(CASES.values())[int(n) - 1]) for n in chosen):
            run = {
                "student": model,
                "teacher": model if options.get("kd_ratio") else None,
                "data": str(work / "rows.jsonl"),
                "output": str(work / name.replace(", ", "-").replace(" ", "-")),
                "max_length": arguments.length,
                "max_prompt_length": arguments.length // 4,
                "overlong": "truncate",
                "batch_size": arguments.batch,
                "epochs": 1.0,
                **options,
            }
            planned = in_process("plan", run, arguments.threads)
            measured = in_process("run", run, arguments.threads)["bytes"]
            parts = sorted(planned["parts"].items(), key=lambda part: -part[1])
            held = ", ".join(f"{part} {size / 1e6:,.0f}" for part, size in parts if size > 5e6)
            total = sum(planned["parts"].values())
            print(
                f"| {name} | {total / 1e6:,.0f} | {measured / 1e6:,.0f} | {total / measured:.2f} | {held} |",
                flush=True,
            )


def in_process(what: str, run: dict[str, Any], threads: int) -> dict[str, Any]:
    """`one` in a process of its own."""
    command = [sys.executable, __file__, "--one", json.dumps({"what": what, "run": run})]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def one(job: dict[str, Any]) -> dict[str, Any]:
    """Plan a run, or do it."""
    import torch
    from harness_kd.plan import TrainPlan
    from harness_kd.training.train import prepare, train

    from harness.quiet import hide_loading_bars

    hide_loading_bars()
    plan = TrainPlan(**job["run"])
    if job["what"] == "plan":
        from harness_kd.dry_run.inference import capture_memory
        from harness_kd.dry_run.training import training_memory

        prepared = prepare(plan)
        stages = [training_memory(prepared)]
        if plan.teacher and not plan.online_teacher:
            stages.append(capture_memory(prepared, prepared.labelled.examples))
        return {"parts": max(stages, key=lambda stage: stage.total).parts}
    train(plan)
    if torch.cuda.is_available():
        return {"bytes": torch.cuda.max_memory_allocated()}
    lines = Path("/proc/self/status").read_text().splitlines()
    return {"bytes": 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])}


def write_rows(path: Path, *, rows: int, length: int) -> None:
    """Rows of random words, of which three quarters are longer than ``length`` tokens and are cut, and the others shorter."""
    draw = random.Random(0)

    def words(count: int) -> str:
        return " ".join(f"w{draw.randrange(_WORDS)}" for _ in range(count))

    lines = []
    for number in range(rows):
        long = number % 4 != 0
        lines.append({"prompt": words(length // 4), "response": words(length if long else length // 8)})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def random_model(folder: Path) -> str:
    """A model of SmolLM2-135M's shape, with a tokenizer of as many words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=_WORDS,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    vocabulary = {"</s>": 0, "<unk>": 1} | {f"w{number}": number for number in range(2, _WORDS)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="</s>", pad_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    return str(folder)


if __name__ == "__main__":
    main()
