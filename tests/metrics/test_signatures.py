"""Stated signatures held against the options that they are said to come from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.judges.load import EMBEDDED
from harness.metrics import registry, signatures
from harness.metrics.answers import AnswerRule
from harness.metrics.base import Metric
from harness.metrics.bertscore import BertScore
from harness.metrics.consistency import Consistency
from harness.metrics.encoders import Encoder
from harness.metrics.lookback import Lookback
from harness.metrics.meteor import Meteor
from harness.models.load import load_language_model
from harness.newsworld import models

HHEM = (
    "factual_consistency|mean|judge:{judge}|weights:0123456789ab|max_tokens:none|calibration:none|dtype:float32"
    "|transformers:5.1.0|torch:2.9.0|version:1"
)
ROBERTA = (
    "bertscore_f1_rescaled|model:roberta-large@722cf37b1afa|layer:17|idf:no|baseline:{baseline}|refs:best"
    "|transformers:5.1.0|torch:2.9.0|version:1"
)


def problem(signature: str, family: str, options: dict[str, Any], key: str | None = None) -> str:
    """What is said of a signature; empty if nothing is."""
    return registry.signature_problem(key or signature.partition("|")[0], signature, [family], options) or ""


def of_every_key(metric: Metric, family: str, options: dict[str, Any]) -> list[str]:
    return [problem(metric.signature(key), family, options, key) for key in metric.scores]


@pytest.mark.parametrize(
    ("key", "families", "options", "signature"),
    [
        ("rougeL", ["rouge"], {}, "rougeL|f1|refs:best|stem:no|tok:rouge_score+scripts|version:1"),
        (
            "rougeLsum",
            ["chrf", "rouge"],
            {"rouge_stemmer": True},
            "rougeLsum|f1|refs:best|stem:porter|tok:rouge_score+scripts|sent:newline+rules1|version:1",
        ),
        ("chrf++", ["chrf"], {}, "chrF2++|nrefs:var|case:mixed|eff:yes|nc:6|nw:2|space:no|version:1"),
        ("density", ["surface"], {}, "density|grusky2018|tok:rouge_score+scripts|version:1"),
        ("oracle_faithfulness", ["oracle"], {}, "oracle_faithfulness|newsworld|unit:summary|version:1"),
        (
            "meteor_nosyn",
            ["meteor_nosyn"],
            {},
            "meteor_nosyn|alpha:0.9|beta:3|gamma:0.5|case:lower|tok:wordpunct|stem:porter|syn:none|refs:best|version:1",
        ),
        ("rouge2", ["rouge"], {}, None),  # not asked for
        ("rougeL", ["chrf"], {}, None),
        ("factual_consistency", ["consistency"], {}, None),
        ("meteor", ["meteor"], {}, None),
    ],
)
def test_the_signature_of_a_score_by_rule_follows_from_the_options(
    key: str, families: list[str], options: dict[str, Any], signature: str | None
) -> None:
    assert registry.signature_of(key, families, options) == signature
    if signature is not None:
        assert registry.signature_problem(key, signature, families, options) is None
        altered = signature.replace("version:1", "version:2")
        said = registry.signature_problem(key, altered, families, options)
        assert said == f"{key}: its signature {altered} is not what the options give: {signature}"


def test_committed_records_state_what_their_options_give(root: Path) -> None:
    """The signatures of the published boards, made by the former versions of these functions."""
    headers = [
        json.loads(path.read_text("utf-8").partition("\n")[0])
        for path in sorted((root / "leaderboards/records").glob("*/*.jsonl"))
    ]
    records = [header for header in headers if header.get("metrics")]
    assert len(records) >= 5
    checked = set()
    for record in records:
        for key, score in record["scores"].items():
            options = record["metric_options"]
            found = registry.signature_problem(key, score["signature"], record["metrics"], options)
            assert found is None
            checked.add(key)
    assert {"rougeL", "chrf++", "density", "oracle_intrinsic", "answer_rate"} <= checked


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rouge_stemmer": True}, "stem:porter"),
        ({"rouge_keys": ["rouge1"]}, "do not ask for"),
        ({"rouge_keys": ["bogus"]}, "bogus is no ROUGE score"),
        ({"rouge_keys": 5}, "wrong type"),
    ],
)
def test_options_that_give_another_signature_are_named(options: dict[str, Any], said: str) -> None:
    signature = "rougeL|f1|refs:best|stem:no|tok:rouge_score+scripts|version:1"
    assert said in problem(signature, "rouge", options)


def test_a_score_of_no_listed_family_is_a_problem() -> None:
    for families in ([], ["chrf"], ["judge"]):
        assert "no score of the metrics" in str(registry.signature_problem("rougeL", "x", families, {}))


def test_answer_rate() -> None:
    signature = AnswerRule(min_words=0).signature()
    assert registry.signature_problem("answer_rate", signature, [], {}) is None
    assert registry.signature_problem("answer_rate", signature, [], {"answer_min_words": 0}) is None
    assert "give >5" in str(registry.signature_problem("answer_rate", signature, [], {"answer_min_words": 5}))
    for wrong in ("answer_rate|rule:mine|words:>0", "answer_rate|rule:vectara|words:>few", ""):
        assert "not of the form" in str(registry.signature_problem("answer_rate", wrong, [], {}))


def test_what_went_wrong_has_one_signature() -> None:
    """Also where a token limit is known from an endpoint in one run and by counting in another: the two are compared."""
    for key in ("truncated", "looping"):
        signature = AnswerRule(min_words=0).signature(key)
        assert signature.startswith(f"{key}|")
        assert signature == AnswerRule(min_words=5).signature(key)
        assert registry.signature_problem(key, signature, [], {}) is None
        assert "is not" in str(registry.signature_problem(key, f"{signature}x", [], {}))


def test_a_judge_must_be_the_one_that_the_options_name(tmp_path: Path) -> None:
    embedded = Consistency("embedded", device="cpu")
    assert of_every_key(embedded, "consistency", {"judge": "embedded"}) == ["", ""]
    stated = embedded.signature("factual_consistency")
    said = problem(stated, "consistency", {})
    assert "judge:embedded where the options give hhem-2.1" in said
    assert "dtype:float32" in problem(stated, "consistency", {"judge": "embedded", "judge_dtype": "bfloat16"})
    rate = stated.replace("|mean|", "|share>=0.5|")
    assert "not of the form" in problem(rate, "consistency", {"judge": "embedded"})
    folder = tmp_path / "my@judge"
    shutil.copytree(EMBEDDED, folder)
    mine = Consistency(str(folder), device="cpu")
    for named in ("my@judge", str(folder)):  # as records hold it, and as the task was told
        assert of_every_key(mine, "consistency", {"judge": named}) == ["", ""]
    assert "judge:my@judge" in problem(
        mine.signature("factual_consistency"), "consistency", {"judge": "other"}
    )


@pytest.mark.parametrize(
    ("named", "stated", "said"),
    [
        ("hhem-2.1", "hhem-2.1@8e4a2e6e96c7", ""),
        ("hhem-2.1", "hhem-2.1@local", ""),  # a folder may be called so
        ("hhem-2.1", "hhem-2.1@0123456789ab", "revision:0123456789ab where the options give 8e4a2e6e96c7"),
        ("hhem-2.1", "hhem-1.0@31b1a78c", "judge:hhem-1.0"),
        ("hhem-1.0", "hhem-1.0@31b1a78c", ""),
        ("owner/model", "owner/model@0123456789ab", ""),
        ("owner/model@v2", "owner/model@0123456789ab", ""),  # what a tag names cannot be known
        (f"owner/model@{'ab' * 20}", "owner/model@abababababab", ""),
        (f"owner/model@{'ab' * 20}", "owner/model@0123456789ab", "revision"),
        ("owner/model", "owner/another@0123456789ab", "judge:owner/another"),
    ],
)
def test_judges_of_the_hub(named: str, stated: str, said: str) -> None:
    found = problem(HHEM.format(judge=stated), "consistency", {"judge": named})
    assert said in found
    assert bool(said) == bool(found)


def test_an_encoder_must_be_the_one_that_the_options_name(roberta_folder: Path, minilm: str) -> None:
    metric = BertScore(Encoder(str(roberta_folder), layer=2), idf=True)
    options = {"bertscore_model": roberta_folder.name, "bertscore_layer": 2, "bertscore_idf": True}
    assert of_every_key(metric, "bertscore", options) == [""] * 3
    stated = metric.signature("bertscore_f1")
    for changed, said in (
        ({"bertscore_layer": 3}, "layer:2 where the options give 3"),
        ({"bertscore_idf": False}, "idf:yes where the options give no"),
        ({"bertscore_model": "roberta-large"}, "where the options give roberta-large"),
        ({"bertscore_layer": "top"}, "wrong type"),
        ({"bertscore_layer": float("inf")}, "wrong type"),
    ):
        assert said in problem(stated, "bertscore", options | changed)
    offline = BertScore(Encoder(minilm, layer=5))
    assert of_every_key(offline, "bertscore", {"bertscore_model": minilm}) == [""] * 3
    assert "layer:5" in problem(
        offline.signature("bertscore_p"), "bertscore", {"bertscore_model": minilm} | {"bertscore_layer": 6}
    )


def test_a_rescaled_bertscore_states_the_published_baseline() -> None:
    pytest.importorskip("bert_score", reason="its table holds the baselines")
    assert problem(ROBERTA.format(baseline="0.831226"), "bertscore", {}) == ""
    assert "baseline:0.5 where the options give 0.831226" in problem(
        ROBERTA.format(baseline="0.5"), "bertscore", {}
    )
    assert problem(ROBERTA.format(baseline="0.5"), "bertscore", {"bertscore_layer": 99}) != ""


def test_a_classifier_and_its_reader_must_be_those_that_the_options_name() -> None:
    metric = Lookback("shipped")
    metric.prepare(load_language_model(str(models.path("student")), device="cpu"))
    options: dict[str, Any] = {"lookback_classifier": "shipped"}
    assert of_every_key(metric, "lookback", options) == [""] * 4
    stated = metric.signature("factual_rate")
    file = "newsworld-student.safetensors"
    assert problem(stated, "lookback", {"lookback_classifier": file}) == ""
    assert "no classifier" in problem(stated, "lookback", {})
    assert "classifier:newsworld-student" in problem(
        stated, "lookback", {"lookback_classifier": "mine.safetensors"}
    )
    assert "reader:evaluated" in problem(stated, "lookback", options | {"lookback_model": "other"})
    unready = Lookback("shipped").signature("factual_rate")
    assert "not of the form" in problem(unready, "lookback", options)
    assert "classifier:mine" in problem(stated.replace("newsworld-student", "mine"), "lookback", options)


def test_a_word_list_must_be_the_one_that_the_options_name() -> None:
    stated = Meteor(lambda word: frozenset(), source="wordnet-3.0").signature("meteor")
    assert problem(stated, "meteor", {}) == ""
    assert (
        problem(stated.replace("wordnet-3.0", "oewn-2024-unknown"), "meteor", {"wordnet": "a/oewn-2024"})
        == ""
    )
    assert "syn:wordnet-3.0 where the options give wordnet31" in problem(
        stated, "meteor", {"wordnet": "wordnet31"}
    )
    assert "not of the form" in problem(stated.replace("alpha:0.9", "alpha:0.8"), "meteor", {})


def test_a_form_is_read_as_it_was_filled_in() -> None:
    form = "a|b:{b}@{c}|d"
    assert signatures.read(form, form.format(b="x@y", c="z")) == {"b": "x@y", "c": "z"}
    for other in ("a|b:x|d", "a|b:x@y|e|d", "a|b:@y|d", "a|b:x@y|d|", "A|b:x@y|d"):
        assert signatures.read(form, other) is None
