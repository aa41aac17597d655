"""Does distillation make the news world's student more faithful, and where does it not? Mean and spread over seeds.

    python benchmarks/kd_vs_sft.py --output build/kd_vs_sft            # 5 seeds, all conditions; resumes
    python benchmarks/kd_vs_sft.py --output build/kd_vs_sft --table    # the table alone

Conditions: references of which 40% are noisy, and clean ones; a teacher finetuned on noise of the same kind, and one
finetuned on clean references. Methods: plain finetuning (SFT), SFT with label smoothing 0.1 (the control that needs no
teacher), distillation with kd_ratio 0.1, 1 and 10. Everything else is equal: student, rows, epochs, order, learning rate.

Each cell is a share of held-out articles whose greedy summary is faithful by the oracle. The spread over seeds (training
data and order) is a standard deviation; the paired test is a t test over seeds of method minus SFT, and next to it
McNemar's test over all documents of all seeds.

    python benchmarks/kd_vs_sft.py --tune --output build/kd_vs_sft     # learning rate and epochs chosen for each method

With --tune each method gets the learning rate and the epochs with which it is most faithful on the dev articles, mean over
three seeds that are not used again; the table is of new seeds and the test articles.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import shutil
import statistics
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from scipy.stats import ttest_rel
from tqdm import tqdm

from harness.files import write_atomic
from harness.quiet import hide_loading_bars
from harness.stats import mcnemar

LABEL_SMOOTHING = 0.1
RATIOS = (0.1, 1.0, 10.0)
LEARNING_RATES = (1e-3, 2.5e-3, 5e-3, 1e-2)
EPOCHS = (2, 5, 10)
TUNING_SEEDS = (100, 101, 102)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One student."""

    seed: int
    noise: float
    teacher: str | None
    kd_ratio: float = 0.0
    label_smoothing: float = 0.0
    learning_rate: float = 5e-3
    epochs: int = 5
    split: str = "test"

    @property
    def method(self) -> str:
        """Name in the table."""
        if self.kd_ratio:
            return f"KD ratio {self.kd_ratio:g}"
        return f"label smoothing {self.label_smoothing:g}" if self.label_smoothing else "SFT"

    @property
    def name(self) -> str:
        """Name of its files."""
        parts = (
            self.noise,
            self.teacher,
            self.method.replace(" ", "_"),
            self.seed,
            self.learning_rate,
            self.epochs,
            self.split,
        )
        return "-".join(map(str, parts))


def runs(seeds: int) -> Iterator[Run]:
    """Every student, the first seeds first, so that an early look at the table is balanced."""
    for seed in range(seeds):
        for noise in (0.4, 0.0):
            yield Run(seed=seed, noise=noise, teacher=None)
            yield Run(seed=seed, noise=noise, teacher=None, label_smoothing=LABEL_SMOOTHING)
            for teacher in ("teacher", "teacher-clean"):
                for ratio in RATIOS:
                    yield Run(seed=seed, noise=noise, teacher=teacher, kd_ratio=ratio)


def tuning_runs() -> Iterator[Run]:
    """Every method with every learning rate and number of epochs, on noisy references."""
    for seed, epochs, learning_rate in itertools.product(TUNING_SEEDS, EPOCHS, LEARNING_RATES):
        base = Run(
            seed=seed, noise=0.4, teacher=None, learning_rate=learning_rate, epochs=epochs, split="dev"
        )
        yield base
        yield replace(base, label_smoothing=LABEL_SMOOTHING)
        for ratio in RATIOS[1:]:
            yield replace(base, teacher="teacher", kd_ratio=ratio)


def tuned(output: Path, seeds: int) -> list[Run]:
    """New seeds of each method with its best setting on the dev articles; prints what each setting reached."""
    found: dict[str, dict[tuple[float, int], list[Run]]] = {}
    for run in tuning_runs():
        found.setdefault(run.method, {}).setdefault((run.learning_rate, run.epochs), []).append(run)
    print(
        "| method | "
        + " | ".join(f"{e} epochs, {lr:g}" for e, lr in itertools.product(EPOCHS, LEARNING_RATES))
        + " |"
    )
    print("|---" * (1 + len(EPOCHS) * len(LEARNING_RATES)) + "|")
    chosen = []
    for method, settings in found.items():
        means = {
            setting: statistics.fmean(100 * statistics.fmean(faithful(run, output)) for run in same)
            for setting, same in settings.items()
        }
        best = max(means, key=lambda setting: means[setting])
        cells = [f"**{mean:.1f}**" if setting == best else f"{mean:.1f}" for setting, mean in means.items()]
        print(f"| {method} | " + " | ".join(cells) + " |")
        chosen += [replace(settings[best][0], seed=seed, split="test") for seed in range(seeds)]
    print()
    return chosen


def faithful(run: Run, output: Path) -> list[int]:
    """1 for each faithful summary of a finished run."""
    result: list[int] = json.loads((output / "results" / f"{run.name}.json").read_text())["faithful"]
    return result


def do(run: Run, output: Path, rows: int, documents: int) -> None:
    """Train one student, let it summarise, and keep one 0 or 1 per document."""
    import torch
    from harness_kd.plan import TrainPlan
    from harness_kd.training.train import train

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
            epochs=run.epochs,
            learning_rate=run.learning_rate,
            batch_size=32,
            warmup_steps=20,
            seed=run.seed,
        )
    )
    found, kinds = summarise(folder, documents, run.split)
    write_atomic(output / "results" / f"{run.name}.json", json.dumps({"faithful": found, "kinds": kinds}))
    shutil.rmtree(folder)


def summarise(folder: Path, documents: int, split: str) -> tuple[list[int], dict[str, int]]:
    """Greedy summaries of held-out articles: 1 for each faithful one, and the number of each kind."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from harness import newsworld
    from harness.newsworld.oracle import judge

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = newsworld.rows(split, documents)
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


def table(output: Path, shown: Iterable[Run]) -> str:
    """The result in markdown, from the finished runs."""
    found: dict[tuple[float, str | None, str], dict[int, list[int]]] = {}
    extrinsic: dict[tuple[float, str | None, str], list[float]] = {}
    for run in shown:
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
        cells = [f"{noise:.0%} noisy" if noise else "clean", teacher or "", method, mean_and_spread(own)]
        if method == "SFT":
            cells += ["", "", "", ""]
        else:
            gains = [a - b for a, b in zip(own, sft, strict=True)]
            pairs = [p for seed in shared for p in zip(baseline[seed], by_seed[seed], strict=True)]
            exact, _ = mcnemar(pairs.count((1, 0)), pairs.count((0, 1)))
            p = float(ttest_rel(own, sft).pvalue) if len(shared) > 1 else math.nan
            won = f"{sum(gain > 0 for gain in gains)}/{len(gains)}"
            cells += [mean_and_spread(gains, "+"), won, f"{p:.4f}", f"{exact:.2g}"]
        cells.append(f"{100 * statistics.fmean(extrinsic[(noise, teacher, method)]):.1f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def mean_and_spread(values: list[float], sign: str = "") -> str:
    """Mean and standard deviation, as text."""
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
    parser.add_argument("--tune", action="store_true", help="choose learning rate and epochs for each method")
    arguments = parser.parse_args()
    wanted = list(runs(arguments.seeds))
    if arguments.tune:
        if not arguments.table:
            do_missing(list(tuning_runs()), arguments)
        wanted = tuned(arguments.output, arguments.seeds)
    if not arguments.table:
        do_missing(wanted, arguments)
    print(table(arguments.output, wanted))
    return 0


def do_missing(wanted: list[Run], arguments: argparse.Namespace) -> None:
    """The runs that have no result yet."""
    results = arguments.output / "results"
    todo = [run for run in wanted if not (results / f"{run.name}.json").exists()]
    # one process per seed and teacher fills a soft-label cache; the others of that cache come after it
    with ProcessPoolExecutor(arguments.workers, max_tasks_per_child=1) as pool:
        jobs = {
            pool.submit(do_all, group, arguments.output, arguments.rows, arguments.documents): group
            for group in groups(todo)
        }
        for job in tqdm(as_completed(jobs), total=len(jobs), desc="groups of students"):
            job.result()


def groups(todo: list[Run]) -> list[list[Run]]:
    """Runs that share a soft-label cache, together."""
    by_cache: dict[tuple[int, float, str | None], list[Run]] = {}
    for run in todo:
        by_cache.setdefault((run.seed, run.noise, run.teacher), []).append(run)
    return list(by_cache.values())


def do_all(group: list[Run], output: Path, rows: int, documents: int) -> None:
    """The runs of one group, in order."""
    hide_loading_bars()
    for run in group:
        do(run, output, rows, documents)


if __name__ == "__main__":
    sys.exit(main())
