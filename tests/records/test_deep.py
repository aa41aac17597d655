"""Scores that contradict their texts: consistent in themselves, so that only scoring the texts again finds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.metrics import registry
from harness.metrics.answers import AnswerRule
from harness.metrics.registry import FAMILIES
from harness.records import Document, Record
from harness.records.check import problems
from harness.records.deep import JUDGE_TOLERANCE, recompute
from harness.records.headlines import headline
from harness.records.record import scored
from harness.stats.rounding import rounded, rounded_tree

BY_RULE = ("oracle", "unsupported", "rouge", "chrf", "surface", "meteor_nosyn")
Made = tuple[Record, dict[int, Document]]


@pytest.fixture(scope="module")
def made(score_texts: Callable[..., Any]) -> Made:
    record, documents = score_texts(BY_RULE, {"rouge_keys": ["rouge1", "rougeLsum"], "rouge_stemmer": True})
    return record, {document.doc_id: document for document in documents}


def consistent(record: Record, at: int, **changes: Any) -> Record:
    """The record with one sample changed, and every headline made to fit: what a careful forger writes."""
    samples = list(record.samples)
    samples[at] = replace(samples[at], **changes)
    record = replace(record, samples=tuple(samples))
    columns = scored(record)
    found = {key: headline(columns, key) for key in record.scores}
    scores = {key: rounded_tree(dict(vars(summary))) for key, summary in found.items() if summary is not None}
    return replace(record, scores=scores)


def test_every_score_by_rule_is_computed_again(made: Made) -> None:
    record, documents = made
    found = recompute(record, documents)
    assert found.problems == []
    assert sorted(found.keys) == sorted(record.scores)
    assert found.left == {}
    assert {"oracle_faithfulness", "rouge1", "chrf++", "meteor_nosyn", "density", "answer_rate"} <= set(
        found.keys
    )


def test_a_mark_that_its_text_never_had_is_found(made: Made) -> None:
    record, documents = made
    forged = consistent(record, 0, unsupported_spans=((0, 1, "name"),))
    assert problems(scored(forged), documents) == []
    (said,) = recompute(forged, documents).problems
    assert "unsupported_spans of 1 samples are not what their texts give (document 0)" in said
    invented = [(11, 17, "name"), (21, 27, "date")]
    for spans, differing in ((tuple(invented), 0), (None, 1), ((invented[0],), 1)):
        other = consistent(record, 0, response="He went to Xanadu in August.", unsupported_spans=spans)
        assert len([p for p in recompute(other, documents).problems if "spans of" in p]) == differing


@pytest.mark.parametrize(
    "key", ["oracle_faithfulness", "rouge1", "rougeLsum", "meteor_nosyn", "length", "coverage", "density"]
)
def test_a_score_that_its_text_never_had_is_found(made: Made, key: str) -> None:
    record, documents = made
    scores = record.samples[1].scores
    forged = consistent(
        record,
        1,
        scores=scores
        | {key: 1.0 - scores[key] if key.startswith("oracle") else rounded(scores[key] * 0.999)},
    )
    assert problems(scored(forged), documents) == []
    (problem,) = recompute(forged, documents).problems
    assert problem.startswith(
        f"{key}: 1 of 24 samples differ (document 1 has {forged.samples[1].scores[key]:.9g}, its text gives"
    )


def test_counts_of_a_better_text_are_found(made: Made) -> None:
    record, documents = made
    sample, other = record.samples[0], record.samples[1]
    forged = consistent(
        record,
        0,
        scores=sample.scores | {"chrf": other.scores["chrf"]},
        statistics=sample.statistics | {"chrf": other.statistics["chrf"]},
    )
    assert problems(scored(forged), documents) == []
    (problem,) = recompute(forged, documents).problems
    assert problem.startswith("chrf: 1 of 24 samples differ (document 0")


def test_a_response_that_was_not_scored_is_found(made: Made) -> None:
    record, documents = made
    forged = replace(
        record, samples=(replace(record.samples[0], response="Something else was said."), *record.samples[1:])
    )
    assert problems(scored(forged), documents) == []
    found = " ".join(recompute(forged, documents).problems)
    for key in ("rouge1", "chrf", "meteor_nosyn", "length", "oracle_unparsable"):
        assert f"{key}: 1 of 24" in found


def test_a_failure_counted_as_an_answer_is_found(made: Made) -> None:
    record, documents = made
    failed = next(i for i, sample in enumerate(record.samples) if "length" not in sample.scores)
    forged = consistent(
        record, failed, scores=record.samples[0].scores, statistics=record.samples[0].statistics
    )
    kinds = {"answered": record.counts["answered"] + 1, "failed": record.counts["failed"] - 1, "empty": 1}
    forged = replace(forged, counts=record.counts | kinds)
    assert problems(scored(forged), documents) == []
    found = " ".join(recompute(forged, documents).problems)
    assert "counts: the responses are answered 20, empty 2" in found
    assert f"answer_rate: 1 of 24 samples differ (document {failed} has 1, its text gives 0)" in found
    assert f"rouge1: 1 of 24 samples differ (document {failed} has" in found


def test_an_edited_document_is_found(made: Made) -> None:
    record, documents = made
    edited = documents | {0: replace(documents[0], source=documents[0].source.upper() + " More words.")}
    assert any("oracle" in problem for problem in recompute(record, edited).problems)


def test_the_whole_source_counts_where_the_model_saw_its_beginning(made: Made) -> None:
    record, documents = made
    short = replace(record, samples=tuple(replace(sample, source_chars=20) for sample in record.samples))
    assert recompute(short, documents).problems == []


@pytest.mark.parametrize(
    "rule", [AnswerRule(min_words=0), AnswerRule(refusals=False), AnswerRule(min_words=2, refusals=False)]
)
def test_the_rule_of_answers_is_the_records_own(score_texts: Callable[..., Any], rule: AnswerRule) -> None:
    record, documents = score_texts(("surface",), rule=rule)
    assert recompute(record, {d.doc_id: d for d in documents}).problems == []


def test_what_was_not_computed_again_is_said_with_the_reason(made: Made) -> None:
    record, documents = made
    assert set(recompute(record, None).left.values()) == {"the documents file was not kept"}
    foreign = replace(record, metrics=())
    assert set(recompute(foreign, documents).left.values()) == {"of another author's task"}
    elsewhere = replace(foreign, provenance=record.provenance | {"measured": "elsewhere"})
    assert "published by others" in recompute(elsewhere, documents).left["rouge1"]
    silent = replace(record.samples[0], response=None, response_sha256="0" * 64)
    hidden = replace(record, samples=(silent, *record.samples[1:]))
    assert set(recompute(hidden, documents).left.values()) == {"responses were not passed on"}
    fewer = {doc_id: document for doc_id, document in documents.items() if doc_id}
    assert "missing" in recompute(record, fewer).left["rouge1"]
    more = replace(
        record,
        metrics=(*record.metrics, "bertscore", "consistency"),
        scores=record.scores
        | {"bertscore_f1": record.scores["rouge1"], "factual_consistency": record.scores["rouge1"]},
    )
    left = recompute(more, documents).left
    assert left == {"bertscore_f1": "needs its encoder", "factual_consistency": "asks the judge: --judge"}


def test_another_way_to_compute_is_no_verdict(made: Made) -> None:
    record, documents = made
    scores = record.scores | {"chrf": record.scores["chrf"] | {"signature": "chrF2|version:0"}}
    found = recompute(replace(record, scores=scores), documents)
    assert "as chrF2|version:0 in the record" in found.left["chrf"]
    assert found.problems == []


def test_every_family_is_computed_again_or_has_a_reason() -> None:
    """A family that somebody adds must be one or the other."""
    from harness.records.deep import _why_not

    silent = [name for name in FAMILIES if _why_not(name, judge=False) is None]
    assert silent == [
        "oracle",
        "slot_error",
        "unsupported",
        "rouge",
        "chrf",
        "meteor",
        "meteor_nosyn",
        "surface",
    ]
    assert all(registry.family(name).contradiction is None for name in silent if name != "meteor")


@pytest.fixture(scope="module")
def judged(score_texts: Callable[..., Any]) -> Made:
    record, documents = score_texts(("consistency",), {"judge": "embedded"}, n=12)
    return record, {document.doc_id: document for document in documents}


def test_the_judge_is_asked_again(judged: Made) -> None:
    record, documents = judged
    assert recompute(record, documents).keys == ["answer_rate", "looping"]
    found = recompute(record, documents, judge=True)
    assert found.problems == []
    assert found.keys == ["answer_rate", "looping", "factual_consistency", "factual_consistency_rate"]


def test_another_verdict_than_the_judges_is_found(judged: Made) -> None:
    record, documents = judged
    scores = record.samples[0].scores
    key, rate = "factual_consistency", "factual_consistency_rate"
    off = consistent(record, 0, scores=scores | {key: rounded(abs(scores[key] - 3 * JUDGE_TOLERANCE))})
    (problem,) = recompute(off, documents, judge=True).problems
    assert problem.startswith(f"{key}: 1 of 12 samples differ (document 0")
    noise = consistent(record, 0, scores=scores | {key: rounded(abs(scores[key] - JUDGE_TOLERANCE / 3))})
    assert recompute(noise, documents, judge=True).problems == []  # another processor's judge
    turned = consistent(record, 0, scores=scores | {rate: 1.0 - scores[rate]})
    (problem,) = recompute(turned, documents, judge=True).problems
    assert problem.startswith(f"{rate}: 1 of 12")


def test_counts_of_the_judge_are_its_own(judged: Made) -> None:
    record, documents = judged
    more = replace(record, counts=record.counts | {"judge_truncated": 5})
    assert (
        "counts say judge_truncated = 5, the texts give 0" in recompute(more, documents, judge=True).problems
    )


def test_a_judge_that_cannot_be_had_is_an_error(judged: Made) -> None:
    record, documents = judged
    with pytest.raises(HarnessError, match="no judge is called"):
        recompute(replace(record, metric_options={"judge": "nobody"}), documents, judge=True)


def test_the_factual_rate_is_that_of_its_windows(made: Made) -> None:
    record, documents = made
    windows = ((0, 4, 0.8), (1, 5, 0.5), (2, 6, 0.31))
    rates = {"factual_rate": (2, 3), "factual_rate_at_threshold": (1, 3), "factual_mean_p": (1.61, 3)}
    score = {"value": 0.5, "low": None, "high": None, "n": 1, "higher_is_better": True, "signature": "x"}
    stated = dict.fromkeys((*rates, "factual_responses"), score)
    stated["factual_rate_at_threshold"] = score | {"signature": "y|p>=0.6|z"}
    answered = [i for i, sample in enumerate(record.samples) if "length" in sample.scores]

    def with_windows(p: float) -> Record:
        samples = list(record.samples)
        for i in answered:
            samples[i] = replace(
                samples[i],
                scores=samples[i].scores
                | {key: rounded(hits / n) for key, (hits, n) in rates.items()}
                | {"factual_responses": 0.0},
                statistics=samples[i].statistics | rates,
                lookback_windows=(*windows[:2], (2, 6, p)),
            )
        return replace(
            record,
            metrics=(*record.metrics, "lookback"),
            scores=record.scores | stated,
            samples=tuple(samples),
        )

    found = recompute(with_windows(0.31), documents)
    assert found.problems == []
    assert "only the model's attention" in found.left["factual_rate"]
    wrong = recompute(with_windows(0.9), documents).problems
    assert [problem.split(":")[0] for problem in wrong] == [*rates, "factual_responses"]
    assert "its windows give" in wrong[0]
