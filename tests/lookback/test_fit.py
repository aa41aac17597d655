"""Fitting from labelled rows, the command, and the page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harness.board.windows_page import Shown, colour, coloured, page
from harness.cli import main
from harness.errors import HarnessError
from harness.lookback.classifier import load, shipped_for
from harness.lookback.encoding import encode
from harness.lookback.fit import (
    Example,
    auroc,
    best_threshold,
    dataset,
    evaluate,
    fit,
    held_out,
    read_examples,
    split,
)
from harness.lookback.newsworld import oracle_rows
from harness.lookback.rows import judge_labeller, make_row, oracle_labeller, read_rows
from harness.metrics.lookback import Lookback
from harness.models.load import load_language_model
from harness.newsworld import models
from harness.sentences import sentence_spans


def row_file(path: Path, n: int) -> Path:
    """Responses of the untuned student, which hallucinates often, with the oracle's spans."""
    lm = load_language_model(str(models.path("student")), device="cpu", batch_size=32)
    rows = oracle_rows(lm, "dev", n, temperatures=(1.0,), seed=5, progress=False)
    lines = [
        {"context": r.context, "prompt": r.prompt, "response": r.response.strip(), "spans": r.spans}
        for r in rows
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def test_the_command_fits_what_its_rows_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, output = row_file(tmp_path / "rows.jsonl", 60), tmp_path / "lens.safetensors"
    words = ["--model", str(models.path("student")), "--data", str(data), "--output", str(output)]
    assert main(["lookback", "fit", *words, "--device", "cpu", "--transfer", str(data)]) == 0
    printed = capsys.readouterr().out
    assert "| method | spans | train | test | transfer |" in printed
    classifier = load(output, unproven=True)
    assert classifier.held_out is not None
    assert f"windows of 8: {classifier.held_out}" in printed
    assert ("It learned nothing that shows" in printed) != classifier.held_out.beats_chance
    assert classifier.layout == (2, 4)
    assert classifier.made_for["vocab_size"] == 919
    by_oracle = tmp_path / "oracle.safetensors"
    assert (
        main(["lookback", "fit", *words[:-1], str(by_oracle), "--device", "cpu", "--labels", "oracle"]) == 0
    )
    np.testing.assert_array_equal(load(by_oracle, unproven=True).weight, classifier.weight)


def test_a_classifier_that_learned_nothing_says_so_and_is_refused_unless_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, output = row_file(tmp_path / "rows.jsonl", 40), tmp_path / "lens.safetensors"
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    for row, other in zip(rows, rows[1:] + rows[:1], strict=True):  # another response's spans
        ends = [(a, min(b, len(row["response"]))) for a, b in other["spans"]]
        row["marked"] = [(a, b) for a, b in ends if a < b]
    data.write_text("".join(json.dumps({**row, "spans": row["marked"]}) + "\n" for row in rows))
    words = ["--model", str(models.path("student")), "--data", str(data), "--output", str(output)]
    assert main(["lookback", "fit", *words, "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "It learned nothing that shows" in printed
    assert "use it:" not in printed
    with pytest.raises(HarnessError, match="learned nothing that shows: AUROC"):
        load(output)
    lm = load_language_model(str(models.path("student")), device="cpu")
    with pytest.raises(HarnessError, match="learned nothing that shows"):
        Lookback(str(output)).prepare(lm)
    insisted = Lookback(str(output), unproven=True)
    insisted.prepare(lm)
    proof = load(output, unproven=True).held_out
    assert proof is not None
    assert proof.low <= 0.5
    assert insisted.held_out() == dict.fromkeys(insisted.scores, proof)


def test_held_out_windows_are_measured_by_document() -> None:
    lm = load_language_model(str(models.path("student")), device="cpu", batch_size=64)
    examples = read_examples(
        lm, oracle_rows(lm, "test", 40, temperatures=(0.7, 1.0), seed=9, progress=False), progress=False
    )
    found = shipped_for(lm.model.config)
    assert found is not None
    proof = held_out(found[1], examples)
    assert proof.auroc == pytest.approx(evaluate(found[1], examples, "sliding"), abs=5e-5)
    assert proof.documents == 40
    assert proof.n == len(dataset(examples, "sliding")[1])


def test_a_fit_beats_chance_and_a_fit_on_shuffled_labels_does_not() -> None:
    lm = load_language_model(str(models.path("teacher")), device="cpu", batch_size=64)
    train, test = (
        read_examples(
            lm, oracle_rows(lm, part, n, temperatures=(1.0,), seed=3, progress=False), progress=False
        )
        for part, n in (("train", 250), ("test", 120))
    )
    x, y = dataset(test, "sliding")
    found = auroc(fit(lm, train, "sliding", {}).probabilities(x), y)
    assert found is not None
    assert found > 0.6
    rng = np.random.default_rng(0)
    # over all responses: within one, its share of wrong tokens would stay
    labels = rng.permutation(np.concatenate([e.labels for e in train]))
    parts = np.split(labels, np.cumsum([len(e.labels) for e in train])[:-1])
    shuffled = [Example(e.row, e.encoded, e.ratios, part) for e, part in zip(train, parts, strict=True)]
    by_chance = auroc(fit(lm, shuffled, "sliding", {}).probabilities(x), y)
    assert by_chance is not None
    assert by_chance < found - 0.05


@pytest.mark.parametrize(
    ("model", "name"), [("teacher", "newsworld-teacher"), ("student", "newsworld-student")]
)
def test_the_shipped_classifiers_are_offered_to_the_models_they_fit(model: str, name: str) -> None:
    lm = load_language_model(str(models.path(model)), device="cpu", batch_size=64)
    found = shipped_for(lm.model.config)
    assert found is not None
    assert found[0] == name
    assert found[1].info["made_by"] == "scripts/make_lookback_classifier.py"
    assert found[1].held_out is not None
    assert found[1].held_out.beats_chance
    rows = oracle_rows(lm, "test", 100, temperatures=(1.0,), seed=7, progress=False)
    score = evaluate(found[1], read_examples(lm, rows, progress=False), "sliding")
    assert score is not None
    assert score > 0.52  # docs/lookback.md: better than chance, not by much


def test_scores_that_rank_and_thresholds_that_split() -> None:
    labels = np.array([0, 0, 1, 1, 1])
    assert auroc(np.array([0.1, 0.4, 0.4, 0.8, 0.9]), labels) == pytest.approx(5.5 / 6)
    assert auroc(np.array([0.1, 0.2]), np.array([1, 1])) is None
    assert best_threshold(np.array([0.1, 0.3, 0.6, 0.8, 0.9]), labels) == 0.6


def test_rows_are_refused_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    good = {"context": "a b", "response": " c d", "spans": [[1, 2]]}
    path.write_text("\n".join(map(json.dumps, [good, {**good, "spans": [[0, 99]]}, {"response": ""}])))
    with pytest.raises(HarnessError, match=r"row 2: span \[0, 98\](.|\n)*row 3: no 'context'"):
        read_rows(path)
    path.write_text(json.dumps(good))
    (row,) = read_rows(path, template="Read: {context} Now:")
    assert (row.prompt, row.document_end, row.spans) == ("Read: a b Now:", 9, ((0, 1),))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"response": None}, "response"),
        ({"context": 5}, "context"),
        ({"context": ["doc"], "response": True}, "context and response"),
        ({"prompt": 7}, "prompt"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, fields: dict[str, object], said: str) -> None:
    good = {"context": "doc", "response": "It rained.", "spans": []}
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps(good)}\n{json.dumps(good | fields)}\n")
    with pytest.raises(HarnessError, match=f"row 2: {said}: no text"):
        read_rows(tmp_path / "rows.jsonl")


def test_all_of_one_kind_cannot_be_fitted() -> None:
    lm = load_language_model(str(models.path("student")), device="cpu")
    article = "Anna Bell has won the race."
    rows = [make_row(article, f"Article: {article}\nSummary:", "The race was won.", [])]
    with pytest.raises(HarnessError, match="training windows are factual"):
        fit(lm, read_examples(lm, rows, progress=False), "sliding", {})


def test_documents_never_stand_on_both_sides() -> None:
    rows = [make_row(f"doc {i % 40}", f"doc {i % 40}\nNow:", "x", []) for i in range(200)]
    train, test = split(rows, 0.3)
    assert len(train) + len(test) == 200
    assert test
    assert not {r.context for r in train} & {r.context for r in test}


def test_labels_of_the_oracle_and_of_a_judge() -> None:
    class Length:
        """A judge that believes short sentences."""

        def score(self, pairs: list[tuple[str, str]], *, progress: bool = True) -> list[float]:
            assert progress is False
            return [1.0 if len(text) < 10 else 0.0 for _, text in pairs]

    text = "It rained. Then the whole town went out. Good."
    assert [text[a:b] for a, b in sentence_spans(text)] == [
        "It rained.",
        "Then the whole town went out.",
        "Good.",
    ]
    assert judge_labeller(Length())("doc", text) == [(0, 10), (11, 40)]
    assert oracle_labeller("Nothing of that world.", "Nor this.") == [(0, 9)]


def test_a_sentence_without_a_score_is_not_taken_for_factual(tmp_path: Path) -> None:
    class Silent:
        """A judge that has no number for one sentence."""

        def score(self, pairs: list[tuple[str, str]], *, progress: bool = True) -> list[float]:
            return [float("nan") if text == "Then it stopped." else 1.0 for _, text in pairs]

    rows = tmp_path / "rows.jsonl"
    responses = ("It rained.", "It rained. Then it stopped.")
    rows.write_text("".join(json.dumps({"context": "doc", "response": text}) + "\n" for text in responses))
    with pytest.raises(HarnessError, match=r"row 2: the judge gives no number to characters 11 to 27"):
        read_rows(rows, judge_labeller(Silent()))


def test_offsets_are_those_of_the_stripped_response() -> None:
    lm = load_language_model(str(models.path("student")), device="cpu")
    one = encode(lm, "Article: the race.\nSummary:", 18, "  The race was won. ")
    assert one is not None
    assert ["The race was won."[a:b] for a, b in one.offsets] == ["The", "race", "was", "won", "."]
    tokens = lm.tokenizer.convert_ids_to_tokens(one.passage.prompt[: one.passage.context])
    assert tokens == ["<s>", "Article", ":", "the", "race", "."]


def test_the_page_colours_every_character_and_escapes(tmp_path: Path) -> None:
    html = coloured("a <b> c", [(0, 5, 0.9), (2, 7, 0.1)])
    assert html.replace("&lt;", "<").count("<span") == 3
    assert "mean p 0.500 over 2 windows, lowest 0.100" in html
    assert "&lt;b&gt;" in html
    assert colour(0.5).endswith("100%)")
    whole = page("t<", [Shown(doc_id=3, source="<i>", response="x y", windows=[(0, 3, 0.2)])])
    assert "0 of 1 windows factual" in whole
    assert "t&lt;" in whole
    assert "<i>" not in whole
