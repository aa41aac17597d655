"""How publishing and verifying a board grow with the number of models.

    python benchmarks/board_scale.py [--models 10 50 200] [--documents 10000]

Makes that many records of that many samples (a rate, ROUGE-L, chrF with its counts, length, coverage, density; made-up scores, some
failures for every third model), then runs `harness publish` and `harness verify` on them, each as a process of its own, and prints
seconds and peak memory. Once ranked by the rate, once by chrF, whose counts are the largest columns that there are.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from harness.metrics.answers import ANSWER_RATE, KINDS
from harness.metrics.base import FloatArray
from harness.metrics.chrf import f_scores
from harness.metrics.registry import corpus_scorer, signature_of
from harness.records.record import Record, SampleRecord, save_record
from harness.stats.headline import headline
from harness.stats.rounding import rounded, rounded_tree

FAMILIES = ("oracle", "rouge", "chrf", "surface")
KINDS_OF_TRUTH = ("oracle_faithfulness", "oracle_intrinsic", "oracle_extrinsic", "oracle_unparsable")


def make_record(number: int, documents: int, hard: FloatArray) -> Record:
    """A record of made-up scores; ``hard`` is each document's difficulty, which all models share."""
    generator = np.random.default_rng(number)
    failed = generator.random(documents) < (0.02 if number % 3 == 0 else 0.0)
    kind = np.where(generator.random(documents) > 0.6 * hard + 0.2 * generator.random(), 0, 2)
    overlap = np.clip(0.5 - 0.3 * (hard - 0.5) + generator.normal(0, 0.1, documents) + 0.0005 * number, 0, 1)
    total = generator.integers(150, 400, documents)
    counts = np.stack(
        [np.stack([total - i, total - i, np.rint((total - i) * overlap)], 1) for i in range(6)], 1
    )
    counts = counts.reshape(documents, 18)
    columns = {name: (kind == i).astype(float) for i, name in enumerate(KINDS_OF_TRUTH)}
    columns |= {
        "rougeL": overlap,
        "rougeLsum": overlap,
        "chrf": f_scores(counts, beta=2, effective_order=True),
    }
    columns |= {"length": np.rint(total / 5), "coverage": overlap, "density": 10 * overlap}
    samples = []
    for i in range(documents):
        scores = {} if failed[i] else {key: rounded(float(column[i])) for key, column in columns.items()}
        samples.append(
            SampleRecord(
                doc_id=i,
                response=""
                if failed[i]
                else f"Response {i} of model {number}. " + "It goes on for a while. " * 8,
                scores={ANSWER_RATE: float(not failed[i]), **scores},
                statistics={} if failed[i] else {"chrf": tuple(counts[i])},
            )
        )
    return _record(number, samples, int(failed.sum()))


def _record(number: int, samples: list[SampleRecord], failed: int) -> Record:
    scores = {}
    for key in (ANSWER_RATE, *KINDS_OF_TRUTH, "rougeL", "rougeLsum", "chrf", "length", "coverage", "density"):
        having = [sample for sample in samples if key in sample.scores]
        scorer = corpus_scorer(FAMILIES, {}, key)
        values = np.array([sample.scores[key] for sample in having])
        table = np.array([sample.statistics[key] for sample in having]) if scorer else None
        value, interval = headline(values, table, scorer)
        better = None if key in ("length", "coverage", "density") else key not in KINDS_OF_TRUTH[1:]
        summary = {
            "value": value,
            "low": interval and interval.low,
            "high": interval and interval.high,
            "n": len(values),
            "higher_is_better": better,
            "signature": signature_of(key, FAMILIES, {}) or "answer_rate|rule:vectara|words:>0",
        }
        scores[key] = rounded_tree(summary)
    n = len(samples)
    return Record(
        task="made_up",
        task_version="1.0",
        model=f"model {number:03}",
        metrics=FAMILIES,
        metric_options={},
        bootstrap={"n_resamples": 1000, "confidence": 0.95, "seed": 12345},
        scores=scores,
        stated={},
        counts={"n": n, "failed": failed}
        | dict.fromkeys(KINDS, 0)
        | {"answered": n - failed, "empty": failed},
        prompt="{source}",
        documents="00" * 32,
        provenance={
            "model": {"name": f"model {number:03}", "weights_sha256": f"{number:064x}"},
            "software": {},
            "date": 1_790_000_000,
            "data_source": "made:up",
        },
        samples=tuple(samples),
    )


def timed(*words: str) -> tuple[float, float, float]:
    """Seconds, processor seconds and peak memory in GB (of the process) of a harness command."""
    code = "import sys; from harness.cli import main; sys.exit(main(sys.argv[1:]))"
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"harness {' '.join(words)} failed")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, nargs="+", default=[10, 50, 200])
    parser.add_argument("--documents", type=int, default=10_000)
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, {arguments.documents} documents")
    print(
        "| models | records, MB | first column | publish, s (processor) | verify, s (processor) | peak, GB |"
    )
    print("|---:|---:|---|---:|---:|---:|")
    hard = np.random.default_rng(12345).random(arguments.documents)
    with tempfile.TemporaryDirectory() as folder:
        files: list[Path] = []
        for models in sorted(arguments.models):
            for number in range(len(files), models):
                files.append(
                    save_record(make_record(number, arguments.documents, hard), Path(folder) / "records")
                )
            size = sum(file.stat().st_size for file in files) / 1e6
            for first, others in (
                ("oracle_faithfulness", ["rougeL", "chrf"]),
                ("chrf", ["oracle_faithfulness"]),
            ):
                spec = Path(folder) / f"board-{models}-{first}.json"
                spec.write_text(json.dumps(_spec([first, *others], files, Path(folder))))
                (wrote, work, memory), (read, again, more) = (
                    timed("publish", str(spec)),
                    timed("verify", str(spec)),
                )
                print(
                    f"| {models} | {size:.0f} | {first} | {wrote:.1f} ({work:.1f}) | {read:.1f} ({again:.1f}) | "
                    f"{max(memory, more):.2f} |",
                    flush=True,
                )
    print(f"making the records took up to {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


def _spec(columns: list[str], files: list[Path], folder: Path) -> dict[str, object]:
    rows = [
        {"label": f"model {i:03}", "record": file.relative_to(folder).as_posix()}
        for i, file in enumerate(files)
    ]
    pairs = [["model 000", "model 001"], ["model 001", "model 002"]]
    return {"title": "Scale", "columns": columns, "rows": rows, "comparisons": pairs, "notes": []}


if __name__ == "__main__":
    main()
