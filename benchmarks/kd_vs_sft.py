"""Does distillation make the news world's student more faithful, and where does it not? Mean and spread over seeds.

    python benchmarks/kd_vs_sft.py --output build/kd_vs_sft            # 5 seeds, all conditions; resumes
    python benchmarks/kd_vs_sft.py --output build/kd_vs_sft --table    # the table alone

Conditions: references of which 40% are noisy, and clean ones; a teacher finetuned on noise of the same kind, and one
finetuned on clean references. Methods: plain finetuning (SFT), SFT with label smoothing 0.1 (the control that needs no
teacher), distillation with kd_ratio 0.1, 1 and 10. Everything else is equal: student, rows, epochs, order, learning rate.

Each cell is a share of held-out articles whose greedy summary is faithful by the oracle. The spread over seeds (training
data and order) is a standard deviation; the paired test is a t test over seeds of method minus SFT, and next to it
McNemar's test over all documents of all seeds.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import ttest_rel
from tqdm import tqdm

from harness.files import write_atomic
from harness.stats import mcnemar

LABEL_SMOOTHING = 0.1
RATIOS = (0.1, 1.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One student."""

    seed: int
    noise: float
    teacher: str | None
    kd_ratio: float = 0.0
    label_smoothing: float = 0.0

    @property
    def method(self) -> str:
        """Name in the table."""
        if self.kd_ratio:
            return f"KD ratio {self.kd_ratio:g}"
        return f"label smoothing {self.label_smoothing:g}" if self.label_smoothing else "SFT"

    @property
    def name(self) -> str:
        """Name of its files."""
        return "-".join(map(str, (self.noise, self.teacher, self.method.replace(" ", "_"), self.seed)))


def runs(seeds: int) -> Iterator[Run]:
    """Every student, the first seeds first, so that an early look at the table is balanced."""
    for seed in range(seeds):
        for noise in (0.4, 0.0):
            yield Run(seed=seed, noise=noise, teacher=None)
            yield Run(seed=seed, noise=noise, teacher=None, label_smoothing=LABEL_SMOOTHING)
            for teacher in ("teacher", "teacher-clean"):
                for ratio in RATIOS:
                    yield Run(seed=seed, noise=noise, teacher=teacher, kd_ratio=ratio)


def do(run: Run, output: Path, rows: int, documents: int) -> None:
    """Train one student, let it summarise, and keep one 0 or 1 per document."""
    import torch
    from harness_kd.plan import TrainPlan
    from harness_kd.train import train

    from harness.newsworld.models import path

    torch.set_num_threads(1)
    labels = output / "labels" / f"{run.teacher}-{run.noise}-{run.seed}"
    folder = train(
        TrainPlan(
            student=str(path("student")),
            teacher=str(path(run.teacher)) if run.teacher else None,
            data=f"newsworld?n={rows}&noise={run.noise}&seed={run.seed}",
            output=str(output / "models" / run.name),
            soft_labels=str(labels) if run.teacher else None,
            kd_ratio=run.kd_ratio,
            label_smoothing=run.label_smoothing,
            epochs=5,
            learning_rate=5e-3,
            batch_size=32,
            warmup_steps=20,
            seed=run.seed,
        )
    )
    faithful, kinds = summarise(folder, documents)
    write_atomic(output / "results" / f"{run.name}.json", json.dumps({"faithful": faithful, "kinds": kinds}))
    shutil.rmtree(folder)


def summarise(folder: Path, documents: int) -> tuple[list[int], dict[str, int]]:
    """Greedy summaries of the test articles: 1 for each faithful one, and the number of each kind."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from harness import newsworld
    from harness.newsworld.oracle import judge

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = newsworld.rows("test", documents)
    kinds = []
    for start in range(0, len(rows), 128):
        batch = rows[start : start + 128]
        inputs = tokenizer(
            [newsworld.prompt(row["article"]) for row in batch],
            return_tensors="pt",
            padding=True,
            return_token_type_ids=False,
        )
        with torch.inference_mode():
            ids = model.generate(**inputs, do_sample=False, max_new_tokens=48)
        texts = tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        kinds += [judge(row["article"], text.strip()).kind for row, text in zip(batch, texts, strict=True)]
    return [int(kind == "faithful") for kind in kinds], {
        kind: kinds.count(kind) for kind in sorted(set(kinds))
    }


def table(output: Path, seeds: int) -> str:
    """The result in markdown, from the finished runs."""
    found: dict[tuple[float, str | None, str], dict[int, list[int]]] = {}
    extrinsic: dict[tuple[float, str | None, str], list[float]] = {}
    for run in runs(seeds):
        path = output / "results" / f"{run.name}.json"
        if path.exists():
            result = json.loads(path.read_text())
            key = (run.noise, run.teacher, run.method)
            found.setdefault(key, {})[run.seed] = result["faithful"]
            extrinsic.setdefault(key, []).append(
                result["kinds"].get("extrinsic", 0) / len(result["faithful"])
            )
    lines = [
        "| references | teacher | method | faithful % | minus SFT | seeds won | p (t, seeds) | p (McNemar) | extrinsic % |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for (noise, teacher, method), by_seed in found.items():
        baseline = found[(noise, None, "SFT")]
        shared = sorted(set(by_seed) & set(baseline))
        own = [100 * statistics.fmean(by_seed[seed]) for seed in shared]
        sft = [100 * statistics.fmean(baseline[seed]) for seed in shared]
        cells = [f"{noise:.0%} noisy" if noise else "clean", teacher or "", method, _mean_and_spread(own)]
        if method == "SFT":
            cells += ["", "", "", ""]
        else:
            gains = [a - b for a, b in zip(own, sft, strict=True)]
            pairs = [p for seed in shared for p in zip(baseline[seed], by_seed[seed], strict=True)]
            exact, _ = mcnemar(pairs.count((1, 0)), pairs.count((0, 1)))
            p = float(ttest_rel(own, sft).pvalue) if len(shared) > 1 else math.nan
            won = f"{sum(gain > 0 for gain in gains)}/{len(gains)}"
            cells += [_mean_and_spread(gains, "+"), won, f"{p:.4f}", f"{exact:.2g}"]
        cells.append(f"{100 * statistics.fmean(extrinsic[(noise, teacher, method)]):.1f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _mean_and_spread(values: list[float], sign: str = "") -> str:
    spread = statistics.stdev(values) if len(values) > 1 else math.nan
    return f"{statistics.fmean(values):{sign}.1f} ± {spread:.1f}"


def main() -> int:
    """Run what is missing, two students at a time, then print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("build/kd_vs_sft"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--documents", type=int, default=400)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="print the table of what is finished")
    arguments = parser.parse_args()
    if not arguments.table:
        results = arguments.output / "results"
        todo = [run for run in runs(arguments.seeds) if not (results / f"{run.name}.json").exists()]
        # one process per seed and teacher fills a soft-label cache; the others of that cache come after it
        with ProcessPoolExecutor(arguments.workers, max_tasks_per_child=1) as pool:
            jobs = {
                pool.submit(do_all, group, arguments.output, arguments.rows, arguments.documents): group
                for group in groups(todo)
            }
            for job in tqdm(as_completed(jobs), total=len(jobs), desc="groups of students"):
                job.result()
    print(table(arguments.output, arguments.seeds))
    return 0


def groups(todo: list[Run]) -> list[list[Run]]:
    """Runs that share a soft-label cache, together."""
    by_cache: dict[tuple[int, float, str | None], list[Run]] = {}
    for run in todo:
        by_cache.setdefault((run.seed, run.noise, run.teacher), []).append(run)
    return list(by_cache.values())


def do_all(group: list[Run], output: Path, rows: int, documents: int) -> None:
    """The runs of one group, in order."""
    for run in group:
        do(run, output, rows, documents)


if __name__ == "__main__":
    sys.exit(main())
