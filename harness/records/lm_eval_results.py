"""From a results folder of lm-evaluation-harness to records.

Our tasks state their headlines, with intervals and signatures, in their metadata. For any other task the headline is the mean
of its samples, kept only if it is the number that lm-eval states.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.files import canonical_json, iter_jsonl, sha256_bytes
from harness.metrics.suite import Bootstrap
from harness.records.documents import Document, encode_documents, save_documents
from harness.records.headlines import check_record, corpus_statistics, headlines_of_means
from harness.records.provenance import model_identity, stated_machine, stated_software, without_path
from harness.records.record import Record, save_record
from harness.records.samples import read_samples

_NEEDED = ("results", "configs", "versions", "n-samples", "config", "date", "lm_eval_version")
_NEEDED_OF_SAMPLES = (
    "doc_id",
    "doc",
    "target",
    "arguments",
    "filtered_resps",
    "metrics",
    "doc_hash",
    "prompt_hash",
)
_HEADLINE_FIELDS = ("value", "low", "high", "n", "higher_is_better", "signature")


def from_lm_eval(folder: Path, *, model: str | None = None) -> list[Record]:
    """One record for each task of the newest results in ``folder``.

    Args:
        model: Name on boards; by default the last part of the model's path or hub name.

    Raises:
        HarnessError: If results or samples are missing, or documents are repeated or missing.
    """
    return [record for record, _ in _read(folder, model)]


def import_results(
    folder: Path, records: Path, *, model: str | None = None, documents: bool = True
) -> list[Path]:
    """Write the records of the newest results in ``folder``, and their documents, below ``records``; return the records' files.

    Args:
        documents: Keep articles and references too; leave them out where the data may not be passed on.

    Raises:
        HarnessError: As `from_lm_eval`.
    """
    written = []
    for record, texts in _read(folder, model):
        if documents:
            save_documents(texts, record.task, records)
        written.append(save_record(record, records))
    return written


def newest_results(folder: Path) -> Path:
    """The newest results file in a folder; lm-eval puts the time into its name.

    Raises:
        HarnessError: If there is none.
    """
    newest = max(folder.glob("results_*.json"), default=None)
    if newest is None:
        inner = next(folder.glob("*/results_*.json"), None)
        remedy = "Give a folder that lm_eval --output_path wrote."
        raise HarnessError(
            f"{folder}: no results_*.json",
            f"Give the model's folder in it: {inner.parent}" if inner else remedy,
        )
    return newest


def _read(folder: Path, model: str | None) -> list[tuple[Record, list[Document]]]:
    newest = newest_results(folder)
    stamp = newest.stem.removeprefix("results_")
    results = _read_results(newest)
    found = []
    for task in results["configs"]:
        path = folder / f"samples_{task}_{stamp}.jsonl"
        if not path.is_file():
            raise HarnessError(f"{path}: missing", "Run lm_eval again with --log_samples.")
        found.append(_record(results, task, list(iter_jsonl(path, allow_nan=True)), path, model))
    return found


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
    results: Mapping[str, Any], task: str, rows: list[dict[str, Any]], path: Path, model: str | None
) -> tuple[Record, list[Document]]:
    _check_layout(rows, path, str(results["lm_eval_version"]))
    _check_documents(rows, int(results["n-samples"][task]["effective"]), path)
    metadata = results["configs"][task].get("metadata") or {}
    options = metadata.get("metric_options", {})
    bootstrap = metadata.get("bootstrap") or asdict(Bootstrap())
    samples, documents, prompt = read_samples(rows)
    if scores := metadata.get("scores"):
        scores = {key: {field: score[field] for field in _HEADLINE_FIELDS} for key, score in scores.items()}
        samples = corpus_statistics(
            samples, documents, metadata["metrics"], options, scores, metadata["harness_version"]
        )
        stated: dict[str, float] = {}
    else:
        scores, stated = headlines_of_means(samples, results, task, Bootstrap(**bootstrap))
    record = Record(
        task=task,
        task_version=str(results["versions"].get(task)),
        model=model or str(_model(results)["name"]).rsplit("/", 1)[-1],
        metrics=tuple(metadata.get("metrics", ())) if metadata.get("scores") else (),
        metric_options={
            key: without_path(value) if isinstance(value, str) else value for key, value in options.items()
        },
        bootstrap=dict(bootstrap),
        scores=scores,
        stated=stated,
        counts=metadata.get("counts") or {"n": len(samples)},
        prompt=prompt,
        documents=sha256_bytes(encode_documents(documents)),
        provenance=_provenance(results, task, metadata, sorted(rows, key=lambda row: int(row["doc_id"]))),
        samples=samples,
    )
    check_record(record, path)
    return record, documents


def _provenance(
    results: Mapping[str, Any], task: str, metadata: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    config = results["configs"][task]
    runtime = metadata.get("runtime") or {}
    seconds = float(results.get("total_evaluation_time_seconds") or 0)
    return {
        "model": runtime.get("model") or _model(results),
        "parameters": results["config"].get("model_num_parameters"),
        "dtype": str(results["config"].get("model_dtype") or "").removeprefix("torch.") or None,
        "backend": results.get("model_source"),
        "data_source": metadata.get("data_source", f"hub:{config.get('dataset_path')}"),
        "data_sha256": metadata.get("data_sha256"),
        "rows_read": metadata.get("rows_read"),
        "rows_dropped": metadata.get("rows_dropped"),
        "documents_sha256": _digest(row["doc_hash"] for row in rows),
        "prompts_sha256": _digest(row["prompt_hash"] for row in rows),
        "decoding": config.get("generation_kwargs"),
        "num_fewshot": (results.get("n-shot") or {}).get(task),
        "chat_template_sha256": results.get("chat_template_sha"),
        "system_instruction_sha256": results.get("system_instruction_sha"),
        "limit": results["config"].get("limit"),
        "batch_size": str(results["config"].get("batch_size")),
        "date": int(results["date"]),
        "seconds": round(seconds, 1) or None,  # of the whole run; lm-eval does not time its tasks apart
        "tasks_in_run": len(results["configs"]),
        "software": runtime.get("software") or stated_software(results),
        "machine": runtime.get("machine") or stated_machine(results),
    }


def _model(results: Mapping[str, Any]) -> dict[str, Any]:
    """The model as far as the results name it; a local folder is hashed as it is now."""
    if results.get("model_source") == "harness-gold":
        return {"name": "references", "revision": None}
    config = results["config"]
    commit = config.get("model_sha") or config.get("model_revision")
    return model_identity(str(results.get("model_name") or "model"), commit)


def _check_layout(rows: Sequence[Mapping[str, Any]], path: Path, writer: str) -> None:
    """Sample logs of other versions of lm-eval have other fields."""
    for number, row in enumerate(rows, start=1):
        missing = [field for field in _NEEDED_OF_SAMPLES if field not in row]
        if not missing and not (isinstance(row["arguments"], dict) and "gen_args_0" in row["arguments"]):
            missing = ["arguments.gen_args_0"]
        if missing:
            raise HarnessError(
                f"{path}, line {number}: no {', '.join(missing)}; written by lm-eval {writer}",
                "Run the evaluation again with lm-eval 0.4.12 or 0.4.13 and --log_samples.",
            )


def _check_documents(rows: list[dict[str, Any]], expected: int, path: Path) -> None:
    """Each document once (for each of lm-eval's filters), and all of them."""
    counts = Counter((int(row["doc_id"]), str(row.get("filter", "none"))) for row in rows)
    repeated = [key for key, count in counts.items() if count > 1]
    problems = [f"{path}: document {key[0]} occurs {counts[key]} times" for key in repeated[:5]]
    present = len({doc_id for doc_id, _ in counts})
    if present < expected:
        problems.append(f"{path}: {present} of {expected} documents; the run was cut short")
    HarnessError.raise_for(problems, "Run the evaluation again into an empty folder.")


def _digest(hashes: Any) -> str:
    return sha256_bytes(canonical_json(list(hashes)).encode())
