"""The sample file: a line for each score of each sample."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from harness.board.every_eval_ever.place import Place
from harness.files import canonical_json, sha256_bytes
from harness.records.documents import Document
from harness.records.record import Record, SampleRecord

SCHEMA_VERSION = "0.3.0"


def directed_keys(record: Record) -> list[str]:
    """The scores that the schema can hold."""
    return [key for key, score in record.scores.items() if score["higher_is_better"] is not None]


def is_rate(record: Record, key: str) -> bool:
    """Whether a headline is a share of samples, which `harness.stats.headline` gives Wilson's interval."""
    corpus = any(key in sample.statistics for sample in record.samples)
    return not corpus and set(record.column(key).values()) <= {0.0, 1.0}


def instances(
    record: Record,
    place: Place,
    evaluation_id: str,
    documents: Mapping[int, Document],
    ids: Mapping[int, str],
) -> Iterator[dict[str, Any]]:
    """One line for each score of each sample that carries it."""
    rates = {key: is_rate(record, key) for key in directed_keys(record)}
    for sample in record.samples:
        document = documents[sample.doc_id]
        shared = {
            "schema_version": SCHEMA_VERSION,
            "evaluation_id": evaluation_id,
            "model_id": place.model_id,
            "evaluation_name": record.task,
            "sample_id": ids.get(sample.doc_id, str(sample.doc_id)),
            "interaction_type": "single_turn",
            **_texts_of(record, sample, document),
            "answer_attribution": [],  # the whole response is scored: nothing was extracted
        }
        for key, rate in rates.items():
            if key in sample.scores:
                best = 1.0 if record.scores[key]["higher_is_better"] else 0.0
                yield {
                    **shared,
                    "evaluation_result_id": key,
                    "evaluation": {
                        "score": sample.scores[key],
                        "is_correct": rate and sample.scores[key] == best,
                    },
                    # the schema requires is_correct, which only a score of 0 or 1 has
                    "metadata": {"is_correct_applicable": str(rate).lower(), **_extra(sample)},
                }


def _texts_of(record: Record, sample: SampleRecord, document: Document) -> dict[str, Any]:
    shown = {
        "raw": record.prompt_of(sample, document.source) or document.source,
        "reference": list(document.references),
    }
    canonical = json.dumps(
        shown, sort_keys=True, separators=(",", ":")
    )  # as the schema's own adapters hash it
    return {
        "input": shown,
        "sample_hash": sha256_bytes(canonical.encode()),
        "output": {"raw": [] if sample.response is None else [sample.response]},
    }


def _extra(sample: SampleRecord) -> dict[str, str]:
    return texts({"response_sha256": sample.response_sha256, "source_chars": sample.source_chars})


def texts(fields: Mapping[str, Any]) -> dict[str, str]:
    """What is known, each as text: the schema's free fields hold nothing else."""
    return {
        name: value if isinstance(value, str) else canonical_json(value)
        for name, value in fields.items()
        if value is not None
    }
