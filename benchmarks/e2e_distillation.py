"""Does distillation make a real language model describe restaurants more faithfully? E2E, over methods and seeds; resumes.

    python benchmarks/e2e_distillation.py --data FOLDER --output build/e2e            # teacher, tuning, then all seeds
    python benchmarks/e2e_distillation.py --data FOLDER --output build/e2e --table    # the tables of what is finished

FOLDER holds the files of github.com/tuetschek/e2e-dataset and e2e-cleaning: ``devset.csv`` trains (43% of its references add
something to the data, or leave something out), every twelfth of its meanings is held out to choose learning rates;
``cleaned_devel.csv`` trains the condition without noise; the 630 meanings of ``testset_w_refs.csv`` test.

Teacher: SmolLM2-135M-Instruct finetuned on the noisy references. Students: ``--layers`` of its 30 layers, or all. Methods differ in
the labels alone: student, rows, order, epochs and steps are equal, and each method has the learning rate with which it errs least
on the held-out meanings. The teacher's labels and sequences cost one pass over the rows, which is not equalised.

SER is the share of slots that a description adds, leaves out, gets wrong or repeats (``slot_error``), greedy. Tests against SFT: a
paired t test over seeds, and a permutation test over meanings, errors summed over seeds. Neither is corrected for the rows shown.
Calibration is of the next token on held-out references: expected calibration error of the likeliest token, as trained, and after
one temperature was fitted on half of them (the other half is measured). A temperature changes no greedy description.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from harness_kd.plan import TrainPlan
from kd_vs_sft import mean_and_spread
from scipy.stats import ttest_rel
from slot_error import rows_of
from tqdm import tqdm

from harness.files import write_atomic
from harness.quiet import hide_loading_bars
from harness.stats.paired import compare_means

SEQUENCES = "sequences"
METHODS: dict[str, dict[str, Any]] = {
    "SFT": {},
    "label smoothing 0.1": {"label_smoothing": 0.1},
    "KD ratio 1": {"kd_ratio": 1.0},
    "KD ratio 10": {"kd_ratio": 10.0},
    "teacher's sequences": {"data": SEQUENCES},
    "teacher's sequences, KD ratio 10": {"data": SEQUENCES, "kd_ratio": 10.0},
}
REFERENCES = {"noisy": "devset.csv", "cleaned": "cleaned_devel.csv"}
TUNING_SEED = 100
BATCH = 42
"""Meanings described at once."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all runs share."""

    data: Path
    output: Path
    model: str
    layers: int
    rows: int
    epochs: float
    teacher_epochs: float
    rates: tuple[float, ...]
    teacher_rates: tuple[float, ...]

    def source(self, references: str, split: str, rows: int | None = None) -> str:
        """Rows, as ``--data`` names them; None: all of the split."""
        first = "" if rows is None else f"&n={rows}"
        return f"e2e?split={split}{first}&path={self.data / REFERENCES[references]}"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One student."""

    references: str
    method: str
    rate: float
    seed: int
    split: str = "test"

    @property
    def name(self) -> str:
        """Of its files."""
        words = (self.references, self.method, f"{self.rate:g}", self.seed, self.split)
        return "-".join(map(str, words)).replace(" ", "_").replace("'", "").replace(",", "")


def plan(output: Path, student: str, *, rate: float, epochs: float, seed: int, **options: Any) -> TrainPlan:
    """One training run, at the same size for all."""
    from harness.models.device import computes_bfloat16

    return TrainPlan(
        student=student,
        output=str(output),
        learning_rate=rate,
        epochs=epochs,
        seed=seed,
        batch_size=16,
        warmup_steps=30,
        bf16=computes_bfloat16(),
        **options,
    )


def plan_of(setting: Setting, run: Run) -> TrainPlan:
    """The training of a student. The teacher's sequences are made where they are not there."""
    options = dict(METHODS[run.method])
    from_teacher = options.pop("data", None) == SEQUENCES
    rows = setting.source(run.references, "train", setting.rows)
    if options.get("kd_ratio"):
        options |= {"teacher": str(setting.output / "teacher"), "soft_labels": str(setting.output / "labels")}
    return plan(
        setting.output / "models" / run.name,
        str(setting.output / "student"),
        rate=run.rate,
        epochs=setting.epochs,
        seed=run.seed,
        data=sequences(setting, run.references) if from_teacher else rows,
        **options,
    )


def teacher(setting: Setting) -> Path:
    """The teacher: of the learning rates that are tried, the one that errs least on the held-out meanings."""
    from harness_kd.training.train import train

    done = setting.output / "teacher"
    if not done.exists():
        for rate in setting.teacher_rates:
            result = setting.output / "results" / f"teacher-{rate:g}-dev.json"
            folder = setting.output / "models" / f"teacher-{rate:g}"
            if not result.exists():
                train(
                    plan(
                        folder,
                        setting.model,
                        rate=rate,
                        epochs=setting.teacher_epochs,
                        seed=0,
                        data=setting.source("noisy", "train"),
                    )
                )
                write_atomic(result, json.dumps(measured(setting, folder, "dev")))
        best = min(setting.teacher_rates, key=lambda rate: ser(load(setting, f"teacher-{rate:g}-dev")))
        (setting.output / "models" / f"teacher-{best:g}").rename(done)
    result = setting.output / "results" / "teacher-test.json"
    if not result.exists():
        write_atomic(result, json.dumps(measured(setting, done, "test")))
    return done


def sequences(setting: Setting, references: str) -> str:
    """The teacher's greedy descriptions of the training meanings, as data; one for each meaning, repeated like its references."""
    from harness_kd.studies.teacher_responses import SequencePlan, generate, prepare

    from harness.generation import Decoding

    output = setting.output / f"sequences-{references}.jsonl"
    if not output.exists():
        generate(
            prepare(
                SequencePlan(
                    teacher=str(setting.output / "teacher"),
                    data=setting.source(references, "train", setting.rows),
                    output=output,
                    decoding=Decoding(max_new_tokens=96),
                    max_prompt_length=512,
                    batch_size=32,
                )
            )
        )
    return str(output)


def do(setting: Setting, run: Run) -> None:
    """Train one student, measure it, and keep its counts."""
    import torch
    from harness_kd.training.train import train

    torch.set_num_threads(1)
    hide_loading_bars()
    started = time.monotonic()
    folder = train(plan_of(setting, run))
    found = measured(setting, folder, run.split)
    found["seconds"] = time.monotonic() - started
    write_atomic(setting.output / "results" / f"{run.name}.json", json.dumps(found))
    if run.seed > 0:
        shutil.rmtree(folder)


def measured(setting: Setting, folder: Path, split: str) -> dict[str, Any]:
    """Slot errors of the greedy description of each meaning, and calibration on the held-out references."""
    from harness.metrics.e2e.errors import slot_errors
    from harness.metrics.e2e.meaning import parse

    meanings = meanings_of(setting, split)
    texts = descriptions(setting, folder, meanings)
    errors = [slot_errors(parse(meaning), text) for meaning, text in zip(meanings, texts, strict=True)]
    counts = [[one.added, one.missing, one.wrong, one.repeated, one.slots] for one in errors]
    return {"texts": texts, "counts": counts, "calibration": calibration(setting, folder)}


def meanings_of(setting: Setting, split: str) -> list[str]:
    """Distinct meanings: those held out from training, or those of the test file."""
    from harness_kd.data.named import E2E_TEMPLATE
    from harness_kd.data.rows import load_rows

    if split == "dev":
        head = E2E_TEMPLATE.partition("{mr}")[0]
        rows = load_rows(setting.source("noisy", "dev"))
        return list(dict.fromkeys(row.prompt.removeprefix(head).partition("\n")[0] for row in rows))
    return list(dict.fromkeys(row["mr"] for row in rows_of(setting.data / "testset_w_refs.csv")))


def descriptions(setting: Setting, folder: Path, meanings: Sequence[str]) -> list[str]:
    """Greedy, up to the first newline, in the words of the training rows."""
    from harness_kd.data.named import E2E_TEMPLATE

    from harness.generation import Decoding, end_tokens, forget, plain, respond
    from harness.models.load import load_language_model
    from harness.models.source import ModelSource

    source = ModelSource.find(str(folder))
    loaded = load_language_model(source)
    decoding, work = Decoding(max_new_tokens=96), setting.output / "answers" / folder.name
    found = respond(
        loaded.tokenizer,
        [loaded.encode(E2E_TEMPLATE.format(mr=meaning)) for meaning in meanings],
        plain(loaded.model, loaded.tokenizer, decoding),
        decoding,
        work=work,
        made_by={"model": source.sha256},
        batch_size=BATCH,
        ends=end_tokens(loaded.model, loaded.tokenizer),
    )
    forget(work)
    return [one.text.strip().partition("\n")[0] for one in found]


def calibration(setting: Setting, folder: Path) -> dict[str, float]:
    """Of the next token on held-out references: nll and ece, then the temperature fitted on half of them, and ece with it."""
    import torch
    from harness_kd.data.examples import tokenize_rows
    from harness_kd.data.rows import load_rows

    from harness.judges.calibration import ece
    from harness.models.load import load_language_model

    loaded = load_language_model(str(folder))
    rows = load_rows(setting.source("noisy", "dev"))[::4]
    found = tokenize_rows(rows, loaded.tokenizer, max_length=512, max_prompt_length=256, overlong="drop")
    logits, targets = [], []
    for example in found.examples:
        ids = torch.tensor(example.ids.astype(np.int64), device=loaded.model.device)[None]
        with torch.inference_mode():
            logits.append(loaded.model(ids).logits[0, example.boundary - 1 : -1].float())
        targets.append(ids[0, example.boundary :])
    half = len(logits) // 2
    fitting = torch.cat(logits[:half]), torch.cat(targets[:half])
    testing = torch.cat(logits[half:]), torch.cat(targets[half:])

    def nll(pair: tuple[Any, Any], temperature: float) -> float:
        return float(torch.nn.functional.cross_entropy(pair[0] / temperature, pair[1]))

    grid = np.geomspace(0.5, 4.0, 43)
    best = float(min(grid, key=lambda temperature: nll(fitting, temperature)))

    def error(temperature: float) -> float:
        sure, top = torch.softmax(testing[0] / temperature, -1).max(-1)
        return ece(sure.tolist(), (top == testing[1]).int().tolist())

    return {"nll": nll(testing, 1.0), "ece": error(1.0), "temperature": best, "ece_tempered": error(best)}


def load(setting: Setting, name: str) -> dict[str, Any]:
    """A finished result."""
    return dict(json.loads((setting.output / "results" / f"{name}.json").read_text()))


def ser(result: dict[str, Any]) -> float:
    """Slot error rate, percent."""
    counts = np.asarray(result["counts"])
    return float(100 * counts[:, :4].sum() / counts[:, 4].sum())


def tuning(setting: Setting, references: Sequence[str]) -> Iterator[Run]:
    """Every method with every rate."""
    for which in references:
        for method in METHODS:
            for rate in setting.rates:
                yield Run(references=which, method=method, rate=rate, seed=TUNING_SEED, split="dev")


def tuned(setting: Setting, references: Sequence[str], seeds: int) -> list[Run]:
    """All seeds of each method at its best rate; the first seeds first, so that an early table is balanced."""
    best: dict[tuple[str, str], Run] = {}
    for run in tuning(setting, references):
        if finished(setting, run):
            at = (run.references, run.method)
            if at not in best or ser(load(setting, run.name)) < ser(load(setting, best[at].name)):
                best[at] = run
    return [replace(run, seed=seed, split="test") for seed in range(seeds) for run in best.values()]


def finished(setting: Setting, run: Run) -> bool:
    """Whether its result is there."""
    return (setting.output / "results" / f"{run.name}.json").exists()


def tuning_table(setting: Setting, references: Sequence[str]) -> list[str]:
    """SER on the held-out meanings by method and rate, the chosen one bold."""
    lines = ["| references | method | " + " | ".join(f"{rate:g}" for rate in setting.rates) + " |"]
    lines.append("|---|---" + "|---:" * len(setting.rates) + "|")
    for which in references:
        for method in METHODS:
            runs = [
                Run(references=which, method=method, rate=rate, seed=TUNING_SEED, split="dev")
                for rate in setting.rates
            ]
            found = [ser(load(setting, run.name)) if finished(setting, run) else None for run in runs]
            known = [value for value in found if value is not None]
            cells = [
                "" if value is None else f"**{value:.1f}**" if value == min(known) else f"{value:.1f}"
                for value in found
            ]
            lines.append(f"| {which} | {method} | " + " | ".join(cells) + " |")
    return lines


def table(setting: Setting, runs: Sequence[Run]) -> list[str]:
    """Test results: mean and standard deviation over seeds, and what SFT differs by."""
    lines = [
        "| references | method | rate | SER % | added, wrong % | missing % | rows without error % | SER minus SFT | seeds won "
        "| p (t, seeds) | p (meanings) | ECE % | ECE %, T fitted | minutes |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    by_row: dict[tuple[str, str, float], dict[int, dict[str, Any]]] = {}
    for run in runs:
        if finished(setting, run):
            by_row.setdefault((run.references, run.method, run.rate), {})[run.seed] = load(setting, run.name)
    for (which, method, rate), found in by_row.items():
        counts = {seed: np.asarray(one["counts"]) for seed, one in found.items()}
        slots = next(iter(counts.values()))[:, 4].sum()
        shares = [
            [100 * c[:, columns].sum() / slots for c in counts.values()]
            for columns in ([0, 1, 2, 3], [0, 2], [1])
        ]
        right = [100 * float((c[:, :4].sum(1) == 0).mean()) for c in counts.values()]
        cells = [which, method, f"{rate:g}", *map(mean_and_spread, (*shares, right))]
        sft = next((one for (w, m, _), one in by_row.items() if (w, m) == (which, "SFT")), {})
        shared = sorted(set(sft) & set(found))
        if method == "SFT" or not shared:
            cells += ["", "", "", ""]
        else:
            own = [ser(found[seed]) for seed in shared]
            base = [ser(sft[seed]) for seed in shared]
            gains = [a - b for a, b in zip(own, base, strict=True)]
            errors = [
                np.sum([np.asarray(side[seed]["counts"])[:, :4].sum(1) for seed in shared], axis=0).astype(
                    float
                )
                for side in (sft, found)
            ]
            p = f"{ttest_rel(own, base).pvalue:.4f}" if len(shared) > 1 else ""
            won = f"{sum(gain < 0 for gain in gains)}/{len(gains)}"
            cells += [
                mean_and_spread(gains, "+"),
                won,
                p,
                f"{compare_means(errors[0], errors[1]).p_value:.2g}",
            ]
        for key in ("ece", "ece_tempered"):
            cells.append(mean_and_spread([100 * one["calibration"][key] for one in found.values()]))
        cells.append(f"{statistics.fmean(one['seconds'] for one in found.values()) / 60:.0f}")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def do_missing(setting: Setting, runs: Sequence[Run], workers: int) -> None:
    """The runs that have no result yet. What students share, the teacher's sequences and labels, is made first, by one process."""
    from harness_kd.training.train import capture_labels, prepare

    todo = [run for run in runs if not finished(setting, run)]
    for shared in {run.references + run.method: run for run in todo}.values():
        capture_labels(prepare(plan_of(setting, shared)))
    with ProcessPoolExecutor(workers, max_tasks_per_child=1) as pool:
        jobs = [pool.submit(do, setting, run) for run in todo]
        for job in tqdm(as_completed(jobs), total=len(jobs), desc="students"):
            job.result()


def main() -> int:
    """Do what is missing, then print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("build/e2e"))
    parser.add_argument(
        "--model", help="the teacher before its finetuning (default: SmolLM2-135M-Instruct, from PyPI)"
    )
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument(
        "--rows", type=int, default=2400, help="training rows of the students (default: 2400)"
    )
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--teacher-epochs", type=float, default=3.0)
    parser.add_argument("--rates", default="3e-4,6e-4,1.2e-3")
    parser.add_argument("--teacher-rates", default="3e-4")
    parser.add_argument("--references", default="noisy,cleaned")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="print the tables of what is finished")
    arguments = parser.parse_args()
    references = arguments.references.split(",")
    setting = Setting(
        data=arguments.data.resolve(),
        output=arguments.output,
        model=arguments.model or "",
        layers=arguments.layers,
        rows=arguments.rows,
        epochs=arguments.epochs,
        teacher_epochs=arguments.teacher_epochs,
        rates=tuple(map(float, arguments.rates.split(","))),
        teacher_rates=tuple(map(float, arguments.teacher_rates.split(","))),
    )
    if not arguments.table:
        from harness_kd.studies.real import smollm2
        from harness_kd.studies.thinning import thinned

        model = arguments.model or str(smollm2(setting.output / "models"))
        setting = replace(setting, model=model)
        teacher(setting)
        thinned(model, setting.layers, setting.output / "student")
        do_missing(setting, list(tuning(setting, references)), arguments.workers)
        do_missing(setting, tuned(setting, references, arguments.seeds), arguments.workers)
    if (setting.output / "results" / "teacher-test.json").exists():
        print(f"Teacher on the test meanings: SER {ser(load(setting, 'teacher-test')):.1f}%\n")
    print("\n".join(tuning_table(setting, references)), end="\n\n")
    print("\n".join(table(setting, tuned(setting, references, arguments.seeds))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
