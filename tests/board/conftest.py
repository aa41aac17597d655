"""Records made of chosen scores: as complete as imported ones, and checked like them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.board.spec import BoardSpec, write_spec
from harness.metrics.suite import Bootstrap, with_interval
from harness.records import Record, SampleRecord, save_record
from harness.records.headlines import check_record

BOOTSTRAP = {"n_resamples": 200, "confidence": 0.95, "seed": 12345}


def _make_record(model: str, columns: Mapping[str, Sequence[float | None]], **changes: Any) -> Record:
    """A record whose samples have the scores given by key; None is a sample that failed."""
    n = len(next(iter(columns.values())))
    scores = {}
    for key, values in columns.items():
        kept = [value for value in values if value is not None]
        value, low, high = with_interval(kept, Bootstrap(**BOOTSTRAP))
        better = None if key in ("length", "density", "coverage") else True
        scores[key] = {
            "value": value,
            "low": low,
            "high": high,
            "n": len(kept),
            "higher_is_better": better,
            "signature": f"{key}|version:1",
        }
    provenance = {
        "model": {"name": model, "revision": "local", "weights_sha256": "ab" * 32},
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
    fields: dict[str, Any] = {
        "task": "made_up",
        "task_version": "1.0",
        "model": model,
        "metrics": (),
        "metric_options": {},
        "bootstrap": BOOTSTRAP,
        "scores": scores,
        "stated": {},
        "counts": {"n": n},
        "prompt": "{source}",
        "documents": "00" * 32,
        "samples": tuple(
            SampleRecord(
                doc_id=i,
                response=f"response {i}",
                scores={key: v for key, values in columns.items() if (v := values[i]) is not None},
            )
            for i in range(n)
        ),
    }
    provenance |= changes.pop("provenance", {})
    record = Record(**{**fields, "provenance": provenance, **changes})
    check_record(record, Path(model))
    return record


@pytest.fixture(scope="session")
def make_record() -> Callable[..., Record]:
    """`_make_record`, for tests."""
    return _make_record


@pytest.fixture
def write_board(tmp_path: Path) -> Callable[..., Path]:
    """Writes records and a specification, and returns the specification's path."""

    def write(records: Mapping[str, Record], **changes: Any) -> Path:
        path = tmp_path / "board.json"
        rows = [
            {"label": label, "record": save_record(r, tmp_path / "records").relative_to(tmp_path).as_posix()}
            for label, r in records.items()
        ]
        fields: dict[str, Any] = {
            "title": "A board",
            "columns": ["quality"],
            "rows": rows,
            "comparisons": [],
            "notes": [],
        }
        write_spec(BoardSpec(**{**fields, **changes}), path)
        return path

    return write
