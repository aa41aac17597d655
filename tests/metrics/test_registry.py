"""What is known of every score without building a metric, and that the metrics keep to it."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.files import read_jsonl
from harness.metrics import CorpusScore, Metric, Sample, Suite, registry
from harness.metrics.answers import AnswerRule
from harness.metrics.base import Family, Options, Score
from harness.metrics.bertscore import BertScore
from harness.metrics.chrf import Chrf
from harness.metrics.consistency import Consistency
from harness.metrics.encoders import Encoder
from harness.metrics.lookback import Lookback
from harness.metrics.meteor import Meteor
from harness.metrics.oracle import Oracle
from harness.metrics.registry import FAMILIES, described, family, score_of
from harness.metrics.rouge import KEYS, Rouge
from harness.metrics.slot_error import SlotError
from harness.metrics.source_precision import SourcePrecision
from harness.metrics.surface import Surface
from harness.metrics.unsupported import Unsupported
from harness.models.load import load_language_model
from harness.newsworld import models, prompt, rows

EVERYTHING = AnswerRule(min_words=0, refusals=False)


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    """News-world articles with summaries of every quality, and texts at the edges of every definition."""
    world = rows("test", 6)
    good = [(r["article"], r["references"][0], r["references"][0]) for r in world]
    moved = [(r["article"], r["references"][0], world[i - 1]["references"][0]) for i, r in enumerate(world)]
    wrong = [(r["article"], r["references"][0], r["summary"]) for r in rows("test", 12, noise=1.0)]
    copied = [(r["article"], r["references"][0], r["article"]) for r in world[:2]]
    article, reference = world[0]["article"], world[0]["references"][0]
    edges = [
        *("x", "?!", "...", "no no no no no no no no", f"{reference} " * 20, reference.upper()),
        *("naïve café", "政府は新しい支援策を発表した", "\u200b", "🙂 🙂", "car", reference[::-1]),
    ]
    data = "name[The Mill], eatType[pub], priceRange[less than £20], priceRange[moderate]"
    described = [
        "The Mill is a moderately priced pub. It is moderately priced.",
        "The Mill is a coffee shop by the river.",
        "A cheap pub with moderate prices, The Mill.",
    ]
    found = [
        *(*good, *moved, *wrong, *copied),
        *((article, reference, text) for text in edges),
        *((data, reference, text) for text in described),
    ]
    return [
        Sample(
            source=source,
            references=(reference, "automobile"),
            response=response,
            prompt=prompt(source),
            document_end=len("Article: ") + len(source),
            raw=f" {response}",
        )
        for source, reference, response in found
    ]


def metric_of(name: str, request: pytest.FixtureRequest) -> Metric:
    """A family that gives all of its scores, with the smallest real model where it needs one."""
    if name == "lookback":
        lookback = Lookback("shipped")
        lookback.prepare(load_language_model(str(models.path("student")), device="cpu"))
        return lookback
    if name == "bertscore":
        return BertScore(Encoder(request.getfixturevalue("minilm"), layer=5), baseline=(0.4, 0.4, 0.4))
    if name == "source_precision":
        return SourcePrecision(Encoder(request.getfixturevalue("minilm"), layer=5))
    by_rule = {
        "oracle": Oracle(),
        "rouge": Rouge(KEYS),
        "chrf": Chrf(),
        "surface": Surface(),
        "slot_error": SlotError(),
        "unsupported": Unsupported(),
    }
    if name in by_rule:
        return by_rule[name]
    if name == "consistency":
        return Consistency("embedded", device="cpu")
    words = {"car": frozenset({"automobile"})}
    return Meteor(None if name == "meteor_nosyn" else lambda word: words.get(word, frozenset()))


@pytest.mark.parametrize("name", FAMILIES)
def test_scores_are_what_their_family_says(
    name: str, samples: list[Sample], request: pytest.FixtureRequest
) -> None:
    metric = metric_of(name, request)
    assert dict(metric.scores) == dict(family(name).scores)
    suite = Suite([metric], EVERYTHING)
    found = suite.score(samples)
    summary = suite.summarise([sample.response for sample in samples], found)
    for key, score in metric.scores.items():
        values = [sample[key] for sample in found if key in sample]
        assert len(set(values)) > 1, key
        assert all(score.holds(value) for value in values), (key, min(values), max(values))
        assert {isinstance(value, CorpusScore) for value in values} == {score.corpus}
        headline = summary.scores[key]
        assert headline.higher_is_better == score.higher_is_better
        assert headline.low is not None
        assert headline.high is not None
        assert all(map(score.holds, (headline.low, headline.value, headline.high)))
    assert {key for sample in found for key in sample} == {*metric.scores, "answer_rate", "looping"}


@pytest.mark.parametrize("name", ["chrf", "lookback", "slot_error", "unsupported"])
def test_a_corpus_score_follows_from_its_statistics_without_its_metric(
    name: str, samples: list[Sample], request: pytest.FixtureRequest
) -> None:
    found = metric_of(name, request).score(samples)
    for key, score in family(name).scores.items():
        scorer = registry.corpus_scorer([name], {}, key)
        assert (scorer is not None) == score.corpus
        values = [value for sample in found if isinstance(value := sample.get(key), CorpusScore)]
        assert (len(values) > 0) == score.corpus
        for value in values:
            assert scorer is not None
            assert scorer(np.array([value.statistics]))[0] == pytest.approx(value, abs=5e-5)
    assert registry.corpus_scorer([], {}, "chrf") is None


def test_what_a_metric_does_not_say_has_a_default() -> None:
    metric = Surface()
    metric.prepare(None)
    assert metric.counts() == {}
    assert dict(metric.absent) == {}
    with pytest.raises(NotImplementedError, match="length is a mean"):
        metric.corpus_scores("length", np.ones((1, 1)))
    with pytest.raises(TypeError, match="abstract"):
        Metric()  # type: ignore[abstract]


def test_no_two_families_share_a_score_and_each_leads_with_at_most_one() -> None:
    keys = [key for name in FAMILIES for key in family(name).scores]
    assert len(keys) == len(set(keys))
    with pytest.raises(ValueError, match="at most one leading"):
        Family(scores={k: Score(title=k, kind="style", leading=True) for k in "ab"}, from_options=_surface)
    with pytest.raises(ValueError, match="needs a corpus_scorer"):
        Family(scores={"a": Score(title="a", kind="style", corpus=True)}, from_options=_surface)


def _surface(_options: Options) -> Surface:
    return Surface()


def test_scores_stand_with_the_leading_ones_first_then_by_kind() -> None:
    keys = list(described())
    assert keys[:10] == [
        "oracle_faithfulness",
        "slot_faithful",
        "factual_consistency_rate",
        "factual_rate",
        "source_precision",
        "supported_responses",
        "rougeL",
        "chrf",
        "meteor",
        "bertscore_f1",
    ]
    kinds = [described()[key].kind for key in keys[10:]]
    assert kinds == sorted(kinds, key=["faithfulness", "overlap", "style", "answers"].index)
    assert keys[-3:] == ["answer_rate", "truncated", "looping"]
    assert {key: score_of(key) for key in keys} == described()
    assert score_of("bleu") is None


def test_printed_in_percent_but_for_what_has_another_unit() -> None:
    scales = {key: score.scale for key, score in described().items()}
    plain = {
        "chrf",
        "chrf++",
        "length",
        "density",
        "slot_added",
        "slot_wrong",
        "slot_missing",
        "slot_repeated",
        "unsupported_items",
    }
    assert {key for key, scale in scales.items() if scale == 1} == plain
    assert set(scales.values()) == {1, 100}


@pytest.mark.parametrize(
    ("key", "inside", "outside"),
    [
        ("rougeL", (0.0, 0.5, 1.0, 1.0000001), (-0.001, 1.001)),
        ("chrf", (0.0, 100.00000000000001), (-0.1, 100.1)),
        ("bertscore_f1", (-1.0, 1.0000002), (-1.1, 1.1)),
        ("bertscore_f1_rescaled", (-5.0, 1.0), (1.1, -math.inf)),
        ("length", (0.0, 1e6), (-1.0, math.inf)),
    ],
)
def test_a_range_has_two_sides_and_the_width_of_a_rounding(
    key: str, inside: Sequence[float], outside: Sequence[float]
) -> None:
    score = described()[key]
    assert all(map(score.holds, inside))
    assert not any(map(score.holds, (*outside, math.nan)))


@pytest.mark.parametrize(
    "field",
    [
        {"kind": "faithful"},
        {"unit": "percent"},
        {"high": -1.0},
        {"low": "0"},
        {"higher_is_better": "yes"},
        {"title": 1},
    ],
)
def test_a_score_that_says_what_cannot_be_is_refused(field: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="cannot be so"):
        Score(**{"title": "a", "kind": "overlap", **field})  # type: ignore[arg-type]


def test_scores_are_known_without_loading_a_model_library() -> None:
    heavy = {"torch", "transformers", "sentence_transformers", "nltk", "sklearn", "scipy", "datasets"}
    script = (
        "import sys; from harness.metrics import registry; assert len(registry.described()) > 20; "
        "assert registry.score_of('bertscore_f1') and not registry.score_of('x'); registry.option_names(); "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert "numpy" in loaded.split()
    assert not heavy & set(loaded.split())


def test_adding_a_metric_is_one_file_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "FAMILIES", {**FAMILIES, "repetition": "tests.metrics.repetition"})
    score = score_of("repetition")
    assert score is not None
    assert (score.kind, score.higher_is_better, score.scale) == ("style", False, 100)
    assert list(described()).index("repetition") == 10  # after the leading scores of the families before it
    assert "repetition_order" in registry.option_names()
    suite = Suite(registry.build(["repetition", "surface"], {"repetition_order": 2}))
    texts = ["the cat sat and the cat sat and the cat ran", "a b c d e f g"]
    found = suite.score([Sample(source="", references=("x",), response=text) for text in texts])
    assert [sample["repetition"] for sample in found] == pytest.approx([5 / 10, 0])
    summary = suite.summarise(texts, found).scores["repetition"]
    assert (summary.value, summary.n, summary.higher_is_better) == (0.25, 2, False)
    assert summary.signature == registry.signature_of("repetition", ["repetition"], {"repetition_order": 2})
    problem = registry.signature_problem("repetition", summary.signature, ["repetition"], {})
    assert problem is not None
    assert "order:4" in problem


def test_the_docs_describe_every_score_as_the_code_does(root: Path) -> None:
    """Rows of the table in docs/metrics.md: keys, range, better direction."""
    table: dict[str, tuple[str, str]] = {}
    for line in (root / "docs/metrics.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 7 and cells[1].startswith("`"):
            table |= dict.fromkeys(re.findall(r"`([^`]+)`", cells[1]), (cells[2], cells[3]))
    better = {True: "higher", False: "lower", None: ""}
    assert table == {
        key: (_range(score), better[score.higher_is_better]) for key, score in described().items()
    }


def _range(score: Score) -> str:
    if score.unit in ("words", "slots", "items"):
        return score.unit
    return "..".join("" if bound is None else f"{bound:g}" for bound in (score.low, score.high))


@pytest.mark.parametrize("given", ["rouge3", ["rougeL", 3], "", "rougeL+bogus"])
def test_unknown_rouge_scores_are_named(given: object) -> None:
    with pytest.raises(HarnessError, match="rouge_keys") as caught:
        registry.build(["rouge"], {"rouge_keys": given})
    assert "rouge1, rouge2, rougeL, rougeLsum" in caught.value.remedy


def test_real_summaries_keep_to_their_ranges(shared_data: Path) -> None:
    outputs = read_jsonl(shared_data / "realsumm/outputs.jsonl")[:100]
    references = {row["doc_id"]: row["reference"] for row in read_jsonl(shared_data / "realsumm/docs.jsonl")}
    samples = [
        Sample(source=references[r["doc_id"]], references=(references[r["doc_id"]],), response=r["summary"])
        for r in outputs
    ]
    metrics = registry.build(["rouge", "chrf", "meteor_nosyn", "surface"], {"rouge_keys": ",".join(KEYS)})
    for metric in metrics:
        for found in metric.score(samples):
            assert set(found) == set(metric.scores)
            assert all(metric.scores[key].holds(value) for key, value in found.items())
