"""chrF against sacrebleu and its published test values."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu

from harness.files import read_jsonl
from harness.metrics import CorpusScore, Sample, Suite
from harness.metrics.answers import AnswerRule
from harness.metrics.chrf import Chrf
from harness.metrics.registry import corpus_scorer, empty_statistics


@pytest.fixture(scope="module")
def vectors(shared_data: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((shared_data / "metric_vectors/vectors.json").read_text("utf-8"))
    return content


def corpus(metric: Chrf, responses: list[str], references: list[list[str]], key: str = "chrf") -> float:
    suite = Suite([metric], AnswerRule(min_words=0))
    samples = [
        Sample(source="", references=tuple(r), response=h) for h, r in zip(responses, references, strict=True)
    ]
    scores = [score[key] for score in suite.score(samples) if key in score]
    return suite.aggregate(key, scores) if scores else 0.0


@pytest.mark.parametrize(
    ("group", "settings"),
    [
        ("test_cases", {"effective_order": False}),
        ("test_cases_effective_order", {}),
        ("test_cases_keep_whitespace", {"whitespace": True}),
    ],
)
def test_sacrebleus_own_corpus_values(vectors: dict[str, Any], group: str, settings: dict[str, bool]) -> None:
    """Source: mjpost/sacrebleu test/test_chrf.py, beta 3."""
    cases = vectors["chrf_sacrebleu"]["cases"][group]
    assert cases
    for responses, references, expected in cases:
        assert corpus(Chrf(beta=3, **settings), responses, [[r] for r in references]) == pytest.approx(
            expected, abs=5e-5
        )


def test_sacrebleus_own_sentence_values(vectors: dict[str, Any]) -> None:
    """Source: mjpost/sacrebleu test/test_chrf.py, test_sentence_level_chrf."""
    for response, references, expected in vectors["chrf_sacrebleu"]["cases"]["test_sentence_level_chrf"]:
        sample = Sample(source="", references=tuple(references), response=response)
        assert Chrf(effective_order=False).score([sample])[0]["chrf"] == pytest.approx(expected, abs=1e-8)


def test_values_of_hf_evaluate_to_all_digits(vectors: dict[str, Any]) -> None:
    """Source: huggingface/evaluate metrics/chrf/chrf.py docstring."""
    for case in vectors["chrf_hf_evaluate"]["cases"]:
        lower = str.lower if case["lowercase"] else str
        responses = [lower(text) for text in case["predictions"]]
        references = [[lower(text) for text in texts] for texts in case["references"]]
        key = "chrf++" if case["word_order"] else "chrf"
        assert corpus(Chrf(), responses, references, key) == pytest.approx(case["score"], rel=1e-14)


@pytest.mark.parametrize(("key", "word_order"), [("chrf", 0), ("chrf++", 2)])
def test_equals_sacrebleu_with_several_references(shared_data: Path, key: str, word_order: int) -> None:
    rows = read_jsonl(shared_data / "realsumm/outputs.jsonl")[:120]
    texts = [row["summary"] for row in rows]
    samples = [
        Sample(source="", references=(texts[i - 1], texts[i - 2]), response=text)
        for i, text in enumerate(texts)
    ]
    ours = Chrf().score(samples)
    peer = sacrebleu.CHRF(word_order=word_order)
    for sample, score in zip(samples, ours, strict=True):
        assert score[key] == pytest.approx(
            peer.sentence_score(sample.response, list(sample.references)).score, rel=1e-12
        )
    streams = [[s.references[i] for s in samples] for i in range(2)]
    expected = peer.corpus_score(texts, streams).score
    assert Suite([Chrf()]).aggregate(key, [score[key] for score in ours]) == pytest.approx(
        expected, rel=1e-12
    )


def test_the_corpus_score_is_no_mean_of_sentence_scores() -> None:
    samples = [
        Sample(
            source="",
            references=("a long reference about many things",),
            response="a long response about things",
        ),
        Sample(source="", references=("cat",), response="dog"),
    ]
    scores = [score["chrf"] for score in Chrf().score(samples)]
    headline = Suite([Chrf()]).aggregate("chrf", scores)
    peer = (
        sacrebleu.CHRF()
        .corpus_score([s.response for s in samples], [[s.references[0] for s in samples]])
        .score
    )
    assert headline == pytest.approx(peer, rel=1e-12)
    assert abs(headline - sum(scores) / 2) > 5


def test_a_score_keeps_its_counts_on_the_way_between_processes() -> None:
    score = Chrf().score([Sample(source="", references=("a cat sat",), response="a cat")])[0]["chrf"]
    again = pickle.loads(pickle.dumps(score))
    assert isinstance(again, CorpusScore)
    assert (again, again.statistics) == (score, score.statistics)  # type: ignore[attr-defined]
    assert json.dumps(again) == json.dumps(float(score))


def test_white_space_alone_is_left_out() -> None:
    assert Chrf().score([Sample(source="", references=(" ",), response="a")]) == [{}]


@pytest.mark.parametrize(("key", "word_order"), [("chrf", 0), ("chrf++", 2)])
@pytest.mark.parametrize("reference", ["the cat sat on the mat", "cat", "a b"])  # some orders have no n-gram
def test_a_failure_counts_as_an_empty_response_does_in_sacrebleu(
    key: str, word_order: int, reference: str
) -> None:
    references = ["a long reference about many things", reference, "twelve percent of the shares"]
    responses = ["a long response about things", "the cat is big", "twelve per cent of shares"]
    samples = [
        Sample(source="", references=(r,), response=h) for r, h in zip(references, responses, strict=True)
    ]
    counts = [s.statistics for found in Chrf().score(samples) if isinstance(s := found[key], CorpusScore)]
    empty = empty_statistics(key, counts[1])
    assert empty is not None
    scorer = corpus_scorer(["chrf"], {}, key)
    assert scorer is not None
    found = scorer(np.array([counts[0], empty, counts[2]]).sum(axis=0, keepdims=True))[0]
    peer = sacrebleu.CHRF(word_order=word_order)
    expected = peer.corpus_score([responses[0], "", responses[2]], [references]).score
    assert found == pytest.approx(expected, rel=1e-12)
    assert found < peer.corpus_score([responses[0], reference, responses[2]], [references]).score
    assert scorer(np.array([empty]))[0] == 0


def test_only_a_corpus_score_has_empty_statistics_and_not_every_one() -> None:
    assert empty_statistics("rougeL", (1.0, 2.0)) is None
    assert empty_statistics("factual_rate", (1.0, 2.0)) is None
    assert empty_statistics("bleu", (1.0, 2.0)) is None
