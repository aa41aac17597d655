"""From a results folder of lm-evaluation-harness to records."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.files import canonical_json, iter_jsonl, sha256_bytes
from harness.records.provenance import machine, model_identity, software
from harness.records.record import Record, SampleRecord

_NEEDED = ("results", "configs", "versions", "n-samples", "config", "date", "lm_eval_version")
_HEADLINE_FIELDS = ("value", "low", "high", "n", "higher_is_better", "signature")


def from_lm_eval(folder: Path, *, model: str | None = None) -> list[Record]:
    """One record for each task of the newest results in ``folder``.

    Args:
        model: Name on boards; by default the last part of the model's path or hub name.

    Raises:
        HarnessError: If results or samples are missing, or documents are repeated or missing.
    """
    newest = newest_results(folder)
    stamp = newest.stem.removeprefix("results_")
    results = _read_results(newest)
    records = []
    for task in results["configs"]:
        path = folder / f"samples_{task}_{stamp}.jsonl"
        if not path.is_file():
            raise HarnessError(f"{path}: missing", "Run lm_eval again with --log_samples.")
        records.append(_record(results, task, list(iter_jsonl(path, allow_nan=True)), path, model))
    return records


def newest_results(folder: Path) -> Path:
    """The newest results file in a folder; lm-eval puts the time into its name.

    Raises:
        HarnessError: If there is none.
    """
    newest = max(folder.glob("results_*.json"), default=None)
    if newest is None:
        raise HarnessError(f"{folder}: no results_*.json", "Give a folder that lm_eval --output_path wrote.")
    return newest


def _read_results(path: Path) -> dict[str, Any]:
    """The results file, which must have what a record needs; lm-eval's own versions differ in this."""
    try:
        results = json.loads(path.read_text("utf-8"))
        missing = [field for field in _NEEDED if field not in results]
    except (ValueError, TypeError) as error:
        remedy = "The run was cut short or the file is damaged: run lm_eval again."
        raise HarnessError(f"{path}: not JSON ({error})", remedy) from error
    if missing:
        writer = results.get("lm_eval_version", "unknown") if isinstance(results, dict) else "unknown"
        raise HarnessError(
            f"{path}: no {', '.join(missing)}; written by lm-eval {writer}",
            "Run the evaluation again with lm-eval 0.4.12 or 0.4.13 and --log_samples.",
        )
    return dict(results)


def _record(
    results: dict[str, Any], task: str, rows: list[dict[str, Any]], path: Path, model: str | None
) -> Record:
    _check_documents(rows, int(results["n-samples"][task]["effective"]), path)
    rows.sort(key=lambda row: int(row["doc_id"]))
    config = results["configs"][task]
    metadata = config.get("metadata") or {}
    name = str(results.get("model_name") or "model")
    return Record(
        task=task,
        task_version=str(results["versions"].get(task)),
        model=model or name.rstrip("/").rsplit("/", 1)[-1],
        metrics=tuple(metadata.get("metrics", ())),
        scores={
            key: {name: score[name] for name in _HEADLINE_FIELDS}
            for key, score in metadata.get("scores", {}).items()
        },
        provenance={
            "model": model_identity(name, results["config"].get("model_sha")),
            "backend": results.get("model_source"),
            "data_source": metadata.get("data_source", f"hub:{config.get('dataset_path')}"),
            "data_sha256": metadata.get("data_sha256"),
            "rows_read": metadata.get("rows_read"),
            "rows_dropped": metadata.get("rows_dropped"),
            "documents_sha256": _digest(row["doc_hash"] for row in rows),
            "prompts_sha256": _digest(row["prompt_hash"] for row in rows),
            "decoding": config.get("generation_kwargs"),
            "chat_template_sha256": results.get("chat_template_sha"),
            "limit": results["config"].get("limit"),
            "date": int(results["date"]),
            "seconds": round(float(results.get("total_evaluation_time_seconds") or 0), 1) or None,
            "software": software(results),
            "machine": machine(),
        },
        samples=tuple(_sample(row) for row in rows),
    )


def _sample(row: dict[str, Any]) -> SampleRecord:
    scores = {key: row[key] for key in row["metrics"] if isinstance(row.get(key), int | float)}
    references = row["doc"].get("references") or [row["target"]]
    return SampleRecord(
        doc_id=int(row["doc_id"]),
        references=tuple(references),
        response=str(row["filtered_resps"][0]),
        scores={key: float(value) for key, value in scores.items() if not math.isnan(value)},
    )


def _check_documents(rows: list[dict[str, Any]], expected: int, path: Path) -> None:
    counts = Counter(int(row["doc_id"]) for row in rows)
    repeated = [doc_id for doc_id, count in counts.items() if count > 1]
    problems = [f"{path}: document {doc_id} occurs {counts[doc_id]} times" for doc_id in repeated[:5]]
    if len(counts) < expected:
        problems.append(f"{path}: {len(counts)} of {expected} documents; the run was cut short")
    HarnessError.raise_for(problems, "Run the evaluation again into an empty folder.")


def _digest(hashes: Any) -> str:
    return sha256_bytes(canonical_json(list(hashes)).encode())
