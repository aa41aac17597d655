"""Headlines computed again from a record's samples.

Nothing but the record is needed: not the judge, the encoder or the word list that scored the samples.
"""

from __future__ import annotations

from harness.errors import HarnessError
from harness.metrics.registry import corpus_scorer
from harness.metrics.suite import ScoreSummary
from harness.records.record import Header, Scored
from harness.stats.bootstrap import ScoreFunction
from harness.stats.headline import headline as computed
from harness.stats.rounding import agrees


def headline(record: Scored, key: str) -> ScoreSummary | None:
    """One headline, with every digit; None where no sample carries the score.

    Raises:
        HarnessError: If the score is a corpus score of a family that this version does not know.
    """
    answered = record.answered(key)
    if key not in record.scores or not answered.any():
        return None
    scorer = scorer_of(record, key) if key in record.statistics else None
    statistics = record.statistics[key][answered] if scorer else None
    value, interval = computed(record.values[key][answered], statistics, scorer, **record.bootstrap)
    found = {"value": value, "low": interval and interval.low, "high": interval and interval.high}
    return ScoreSummary(**{**record.scores[key], **found, "n": int(answered.sum())})


def scorer_of(record: Header, key: str) -> ScoreFunction:
    """How a corpus score follows from summed statistics.

    Raises:
        HarnessError: If no known family claims the key.
    """
    scorer = corpus_scorer(record.metrics, record.metric_options, key)
    if scorer is None:
        raise HarnessError(
            f"{record.model} on {record.task}: {key} is a corpus score that no metric family here computes",
            "Use the version of harness that made the record.",
        )
    return scorer


def wrong_headlines(record: Scored) -> list[str]:
    """Each headline that is not what the samples give."""
    return [problem for key in record.scores for problem in _wrong_headline(record, key)]


def _wrong_headline(record: Scored, key: str) -> list[str]:
    stated = record.scores[key]
    try:
        found = headline(record, key)
    except HarnessError as error:
        return [error.problem]
    except (IndexError, ValueError) as error:  # counts of a number or size that no such score has
        return [f"{key} cannot be computed from its samples ({error})"]
    if found is None:
        return [f"{key} value is {stated['value']}, no sample has the score"]
    return [
        f"{key} {field} is {stated[field]}, the samples give {exact}"
        for field in ("value", "low", "high", "n")
        if not _agrees(stated[field], exact := getattr(found, field))
    ]


def _agrees(stated: float | None, exact: float | None) -> bool:
    if stated is None or exact is None:
        return stated is exact
    return stated == exact if isinstance(exact, int) else agrees(stated, exact)
