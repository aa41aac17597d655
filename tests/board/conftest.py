"""Records made of chosen scores: as complete as imported ones, and checked like them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.board.spec import BoardSpec, as_text
from harness.files import sha256_bytes
from harness.metrics.answers import ANSWER_RATE, KINDS
from harness.metrics.registry import FAMILIES, family, score_of, signature_of
from harness.metrics.suite import Bootstrap
from harness.records import Record, SampleRecord, save_record
from harness.records.check import problems
from harness.records.record import scored
from harness.stats.headline import headline
from harness.stats.rounding import rounded, rounded_tree

TASK = "made_up"
JUDGE = (
    "judge:embedded@shipped|weights:ab52cc40dc0c|max_tokens:256|calibration:temperature(1.198)|dtype:float32|"
    "transformers:5.23.0|torch:2.13.0|version:1"
)
OF_A_JUDGE = {
    "factual_consistency": f"factual_consistency|mean|{JUDGE}",
    "factual_consistency_rate": f"factual_consistency_rate|share>=0.5|{JUDGE}",
}
Columns = Mapping[str, Sequence[float | None]]


def _provenance(model: str) -> dict[str, Any]:
    return {
        "model": {"name": model, "revision": "local", "weights_sha256": sha256_bytes(model.encode())},
        "backend": "hf",
        "data_source": "made:up",
        "data_sha256": "cd" * 32,
        "documents_sha256": "ef" * 32,
        "prompts_sha256": "12" * 32,
        "decoding": {"temperature": 0.0},
        "limit": None,
        "date": 1_790_000_000,
        "software": {"commit": "0123456789ab", "lm_eval": "0.4.13"},
    }


def _summaries(samples: Sequence[SampleRecord], signatures: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    scores: dict[str, dict[str, Any]] = {}
    for key in dict.fromkeys(key for sample in samples for key in sample.scores):
        values = np.array([sample.scores[key] for sample in samples if key in sample.scores])
        value, interval = headline(values)
        known = score_of(key)
        stated = {
            "value": value,
            "low": interval and interval.low,
            "high": interval and interval.high,
            "n": len(values),
            "higher_is_better": known.higher_is_better if known else True,
            "signature": signatures[key],
        }
        scores[key] = rounded_tree(stated)
    return scores


def _rows(columns: Columns) -> tuple[SampleRecord, ...]:
    n = len(next(iter(columns.values())))
    return tuple(
        SampleRecord(
            doc_id=i,
            response=f"response {i}",
            scores={key: rounded(v) for key, values in columns.items() if (v := values[i]) is not None},
        )
        for i in range(n)
    )


def _make_record(
    model: str,
    columns: Columns,
    *,
    signatures: Mapping[str, str] | None = None,
    check: bool = True,
    **changes: Any,
) -> Record:
    """A record whose samples have the scores given by key; None is a sample that failed.

    Keys of our metric families make it a record of ours, others one of another author's task.
    """
    ours = any(score_of(key) for key in columns)
    changes = {**changes}
    families = [name for name in FAMILIES if any(key in family(name).scores for key in columns)]
    options = changes.pop("metric_options", {"judge": "embedded"} if "consistency" in families else {})
    task = changes.get("task", TASK)
    if ours:
        answered = [
            any(values[i] is not None for values in columns.values()) for i in range(len(_rows(columns)))
        ]
        columns = {**columns, ANSWER_RATE: [float(found) for found in answered]}
        made = {key: OF_A_JUDGE.get(key) or signature_of(key, families, options) or "" for key in columns}
        made[ANSWER_RATE] = "answer_rate|rule:vectara|words:>0"
        kinds = dict.fromkeys(KINDS, 0) | {"answered": sum(answered), "empty": len(answered) - sum(answered)}
        counts = {"n": len(answered), "failed": len(answered) - sum(answered), **kinds}
    else:
        version = changes.get("task_version", "1.0")
        elsewhere = changes.get("provenance", {}).get("measured") == "elsewhere"
        whose = "published|source:x" if elsewhere else f"lm_eval:0.4.13|task:{task}:{version}|filter:none"
        made = {key: f"{key}|{whose}" for key in columns}
        counts = {"n": len(next(iter(columns.values())))}
    samples = _rows(columns)
    fields: dict[str, Any] = {
        "task": task,
        "task_version": "1.0",
        "model": model,
        "metrics": tuple(families),
        "metric_options": options,
        "bootstrap": asdict(Bootstrap()),
        "scores": _summaries(samples, made | dict(signatures or {})),
        "stated": {},
        "counts": counts | changes.pop("counts", {}),
        "prompt": "{source}",
        "documents": "00" * 32,
        "samples": samples,
        "provenance": _provenance(model) | changes.pop("provenance", {}),
    }
    record = Record(**{**fields, **changes})
    assert not check or problems(scored(record), None) == []
    return record


@pytest.fixture(scope="session")
def make_record() -> Callable[..., Record]:
    """`_make_record`, for tests."""
    return _make_record


@pytest.fixture
def write_board(tmp_path: Path) -> Callable[..., Path]:
    """Writes records and a specification, and returns the specification's path."""

    def write(*records: Record, **changes: Any) -> Path:
        path = tmp_path / "board.json"
        rows = [
            {
                "label": record.model,
                "record": save_record(record, tmp_path / "records").relative_to(tmp_path).as_posix(),
            }
            for record in records
        ]
        fields: dict[str, Any] = {
            "title": "A board",
            "columns": ["quality"],
            "rows": rows,
            "comparisons": [],
            "notes": [],
        }
        path.write_text(as_text(BoardSpec(**{**fields, **changes})))
        return path

    return write
