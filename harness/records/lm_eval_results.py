"""From a results folder of lm-evaluation-harness to records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.files import canonical_json, sha256_bytes
from harness.metrics.suite import Bootstrap
from harness.models.identity import model_identity, without_path
from harness.records.check import wrong_samples, wrong_settings
from harness.records.documents import Document, encode_documents, save_documents
from harness.records.lm_eval_headlines import (
    counts_of,
    of_another_task,
    of_our_task,
    recomputed,
    without_counts,
)
from harness.records.lm_eval_log import newest_results, read_results, read_rows
from harness.records.provenance import stated_machine, stated_software
from harness.records.reading import decode
from harness.records.record import Record, SampleRecord, encode, save_record, scored
from harness.records.samples import read_samples

_AGAIN = "Restore the files, or run the evaluation again."


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


def _read(folder: Path, model: str | None) -> list[tuple[Record, list[Document]]]:
    newest = newest_results(folder)
    stamp = newest.stem.removeprefix("results_")
    results = read_results(newest)
    found = []
    for task in results["configs"]:
        path = newest.parent / f"samples_{task}_{stamp}.jsonl"
        found.append(_record(results, task, read_rows(path, results, task), path, model))
    return found


def _metadata(
    results: Mapping[str, Any], task: str, rows: Sequence[Mapping[str, Any]], path: Path
) -> Mapping[str, Any]:
    """What one of our tasks says of its scores; empty for a task that is not ours.

    Raises:
        HarnessError: If nothing was scored, or the results of our task lack something.
    """
    config = results["configs"][task]
    metadata = config.get("metadata") if isinstance(config, dict) else None
    ours = metadata if isinstance(metadata, dict) and "metric_options" in metadata else {}
    if (ours and not ours.get("scores")) or all(row["metrics"] == ["bypass"] for row in rows):
        raise HarnessError(f"{path}: responses without scores", "Run the evaluation without --predict_only.")
    needed = ("metric_options", "scores", "counts", "bootstrap", "runtime")
    missing = [name for name in needed if ours and not isinstance(ours.get(name), dict)]
    missing += ["metrics"] if ours and not isinstance(ours.get("metrics"), list) else []
    HarnessError.raise_for([f"{path}: the results have no {name} of {task}" for name in missing], _AGAIN)
    return ours


def _record(
    results: Mapping[str, Any], task: str, rows: list[dict[str, Any]], path: Path, model: str | None
) -> tuple[Record, list[Document]]:
    metadata = _metadata(results, task, rows, path)
    options = metadata.get("metric_options", {})
    samples, documents, prompt = read_samples(rows)
    if metadata:
        scores, problems = of_our_task(metadata)
        _require_counts(samples, metadata, path)
        stated: dict[str, float] = {}
    else:
        scores, stated = of_another_task(samples, results, task)
        samples, problems = _only_headlines(samples, scores), []
    HarnessError.raise_for([f"{path}: {problem}" for problem in problems], _AGAIN)
    draft = Record(
        task=task,
        task_version=str(results["versions"].get(task)),
        model=model or str(_model(results)["name"]).rsplit("/", 1)[-1],
        metrics=tuple(metadata.get("metrics", ())),
        metric_options={
            key: without_path(value) if isinstance(value, str) else value for key, value in options.items()
        },
        bootstrap=dict(metadata.get("bootstrap") or asdict(Bootstrap())),
        scores=scores,
        stated=stated,
        counts=counts_of(metadata.get("counts"), len(samples)),
        prompt=prompt,
        documents=sha256_bytes(encode_documents(documents)),
        provenance=_provenance(results, task, metadata, sorted(rows, key=lambda row: int(row["doc_id"]))),
        samples=samples,
    )
    return _checked(draft, documents, path), documents


def _require_counts(samples: Sequence[SampleRecord], metadata: Mapping[str, Any], path: Path) -> None:
    missing = without_counts(samples, metadata["metrics"], metadata["metric_options"])
    if missing:
        raise HarnessError(
            f"{path}: no counts behind {', '.join(missing)}; written by harness {metadata.get('harness_version')}",
            "Run the evaluation again with this version, which logs them; its response cache makes that quick.",
        )


def _only_headlines(samples: Sequence[SampleRecord], scores: Mapping[str, Any]) -> tuple[SampleRecord, ...]:
    """Samples with the scores that headlines are made of; what a metric logs beside them is no score."""
    return tuple(
        replace(
            sample,
            scores={key: score for key, score in sample.scores.items() if key in scores},
            statistics={},
            lookback_windows=None,
            unsupported_spans=None,
        )
        for sample in samples
    )


def _checked(draft: Record, documents: Sequence[Document], path: Path) -> Record:
    """The record with the headlines that its samples give, which must be those of the results.

    Raises:
        HarnessError: Naming each headline that differs, and whatever else cannot be true.
    """
    columns = scored(draft)
    problems = wrong_settings(columns)
    if not problems:
        scores, problems = recomputed(columns)
        columns, draft = replace(columns, scores=scores), replace(draft, scores=scores)
    problems += wrong_samples(columns, {document.doc_id: document for document in documents})
    HarnessError.raise_for([f"{path}: {problem}" for problem in problems], _AGAIN)
    return decode(encode(draft), path)


def _provenance(
    results: Mapping[str, Any], task: str, metadata: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    config = results["configs"][task]
    runtime = metadata.get("runtime") or {}
    held_out = metadata.get("held_out")
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
        **({"held_out": held_out} if isinstance(held_out, dict) else {}),
    }


def _model(results: Mapping[str, Any]) -> dict[str, Any]:
    """The model as far as the results name it; a local folder is hashed as it is now."""
    if results.get("model_source") == "harness-gold":
        return {"name": "references", "revision": None}
    config = results["config"]
    commit = config.get("model_sha") or config.get("model_revision")
    return model_identity(str(results.get("model_name") or "model"), commit)


def _digest(hashes: Any) -> str:
    return sha256_bytes(canonical_json(list(hashes)).encode())
