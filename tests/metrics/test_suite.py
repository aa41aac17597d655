from __future__ import annotations

import json
import math
from collections.abc import Sequence

import pytest

from harness.errors import HarnessError
from harness.metrics import Sample, Suite, answers
from harness.metrics.answers import AnswerRule
from harness.metrics.chrf import Chrf
from harness.metrics.meteor import Meteor
from harness.metrics.oracle import Oracle
from harness.metrics.registry import FAMILIES, build, option_names
from harness.metrics.rouge import Rouge
from harness.metrics.suite import Bootstrap
from harness.metrics.surface import Surface
from harness.newsworld import rows

REFERENCE = "the council will close two schools next year"


def samples(responses: Sequence[str]) -> list[Sample]:
    return [Sample(source=REFERENCE, references=(REFERENCE,), response=response) for response in responses]


def suite() -> Suite:
    return Suite([Rouge(), Chrf(), Meteor(None), Surface()])


def test_failed_samples_are_counted_and_never_scored_zero() -> None:
    responses = [
        REFERENCE,
        "",
        "I'm sorry, but I can't summarize this article.",
        "too short",
        "!!! ??? ... ,,, ;;; :::",
    ]
    scores = suite().score(samples(responses))
    summary = suite().summarise(responses, scores)
    for score in scores[1:4]:
        assert set(score) == {"answer_rate", "looping"}
    assert "rougeL" not in scores[4]  # punctuation alone has no ROUGE token; characters it has
    assert scores[4]["chrf"] == 0
    assert summary.counts == {
        "n": 5,
        "failed": 3,
        "answered": 2,
        "empty": 1,
        "error": 0,
        "short": 1,
        "refused": 1,
    }
    assert (summary.scores["rougeL"].value, summary.scores["rougeL"].n) == (1, 1)
    assert summary.scores["answer_rate"].value == pytest.approx(
        3 / 5
    )  # by Vectara's rule the refusal is an answer
    assert summary.scores["answer_rate"].n == 5


def test_when_all_fail_there_is_no_score_to_be_mistaken_for_zero() -> None:
    responses = ["", ""]
    summary = suite().summarise(responses, suite().score(samples(responses)))
    assert set(summary.scores) == {"answer_rate", "looping"}
    assert math.isnan(suite().aggregate("rougeL", []))


def test_what_went_wrong_is_counted_of_every_response_as_far_as_it_is_known() -> None:
    loop = "The council voted on Monday. " * 6
    made = [
        Sample(source="", references=(REFERENCE,), response=response, truncated=truncated)
        for response, truncated in ((REFERENCE, False), (loop, True), ("", True), (REFERENCE, None))
    ]
    scores = suite().score(made)
    assert [score["looping"] for score in scores] == [0, 1, 0, 0]
    assert [score.get("truncated") for score in scores] == [0, 1, 1, None]
    summary = suite().summarise([one.response for one in made], scores)
    assert (summary.scores["truncated"].value, summary.scores["truncated"].n) == (pytest.approx(2 / 3), 3)
    assert (summary.scores["looping"].value, summary.scores["looping"].n) == (0.25, 4)
    assert summary.scores["looping"].higher_is_better is False


def test_gold_beats_corruption_on_every_directed_score() -> None:
    gold = "Hundreds of jobs are at risk after the steel plant in Redcar closed on Friday."
    corrupted = "Thousands of jobs were saved after the coal mine in Durham opened on Monday."
    unrelated = "A new species of frog was found in a remote part of the rain forest."
    means = []
    for response in (gold, corrupted, unrelated):
        sample = Sample(source=gold, references=(gold,), response=response)
        means.append(suite().score([sample])[0])
    for key, higher_is_better in suite().keys.items():
        if higher_is_better and key not in answers.SCORES:
            assert means[0][key] > means[1][key] > means[2][key], key


def test_summaries_are_seeded_and_plain_json() -> None:
    responses = [REFERENCE, "the council will open two schools", "schools will close in a year or so", ""]
    scores = suite().score(samples(responses))
    first, second = (suite().summarise(responses, scores) for _ in range(2))
    other_seed = suite().summarise(responses, scores, Bootstrap(seed=1))
    assert first == second
    assert first.scores["chrf"].value == other_seed.scores["chrf"].value
    json.dumps(first.to_dict(), allow_nan=False)
    for score in first.scores.values():
        assert score.low is not None
        assert score.high is not None
        assert score.low <= score.value <= score.high <= score.low + 100
        assert score.signature


def test_one_answer_has_no_interval() -> None:
    summary = suite().summarise([REFERENCE], suite().score(samples([REFERENCE])))
    assert summary.scores["rougeL"].low is None


def test_two_metrics_may_not_share_a_key() -> None:
    with pytest.raises(ValueError, match="share a key"):
        Suite([Rouge(), Rouge(["rougeL"])])


def test_the_oracle_prefers_references_to_summaries_of_other_articles() -> None:
    world = rows("test", 40)
    true = [Sample(source=r["article"], references=("x",), response=r["references"][0]) for r in world]
    moved = [
        Sample(source=r["article"], references=("x",), response=world[i - 1]["references"][0])
        for i, r in enumerate(world)
    ]
    rule = AnswerRule(min_words=0, refusals=False)
    scored = [Suite([Oracle()], rule).score(each) for each in (true, moved)]
    assert [s["oracle_faithfulness"] for s in scored[0]] == [1.0] * 40
    assert sum(s["oracle_faithfulness"] for s in scored[1]) == 0
    for score in (*scored[0], *scored[1]):
        assert sum(value for key, value in score.items() if key.startswith("oracle_")) == 1


@pytest.mark.parametrize(
    "name", sorted(set(FAMILIES) - {"meteor", "bertscore", "source_precision", "consistency"})
)
def test_every_family_without_needs_of_its_own_is_built_by_name(name: str) -> None:
    (metric,) = build([name], {})
    assert metric.scores
    assert all("version:" in metric.signature(key) for key in metric.scores)


def test_options_of_all_families_are_known() -> None:
    assert {"rouge_stemmer", "wordnet", "bertscore_layer"} <= option_names()


def test_an_unknown_family_is_named_with_the_known_ones() -> None:
    with pytest.raises(HarnessError, match=r"'bleurt'[\s\S]*rouge, chrf"):
        build(["rouge", "bleurt"], {})
