"""ROUGE against the rouge_score package, and against Perl ROUGE on REALSumm."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from rouge_score import rouge_scorer

from harness.files import read_jsonl
from harness.metrics import Sample
from harness.metrics.rouge import KEYS, Rouge, lcs_length, tokenize

WORDS = "the a cat cats sat sitting on mat mats, dog's runs 42 U.S. naïve café — running . \n".split(" ")


def sample(response: str, *references: str) -> Sample:
    return Sample(source="", references=references, response=response)


def random_text(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(1, 40)))


@pytest.mark.parametrize("stemmer", [False, True])
def test_equals_rouge_score_on_random_text(stemmer: bool) -> None:
    rng = random.Random(0)
    peer = rouge_scorer.RougeScorer(list(KEYS), use_stemmer=stemmer)
    samples = [sample(random_text(rng), random_text(rng), random_text(rng)) for _ in range(300)]
    compared = 0
    for one, scores in zip(samples, Rouge(KEYS, stemmer=stemmer, split=None).score(samples), strict=True):
        if not scores:  # a text without any token, which rouge_score scores 0
            continue
        theirs = peer.score_multi(list(one.references), one.response)
        assert scores == {key: theirs[key].fmeasure for key in KEYS}
        compared += 1
    assert compared > 280


def test_agrees_with_perl_rouge_as_often_as_rouge_score(shared_data: Path) -> None:
    """REALSumm: rouge_score is within 1e-4 of Perl ROUGE on 2,151 (ROUGE-2) and 1,529 (ROUGE-L) of 2,500 summaries."""

    def lines(text: str) -> str:
        return "\n".join(sentence.strip() for sentence in re.findall(r"<t>(.*?)</t>", text))

    references = {
        row["doc_id"]: lines(row["reference"]) for row in read_jsonl(shared_data / "realsumm/docs.jsonl")
    }
    rows = read_jsonl(shared_data / "realsumm/outputs.jsonl")
    samples = [sample(lines(row["summary"]), references[row["doc_id"]]) for row in rows]
    scores = Rouge(KEYS, stemmer=True, split=None).score(samples)

    def agreements(ours: str, theirs: str) -> int:
        pairs = zip(scores, rows, strict=True)
        return sum(abs(score[ours] - row["scores"][theirs]) < 1e-4 for score, row in pairs)

    assert len(rows) == 2500
    assert agreements("rouge2", "rouge_2_f_score") >= 2151
    assert agreements("rougeLsum", "rouge_l_f_score") >= 1529
    peer = rouge_scorer.RougeScorer(list(KEYS), use_stemmer=True)
    for one, score in list(zip(samples, scores, strict=True))[::25]:
        theirs = peer.score(one.references[0], one.response)
        assert score == {key: theirs[key].fmeasure for key in KEYS}


@pytest.mark.parametrize(
    "text",
    [
        "Правительство объявило о новых мерах поддержки",
        "政府は新しい支援策を発表した",
        "정부는 새로운 지원 대책을 발표했다",
        "أعلنت الحكومة عن إجراءات جديدة",
        "รัฐบาลประกาศมาตรการใหม่",
        "Η κυβέρνηση ανακοίνωσε νέα μέτρα",
        "सरकार ने नए उपायों की घोषणा की",
    ],
)
def test_other_scripts_never_score_zero_in_silence(text: str) -> None:
    """rouge_score drops every letter of these and gives 0 for equal texts."""
    assert rouge_scorer.RougeScorer(["rougeL"]).score(text, text)["rougeL"].fmeasure == 0
    half = text[: len(text) // 2]
    same, partly = Rouge().score([sample(text, text), sample(half, text)])
    assert same["rougeL"] == same["rougeLsum"] == 1
    assert 0 < partly["rougeL"] < 1


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Naïve café", ["na", "ve", "caf"]),  # as rouge_score
        ("東京でIBMが", ["東", "京", "で", "ibm", "が"]),
        ("12µm of β-blocker", ["12", "m", "of", "β", "blocker"]),
        ("スーパー", ["ス", "ー", "パ", "ー"]),
    ],
)
def test_tokens_by_script(text: str, tokens: list[str]) -> None:
    assert tokenize(text) == tokens


def test_a_text_without_tokens_is_left_out() -> None:
    assert Rouge().score(
        [sample("!!!", "a cat"), sample("a cat", "..."), sample("a cat", "...", "a cat")]
    ) == [
        {},
        {},
        {"rougeL": 1.0, "rougeLsum": 1.0},
    ]


def test_texts_on_one_line_are_split_into_sentences() -> None:
    reference = "The bank fell. Shares rose."
    response = "Shares rose. The bank fell."
    by_sentence = Rouge().score([sample(response, reference)])[0]
    by_line = Rouge(split=None).score([sample(response, reference)])[0]
    assert by_sentence["rougeLsum"] == 1
    assert by_line["rougeLsum"] < 1
    assert by_sentence["rougeL"] == by_line["rougeL"]


def test_bit_parallel_lcs_equals_the_table() -> None:
    rng = random.Random(1)
    for _ in range(200):
        a, b = (rng.choices("abcde", k=rng.randint(0, 90)) for _ in range(2))
        row = [0] * (len(b) + 1)
        for x in a:
            previous = row
            row = [0]
            for j, y in enumerate(b):
                row.append(previous[j] + 1 if x == y else max(row[j], previous[j + 1]))
        assert lcs_length(a, b) == row[-1]


def test_signatures_name_what_changes_the_score() -> None:
    signatures = {
        Rouge(stemmer=stemmer, split=split).signature(key)
        for stemmer in (False, True)
        for split in (None, Rouge()._split)
        for key in ("rougeL", "rougeLsum")
    }
    assert len(signatures) == 6  # the splitter is no part of rougeL
