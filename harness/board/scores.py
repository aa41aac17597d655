"""Headlines computed again from a record's samples."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from harness.errors import HarnessError
from harness.metrics import Sample, Suite
from harness.metrics.registry import build
from harness.metrics.suite import ScoreSummary
from harness.records import Record


@lru_cache(maxsize=8)
def suite_of(metrics: tuple[str, ...]) -> Suite:
    """The suite that scored a record."""
    return Suite(build(metrics, {}))


def samples_of(record: Record, key: str) -> dict[int, float]:
    """One score by document; a corpus score is computed again from response and references, with its counts."""
    suite = suite_of(record.metrics)
    column = record.column(key)
    if not suite.is_corpus_score(key):
        return column
    chosen = [sample for sample in record.samples if sample.doc_id in column]
    texts = [Sample(source="", references=s.references, response=s.response.strip()) for s in chosen]
    scored = suite.metric_of(key).score(texts)
    return {sample.doc_id: scores[key] for sample, scores in zip(chosen, scored, strict=True)}


def headline(record: Record, key: str) -> ScoreSummary | None:
    """One headline, recomputed from the samples; None where no sample carries the score."""
    values = list(samples_of(record, key).values())
    return suite_of(record.metrics).summarise_key(key, values) if values else None


def check_record(record: Record, path: Path) -> None:
    """Require that the headlines in a record are what its samples give.

    Raises:
        HarnessError: Naming each headline that differs.
    """
    problems = []
    for key, stated in record.scores.items():
        found = headline(record, key)
        for field in ("value", "low", "high", "n"):
            computed = None if found is None else getattr(found, field)
            same = computed == stated[field] or (
                computed is not None and stated[field] is not None and abs(computed - stated[field]) < 1e-9
            )
            if not same:
                problems.append(f"{path}: {key} {field} is {stated[field]}, the samples give {computed}")
    HarnessError.raise_for(problems, "Import the results folder again.")
