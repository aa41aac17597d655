"""The ways to distil, beside each other in the news world: divergences, temperatures, sequences, self-distillation, ULD, storage.

    python benchmarks/kd_ways.py --output build/kd_ways            # 5 seeds; resumes
    python benchmarks/kd_ways.py --output build/kd_ways --table    # the table alone

Student, rows (2,000, of which 40% have noisy references), epochs (5), learning rate (0.005), order and test articles (400)
are those of ``kd_vs_sft.py``, with kd_ratio 10 where there are soft labels. The spread is a standard deviation over seeds;
the test is a paired t test over seeds against SFT, not corrected for the number of rows.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from kd_vs_sft import mean_and_spread, summarise
from scipy.stats import ttest_rel
from tqdm import tqdm

from harness.files import write_atomic
from harness.quiet import hide_loading_bars

WORDS: dict[str, Any] = {"kd_ratio": 10.0}
SEQUENCES, SELF = "sequences", "self"
WAYS: dict[str, dict[str, Any]] = {
    "SFT": {},
    "forward KL": WORDS,
    "soft cross-entropy (the paper's)": WORDS | {"divergence": "soft-cross-entropy"},
    "reverse KL": WORDS | {"divergence": "reverse-kl"},
    "Jensen-Shannon": WORDS | {"divergence": "jensen-shannon"},
    "forward KL, T = 2": WORDS | {"temperature": 2.0},
    "ULD, as if the tokenizers differed": WORDS | {"divergence": "uld"},
    "ULD, kd_ratio 1.5 (its paper's)": {"kd_ratio": 1.5, "divergence": "uld"},
    "ULD, kd_ratio 0.1": {"kd_ratio": 0.1, "divergence": "uld"},
    "top 8 in place of 64": WORDS | {"top_k": 8},
    "top 64 while the tail is over 0.05": WORDS | {"max_tail": 0.05},
    "12 draws, unbiased": WORDS | {"top_k": 0, "tail_draws": 12},
    "the teacher's sequences": {"data": SEQUENCES},
    "the teacher's sequences, forward KL": WORDS | {"data": SEQUENCES},
    "self-distillation, forward KL": WORDS | {"teacher": SELF},
}


def do_seed(seed: int, output: Path, rows: int, documents: int) -> None:
    """Every way with one seed, in order: self-distillation needs the SFT student of its seed."""
    import torch
    from harness_kd.plan import TrainPlan
    from harness_kd.training.train import train

    from harness.newsworld.models import path

    torch.set_num_threads(1)
    hide_loading_bars()
    models = output / "models" / str(seed)
    data = f"newsworld?n={rows}&noise=0.4&seed={seed}"
    for way, options in WAYS.items():
        result = output / "results" / f"{seed}-{way}.json"
        if result.exists():
            continue
        chosen = dict(options)
        source = chosen.pop("data", None)
        teacher = str(models / "SFT") if chosen.pop("teacher", None) == SELF else str(path("teacher"))
        plan = TrainPlan(
            student=str(path("student")),
            teacher=teacher if "kd_ratio" in chosen else None,
            data=sequences(data, output / f"sequences-{seed}.jsonl") if source == SEQUENCES else data,
            output=str(models / way.replace(" ", "-")),
            epochs=5,
            learning_rate=5e-3,
            batch_size=32,
            warmup_steps=20,
            seed=seed,
            **chosen,
        )
        folder = train(plan)
        faithful, kinds = summarise(folder, documents, "test")
        write_atomic(result, json.dumps({"faithful": faithful, "kinds": kinds}))
        if way != "SFT":
            shutil.rmtree(folder)
    shutil.rmtree(models, ignore_errors=True)


def sequences(data: str, output: Path) -> str:
    """The teacher's greedy responses to the prompts of the data, as data."""
    from harness_kd.studies.teacher_responses import SequencePlan, generate, prepare

    from harness.generation import Decoding
    from harness.newsworld.models import path

    if not output.exists():
        decoding = Decoding(max_new_tokens=48)
        generate(
            prepare(
                SequencePlan(
                    teacher=str(path("teacher")),
                    data=data,
                    output=output,
                    decoding=decoding,
                    max_prompt_length=512,
                    batch_size=64,
                )
            )
        )
    return str(output)


def table(output: Path, seeds: int) -> str:
    """The result in markdown, from the finished runs."""
    lines = [
        "| way | faithful % | minus SFT | seeds won | p (t, seeds) | extrinsic % |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    found: dict[str, dict[int, dict[str, Any]]] = {way: {} for way in WAYS}
    for way in WAYS:
        for seed in range(seeds):
            path = output / "results" / f"{seed}-{way}.json"
            if path.exists():
                found[way][seed] = json.loads(path.read_text())
    for way, by_seed in found.items():
        shared = sorted(set(by_seed) & set(found["SFT"]))
        if len(shared) < 2:
            continue
        own, sft = (
            [100 * statistics.fmean(of[seed]["faithful"]) for seed in shared]
            for of in (by_seed, found["SFT"])
        )
        extrinsic = statistics.fmean(
            100 * by_seed[seed]["kinds"].get("extrinsic", 0) / len(by_seed[seed]["faithful"])
            for seed in shared
        )
        cells = [way, mean_and_spread(own), "", "", ""]
        if way != "SFT":
            gains = [a - b for a, b in zip(own, sft, strict=True)]
            won = f"{sum(gain > 0 for gain in gains)}/{len(gains)}"
            cells[2:] = [mean_and_spread(gains, "+"), won, f"{float(ttest_rel(own, sft).pvalue):.4f}"]
        lines.append("| " + " | ".join([*cells, f"{extrinsic:.1f}"]) + " |")
    return "\n".join(lines)


def main() -> int:
    """Run what is missing, two seeds at a time, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("build/kd_ways"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--documents", type=int, default=400)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="print the table of what is finished")
    arguments = parser.parse_args()
    if not arguments.table:
        with ProcessPoolExecutor(arguments.workers, max_tasks_per_child=1) as pool:
            jobs = [
                pool.submit(do_seed, seed, arguments.output, arguments.rows, arguments.documents)
                for seed in range(arguments.seeds)
            ]
            for job in tqdm(as_completed(jobs), total=len(jobs), desc="seeds"):
                job.result()
    print(table(arguments.output, arguments.seeds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
