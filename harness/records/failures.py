"""Failed samples in a comparison: on the documents that both answered, and with failures counted as failures.

A headline leaves failed samples out, so a model could gain by answering only what it finds easy. Where it matters who answered,
ranks and comparisons therefore count a failure as the worst that the score can be: 0 for a share or an overlap, 1 for a rate where
lower is better, the worst that any of the models got where a score has no bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.metrics.base import Score
from harness.metrics.registry import empty_statistics
from harness.records.headlines import scorer_of
from harness.records.record import Scored
from harness.stats import pairwise_p_statistics, pairwise_p_values, pseudo_values
from harness.stats.bootstrap import FloatArray


def answered_nothing(record: Scored) -> bool:
    """Whether every sample failed, so that a score is missing because there was nothing to score."""
    return record.counts.get("answered", 1) == 0


def filled_values(records: Sequence[Scored], key: str, score: Score) -> FloatArray | None:
    """Per-document scores of several models with failures as the worst score.

    Args:
        records: Of the same documents.
        key: A score with a better direction.
        score: What it is.

    Returns:
        Float [m, n]; None where the score has no better direction, or where nobody has it.
    """
    if score.higher_is_better is None:
        return None
    n = records[0].n
    none = np.full(n, np.nan)
    table = np.stack([record.values.get(key, none) for record in records])
    if np.isnan(table).all():
        return None
    worst = score.low if score.higher_is_better else score.high
    if score.higher_is_better and score.unit == "share" and worst is not None:
        worst = max(worst, 0.0)  # a similarity may be negative by definition, and is not of any two texts
    if worst is None:
        worst = float(np.nanmin(table) if score.higher_is_better else np.nanmax(table))
    return np.where(np.isnan(table), worst, table)


def filled_statistics(records: Sequence[Scored], key: str) -> list[FloatArray] | None:
    """The counts behind a corpus score with failures as empty responses, on the documents that somebody answered.

    Returns:
        For each record float [n', k]; None where no model has counts, or an empty response has none.
    """
    tables = [record.statistics.get(key) for record in records]
    known = next((table for table in tables if table is not None), None)
    if known is None:
        return None
    blank = np.full(known.shape, np.nan)
    filled = np.stack([blank if table is None else table for table in tables])
    missing = np.isnan(filled[:, :, 0])
    some = ~missing.all(axis=0)
    first = np.argmin(missing, axis=0)  # the first model that answered the document
    for document in np.flatnonzero(missing.any(axis=0) & some):
        empty = empty_statistics(key, tuple(filled[first[document], document]))
        if empty is None:
            return None
        filled[missing[:, document], document] = empty
    return list(filled[:, some])


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """What models are ranked by, failures counted as failures."""

    order: FloatArray
    """Float [m]: the mean over documents, of a corpus score that of its pseudo-values."""
    p_values: FloatArray
    """Float [m, m]: of the paired test of every two models, those of `harness.records.compare`."""
    n: int
    """Documents."""


def ranking(records: Sequence[Scored], key: str, score: Score) -> Ranking | None:
    """Test every two models on all documents.

    A corpus score of which an empty response has no counts is ranked by the mean of its sample scores where somebody failed.

    Returns:
        None where the score has no better direction, or where nobody has it.
    """
    values = filled_values(records, key, score)
    if values is None:
        return None
    owner = next((record for record in records if key in record.statistics), None)
    tables = None if owner is None else filled_statistics(records, key)
    if owner is None or tables is None:
        rates = bool(np.isin(values, (0.0, 1.0)).all())
        p_values = pairwise_p_values(values, rates=rates)
    else:
        scorer = scorer_of(owner, key)
        values = np.stack([pseudo_values(table, scorer) for table in tables])
        p_values = pairwise_p_statistics(tables, scorer)
    return Ranking(order=values.mean(axis=1), p_values=p_values, n=values.shape[1])
