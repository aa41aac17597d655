"""From lm-eval's sample log to the samples and documents of a record.

lm-eval logs one line per document and filter, each with the whole prompt. Here a document is one sample: scores of further filters
are keyed ``score,filter``, and prompts are stored once, with ``{source}`` where the source stood. Scores are rounded here: what a
record states must follow from what it holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from harness.records.documents import Document
from harness.records.lm_eval_log import readable_prompt_of
from harness.records.record import SOURCE, SampleRecord
from harness.stats.rounding import rounded

Row = Mapping[str, Any]
_BOUND = 2**53  # what a record may hold


def number(value: Any) -> float | None:
    """A finite number that a record may hold; None for anything else, as NaN is no score."""
    return float(value) if isinstance(value, int | float) and -_BOUND <= value <= _BOUND else None


def read_samples(rows: Sequence[Row]) -> tuple[tuple[SampleRecord, ...], list[Document], str | None]:
    """Samples and documents in the order of ``doc_id``, and the prompt that most samples share."""
    ordered = sorted(rows, key=lambda row: int(row["doc_id"]))
    by_document = [list(group) for _, group in groupby(ordered, key=lambda row: int(row["doc_id"]))]
    documents = [_document(group[0]) for group in by_document]
    samples = [_sample(group, document) for group, document in zip(by_document, documents, strict=True)]
    prompt = Counter(sample.prompt for sample in samples).most_common(1)[0][0] if samples else None
    shared = tuple(
        replace(sample, prompt=None if sample.prompt == prompt else sample.prompt) for sample in samples
    )
    return shared, documents, prompt


def _document(row: Row) -> Document:
    fields = row["doc"] if isinstance(row["doc"], dict) else {}
    references = fields.get("references")
    # documents of ours may have none; lm-eval's target is then an empty text
    if not isinstance(references, list) or not (references or "reference" in fields):
        references = [row["target"]]
    source = fields.get("source", "")
    return Document(
        doc_id=int(row["doc_id"]),
        source=source if isinstance(source, str) else "",
        references=tuple(map(str, references)),
    )


def _sample(rows: Sequence[Row], document: Document) -> SampleRecord:
    """One document's lines, one for each filter."""
    first = rows[0]
    prompt, source_chars = _template(readable_prompt_of(first), document.source)
    scores: dict[str, float] = {}
    for row in rows:
        for name in row["metrics"]:
            if (value := number(row.get(name))) is not None:
                scores[name if len(rows) == 1 else f"{name},{row['filter']}"] = rounded(value)
    return SampleRecord(
        doc_id=document.doc_id,
        response=_response(first),
        scores=scores,
        statistics=_statistics(first, scores),
        lookback_windows=_windows(first.get("lookback_windows")),
        unsupported_spans=_spans(first.get("unsupported_spans")),
        prompt=prompt,
        source_chars=source_chars,
    )


def _statistics(row: Row, scores: Mapping[str, float]) -> dict[str, tuple[float, ...]]:
    """The counts that `harness.lmeval.bridge.sample_log` logged for the scores that are there."""
    logged = row.get("statistics")
    if not isinstance(logged, dict):
        return {}
    found = {
        key: [number(count) for count in logged[key]] for key in scores if isinstance(logged.get(key), list)
    }
    return {
        key: tuple(rounded(count) for count in counts if count is not None)
        for key, counts in found.items()
        if None not in counts
    }


def _windows(logged: Any) -> tuple[tuple[int, int, float], ...] | None:
    if not isinstance(logged, list) or not all(
        isinstance(window, list) and len(window) == 3 for window in logged
    ):
        return None
    return tuple((int(start), int(end), round(float(p), 4)) for start, end, p in logged)


def _spans(logged: Any) -> tuple[tuple[int, int, str], ...] | None:
    if not isinstance(logged, list) or not all(isinstance(span, list) and len(span) == 3 for span in logged):
        return None
    return tuple((int(start), int(end), str(kind)) for start, end, kind in logged) or None


def _response(row: Row) -> str:
    """What was generated; of a multiple-choice task, the choice that the model found most likely."""
    filtered = row["filtered_resps"][0]
    if not isinstance(filtered, list):
        return str(filtered)
    likelihoods = [float(response[0]) for response in row["filtered_resps"]]
    best = likelihoods.index(max(likelihoods))
    return str(row["arguments"].get(f"gen_args_{best}", {}).get("arg_1", best)).strip()


def _template(prompt: str, source: str) -> tuple[str, int | None]:
    """The prompt with ``{source}`` for the source, and how many of its characters stand there if it was cut.

    As `harness.lmeval.bridge.context` cuts: the last occurrence, at the end of the source, keeping what comes after.
    """
    place = find_source(prompt, source)
    if place is None:
        return prompt, None
    start, end = place
    kept = end - start
    return prompt[:start] + SOURCE + prompt[end:], None if kept == len(source) else kept


def find_source(prompt: str, source: str) -> tuple[int, int] | None:
    """(start, end) of the source in a prompt, or of what `harness.lmeval.bridge.context` left of it; None if it is not there."""
    if not source:
        return None
    start = prompt.rfind(source)
    if start >= 0:
        return start, start + len(source)
    start = prompt.rfind(source[:40])
    return None if start < 0 else (start, start + _common_prefix(prompt[start:], source))


def _common_prefix(a: str, b: str) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
