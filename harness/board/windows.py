"""Responses with their lookback windows, from a results folder, its sample log, or a record."""

from __future__ import annotations

from pathlib import Path

from harness.board.windows_page import Shown
from harness.errors import HarnessError
from harness.files import iter_jsonl
from harness.records.documents import load_documents
from harness.records.lm_eval_log import newest_results
from harness.records.reading import load_record
from harness.records.record import SampleRecord
from harness.records.samples import read_samples


def read_windows(path: Path, task: str | None = None) -> tuple[str, list[Shown]]:
    """A title, and the samples that have windows, in the order of ``doc_id``.

    Args:
        path: A results folder, ``samples_*.jsonl`` in one, or a record with its documents beside it.
        task: Which, of several in the folder.

    Raises:
        HarnessError: If nothing there has windows.
    """
    log = _sample_log(path, task) if path.is_dir() else path
    if log.name.startswith("samples_"):
        samples, documents, _ = read_samples(list(iter_jsonl(log, allow_nan=True)))
        sources = {document.doc_id: document.source for document in documents}
        title = log.stem.removeprefix("samples_").rsplit("_", 1)[0]
    else:
        record = load_record(log)
        found = load_documents(record, log) or {}
        samples, title = record.samples, f"{record.model} on {record.task}"
        sources = {doc_id: document.source for doc_id, document in found.items()}
    shown = [_shown(sample, sources) for sample in samples if sample.lookback_windows]
    if not shown:
        raise HarnessError(
            f"{log}: no sample has lookback windows",
            "Evaluate with the metric family lookback and a classifier that fits the model: "
            "--metadata lookback_classifier=FILE.",
        )
    return f"Lookback windows: {title}", shown


def _shown(sample: SampleRecord, sources: dict[int, str]) -> Shown:
    source = sources.get(sample.doc_id, "(the document was not kept beside the record)")
    return Shown(
        doc_id=sample.doc_id,
        source=source if sample.source_chars is None else source[: sample.source_chars],
        response=(sample.response or "").strip(),
        windows=sample.lookback_windows or (),
    )


def _sample_log(folder: Path, task: str | None) -> Path:
    """The newest sample log of a task, or of the one task that is there."""
    results = newest_results(folder)
    stamp = results.stem.removeprefix("results_")
    logs = sorted(results.parent.glob(f"samples_{task or '*'}_{stamp}.jsonl"))
    names = [log.name.removeprefix("samples_").removesuffix(f"_{stamp}.jsonl") for log in logs]
    if len(logs) != 1:
        raise HarnessError(
            f"{folder}: {len(logs)} sample logs" + (f": {', '.join(names)}" if names else ""),
            "Choose one with --task." if logs else "Run lm_eval with --log_samples, or give another --task.",
        )
    return logs[0]
