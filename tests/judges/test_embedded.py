"""The shipped stand-in, the metric, the command, and judges as lm-eval models."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.cli import main
from harness.errors import HarnessError
from harness.files import iter_jsonl, read_jsonl, write_jsonl
from harness.judges import load, ranking
from harness.judges.load import EMBEDDED
from harness.judges.pairs import newsworld_pairs, read_pairs
from harness.metrics.base import Sample
from harness.metrics.consistency import Consistency
from harness.metrics.suite import Suite
from harness.newsworld import make_story


def test_the_embedded_judge_is_small_and_says_what_it_is() -> None:
    assert sum(file.stat().st_size for file in EMBEDDED.iterdir()) < 10_000_000
    assert "stand-in" in (EMBEDDED / "README.md").read_text("utf-8")


def test_the_embedded_judge_agrees_with_the_oracle_on_new_articles() -> None:
    pairs = list(newsworld_pairs("judge-tests", 200))
    judge = load("embedded", device="cpu")
    found = ranking.rank(judge.score([(p.source, p.summary) for p in pairs]), [p.label for p in pairs])
    assert found.auroc > 0.9
    assert found.balanced_accuracy > 0.8
    assert found.ece < 0.12


def test_the_embedded_judge_loads_in_sentence_transformers() -> None:
    from sentence_transformers import CrossEncoder

    pairs = [(p.source, p.summary) for p in newsworld_pairs("judge-tests", 8)]
    theirs = CrossEncoder(str(EMBEDDED), device="cpu").predict(pairs, show_progress_bar=False)
    judge = load("embedded", device="cpu")
    assert judge.score(pairs) == pytest.approx(judge.calibration.apply(list(map(float, theirs))), abs=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.accelerator.is_available(), reason="no accelerator")
def test_an_accelerator_gives_what_a_processor_does() -> None:
    pairs = [(p.source, p.summary) for p in newsworld_pairs("judge-tests", 8)]
    expected = load("embedded", device="cpu").score(pairs)
    assert load("embedded").score(pairs) == pytest.approx(expected, abs=1e-4)
    assert load("embedded", dtype="bfloat16").score(pairs) == pytest.approx(expected, abs=0.1)


def test_the_metric_gives_mean_and_rate_and_counts_what_it_cannot_score() -> None:
    story = make_story("judge-tests", 3)
    good = Sample(source=story.article, references=story.references, response=story.reference)
    samples = [
        good,
        Sample(
            source=story.article,
            references=("x",),
            response="The Woodford Comets beat Zenvance Retail by 3 to 2.",
        ),
        Sample(source="", references=("x",), response=story.reference),
        Sample(source="Too short.", references=("x",), response=story.reference),
    ]
    metric = Consistency("embedded", device="cpu")
    first, second, closed_book, longer = metric.score(samples)
    assert first["factual_consistency"] > 0.5 > second["factual_consistency"]
    assert (first["factual_consistency_rate"], second["factual_consistency_rate"]) == (1.0, 0.0)
    assert closed_book == longer == {}
    assert metric.counts()["judge_without_source"] == metric.counts()["judge_longer_than_source"] == 1
    signature = metric.signature("factual_consistency")
    assert "judge:embedded@shipped|weights:" in signature
    assert signature != metric.signature("factual_consistency_rate")
    assert Suite([metric]).score(samples[:1])[0]["factual_consistency"] == first["factual_consistency"]


def test_news_world_task_has_both_scores_and_names_the_judge(
    load_task: Callable[..., Any], run_with_answers: Callable[..., dict[str, Any]]
) -> None:
    name = "kd_newsworld_factual"
    gold = load_task(name, n_documents=20, without="")
    results = run_with_answers(gold, lambda doc: doc["references"][0])
    assert results["results"][name]["factual_consistency,none"] > 0.8
    metadata = results["configs"][name]["metadata"]
    assert "judge:embedded@shipped" in metadata["scores"]["factual_consistency"]["signature"]
    assert metadata["scores"]["factual_consistency_rate"]["n"] == 20
    assert metadata["counts"]["judge_failed"] == 0
    wrong = load_task(name, n_documents=20, without="")
    answer = "The Woodford Comets beat the Harton Tigers by 3 to 2."
    found = run_with_answers(wrong, lambda doc: answer)["results"][name]
    assert found["factual_consistency,none"] < 0.2


def test_texts_outside_the_news_world_are_refused_unless_told(shared_data: Path) -> None:
    judge = load("embedded", device="cpu")
    known = judge.backbone.known_share  # type: ignore[attr-defined]
    assert known([make_story("judge-tests", i).article for i in range(50)]) == 1
    real = [row["source"] for row in iter_jsonl(shared_data / "realsumm" / "docs.jsonl")]
    assert 0.2 < min(known([text]) for text in real) < max(known([text]) for text in real) < 0.65
    with pytest.raises(
        HarnessError, match=r"made for the news world and knows 4\d% of these sources' words"
    ) as caught:
        judge.score([(text, "A summary.") for text in real])
    assert "judge_unproven=true" in caught.value.remedy
    insisted = load("embedded", device="cpu", unproven=True)
    assert all(0 <= score <= 1 for score in insisted.score([(text, "A summary.") for text in real[:2]]))


def test_a_task_says_before_anything_is_generated_that_the_judge_knows_no_such_texts(
    hub_like: Path, load_task: Callable[..., Any], run_with_answers: Callable[..., dict[str, Any]]
) -> None:
    name = "kd_xsum_factual"
    options = {
        "data_dir": str(hub_like),
        "metrics": "consistency",
        "judge": "embedded",
        "answer_min_words": 0,
    }
    asked: list[Any] = []
    with pytest.raises(HarnessError, match="made for the news world"):
        run_with_answers(load_task(name, **options), lambda doc: asked.append(doc) or "x")
    assert asked == []
    results = run_with_answers(
        load_task(name, **options, judge_unproven=True), lambda doc: doc["source"][:20]
    )
    metadata = results["configs"][name]["metadata"]
    assert metadata["scores"]["factual_consistency"]["n"] == 3
    assert metadata["metric_options"]["judge_unproven"] is True
    assert metadata["held_out"]["factual_consistency"] == load("embedded").held_out.to_dict()  # type: ignore[union-attr]


def test_judge_as_an_lm_eval_model_is_ranked(root: Path) -> None:
    from lm_eval.evaluator import evaluate
    from lm_eval.tasks import TaskManager

    from harness.lmeval.models.judge import HarnessJudge

    manager = TaskManager(
        include_path=str(root / "tasks"), include_defaults=False, metadata={"n_documents": 60}
    )
    task = manager.load(["kd_judge_newsworld"])["tasks"]["kd_judge_newsworld"]
    task.set_config("num_fewshot", 0)
    judge = HarnessJudge(judge="embedded", device="cpu")
    results = evaluate(lm=judge, task_dict={"tasks": {"kd_judge_newsworld": task}, "groups": {}})
    pairs = list(newsworld_pairs("judge-rank", 60))
    direct = ranking.rank(
        load("embedded", device="cpu").score([(p.source, p.summary) for p in pairs]), [p.label for p in pairs]
    )
    found = results["results"]["kd_judge_newsworld"]
    assert found["auroc,none"] == pytest.approx(direct.auroc)
    assert found["balanced_accuracy,none"] == pytest.approx(direct.balanced_accuracy)
    assert found["ece,none"] == pytest.approx(direct.ece, abs=1e-6)
    metadata = results["configs"]["kd_judge_newsworld"]["metadata"]
    assert metadata["judge"] == load("embedded", device="cpu").signature()
    auroc = metadata["scores"]["auroc"]
    assert 0.8 < auroc["low"] <= direct.auroc <= auroc["high"] <= 1
    assert metadata["counts"]["n"] == 60


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"source": "a", "summary": "b", "label": 2}, "neither 1 nor 0"),
        ({"source": "a", "summary": " ", "label": 1}, "an empty summary"),
        ({"source": "a", "label": 1}, "no column summary"),
        ({"source": "a", "summary": "b"}, "no label"),
    ],
)
def test_bad_labelled_rows_are_named(row: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    write_jsonl(path, [{"premise": "a", "hypothesis": "b", "label": True}, row])
    with pytest.raises(HarnessError, match=f"row 2: .*{said}"):
        read_pairs(path)


def test_score_writes_sentences_and_says_which_one_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = make_story("judge-tests", 3)
    text = f"{story.reference} The Woodford Comets beat the Harton Tigers by 3 to 2."
    write_jsonl(
        tmp_path / "in.jsonl", [{"source": story.article, "summary": text}, {"source": "x", "summary": ""}]
    )
    out = tmp_path / "out.jsonl"
    command = ["judge", "score", str(tmp_path / "in.jsonl"), "--judge", "embedded", "--output", str(out)]
    assert main([*command, "--device", "cpu"]) == 0
    first, empty = read_jsonl(out)
    assert not first["consistent"]
    assert [sentence["score"] > 0.5 for sentence in first["sentences"]] == [True, False]
    assert [text[s["start"] : s["end"]] for s in first["sentences"]] == [
        s["text"] for s in first["sentences"]
    ]
    assert (empty["score"], empty["failed"]) == (None, "empty summary")
    assert "without a score: 1" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl", "out.jsonl.run.yaml"]


def test_score_resumes_from_finished_chunks(tmp_path: Path) -> None:
    from harness.judges.score_file import Item, score_items

    judge = load("embedded", device="cpu")
    items = [Item(id="1", source=make_story("judge-tests", 1).article, summary="The Harton Tigers won.")]
    rows = score_items(judge, items, tmp_path)
    judge.score = lambda *_, **__: pytest.fail("scored again")  # type: ignore[method-assign, assignment]
    assert score_items(judge, items, tmp_path) == rows


def test_score_reads_lm_evals_samples_and_one_pair(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = make_story("judge-tests", 5)
    row = {"doc_id": 0, "doc": {"source": story.article}, "filtered_resps": [story.reference], "x": math.pi}
    write_jsonl(tmp_path / "model" / "samples_kd_x_factual_2026-01-01T00-00-00.jsonl", [row])
    out = tmp_path / "out.jsonl"
    assert (
        main(
            ["judge", "score", str(tmp_path), "--judge", "embedded", "--output", str(out), "--device", "cpu"]
        )
        == 0
    )
    assert read_jsonl(out)[0]["id"].startswith("kd_x_factual")
    pair = ["judge", "score", "--source", story.article, "--summary", story.reference, "--judge", "embedded"]
    assert main([*pair, "--output", str(out)]) == 0
    assert "  consistent" in capsys.readouterr().out
    assert main(["judge", "score", "--source", story.article, "--summary", "", "--judge", "embedded"]) == 2


def test_judge_test_prints_its_checks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", "test", "embedded", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "ok      stored scores" in out
    assert "ok      held out: AUROC 0.98" in out
    assert "FAILED" not in out
    assert main(["judge", "test", "hhem-2.1"]) == 2  # not on this machine
    assert "judge=embedded" in capsys.readouterr().err


def fit_data(path: Path, n: int = 120) -> Path:
    rows = [
        {"source": p.source, "summary": p.summary, "label": p.label} for p in newsworld_pairs("judge-fit", n)
    ]
    write_jsonl(path, rows)
    return path


def test_fit_trains_calibrates_and_writes_a_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = fit_data(tmp_path / "pairs.jsonl")
    command = ["judge", "fit", "--data", str(data), "--base", "embedded", "--output", str(tmp_path / "mine")]
    command += ["--epochs", "1", "--held-out", "0.2", "--device", "cpu", "--calibration", "isotonic"]
    command += ["--max-length", "96"]
    assert main([*command, "--dry-run"]) == 0
    assert not (tmp_path / "mine").exists()
    assert main(command) == 0
    assert "balanced accuracy" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "mine").iterdir()}
    assert {"model.safetensors", "judge.json", "reliability.png", "README.md", "tokenizer.json"} <= names
    assert not (tmp_path / ".mine.checkpoint").exists()
    judge = load(str(tmp_path / "mine"), device="cpu")  # passes its self-test
    assert "isotonic" in judge.signature()
    assert "max_tokens:96" in judge.signature()  # of a base that reads 256
    judge.score([("The Harton Tigers won. " * 40, "They won."), ("The Harton Tigers won.", "They won.")])
    assert (judge.counts.truncated, judge.counts.failed) == (1, 0)
    stored = json.loads((tmp_path / "mine" / "judge.json").read_text())
    assert len(stored["self_test"]) == 8
    assert judge.held_out is not None
    assert stored["held_out"] == judge.held_out.to_dict()
    assert judge.held_out.beats_chance
    assert stored["domain"] is None


def test_a_judge_that_learned_nothing_says_so_and_is_refused_unless_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = fit_data(tmp_path / "pairs.jsonl", 120)
    rows = read_jsonl(data)
    labels = random.Random(1).sample([row["label"] for row in rows], len(rows))
    write_jsonl(data, [{**row, "label": label} for row, label in zip(rows, labels, strict=True)])
    mine = str(tmp_path / "mine")
    command = ["judge", "fit", "--data", str(data), "--base", "embedded", "--output", mine, "--device", "cpu"]
    assert main([*command, "--epochs", "1", "--held-out", "0.3", "--learning-rate", "1e-6"]) == 0
    assert "It learned nothing that shows" in capsys.readouterr().out
    with pytest.raises(HarnessError, match=r"learned nothing that shows: AUROC 0\.") as caught:
        load(mine, device="cpu")
    assert "judge_unproven=true" in caught.value.remedy
    held_out = load(mine, device="cpu", unproven=True).held_out
    assert held_out is not None
    assert held_out.low <= 0.5
    assert held_out.to_dict() == json.loads((tmp_path / "mine" / "judge.json").read_text())["held_out"]
    assert main(["judge", "test", mine, "--device", "cpu"]) == 2
    assert "FAILED  held out: AUROC" in capsys.readouterr().out
    pair = ["judge", "score", "--source", rows[0]["source"], "--summary", rows[0]["summary"], "--judge", mine]
    assert main(pair) == 2
    assert "learned nothing that shows" in capsys.readouterr().err
    assert main([*pair, "--unproven", "--device", "cpu"]) == 0
    assert f"held out: {held_out}" in capsys.readouterr().out


def test_fit_resumes_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.files import sha256_file
    from harness.judges import train as trainer

    data = fit_data(tmp_path / "pairs.jsonl", 60)

    def plan(name: str) -> trainer.FitPlan:
        return trainer.FitPlan(
            data=data,
            base="embedded",
            output=tmp_path / name,
            epochs=2,
            held_out=0.25,
            device="cpu",
            learning_rate=1e-3,
        )

    trainer.fit(plan("whole"))
    save = trainer._save

    def killed(*args: Any, **kwargs: Any) -> None:
        save(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "_save", killed)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(plan("resumed"))
    monkeypatch.setattr(trainer, "_save", save)
    trainer.fit(plan("resumed"))
    whole, resumed = (sha256_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed"))
    assert whole == resumed


def test_fit_refuses_one_sided_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_jsonl(tmp_path / "p.jsonl", [{"source": f"s{i}", "summary": "x", "label": 1} for i in range(30)])
    command = [
        "judge",
        "fit",
        "--data",
        str(tmp_path / "p.jsonl"),
        "--base",
        "embedded",
        "--output",
        str(tmp_path / "o"),
    ]
    assert main(command) == 2
    assert "all of them labelled" in capsys.readouterr().err
