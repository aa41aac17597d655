"""The factual rate inside lm-eval: a real model, its own attention, every way of running it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.lmeval.request import EvalRequest
from harness.lmeval.run import command, evaluate
from harness.lookback.classifier import Classifier
from harness.lookback.encoding import encode
from harness.lookback.extraction import lookback_ratios
from harness.lookback.windows import features, sliding
from harness.metrics.lookback import Lookback
from harness.models.load import load_language_model
from harness.records import from_lm_eval
from harness.records.samples import find_source
from tests.lmeval.conftest import ARTICLES, SUMMARIES

TASK = "kd_xsum_factual"


@pytest.fixture(scope="module")
def classifier(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights for two layers of two heads that tell the tiny model's windows apart."""
    path = tmp_path_factory.mktemp("classifier") / "tiny.safetensors"
    weight = np.array([[40.0, -30.0], [25.0, -35.0]])
    lm = load_language_model(str(tiny_model), device="cpu")
    found = [encode(lm, f"{a}\nSummary:", len(a), f" {s}") for a, s in zip(ARTICLES, SUMMARIES, strict=True)]
    logits = [
        features(ratios, sliding(len(ratios))) @ weight.reshape(-1)
        for ratios in lookback_ratios(lm.model, [one.passage for one in found if one])
    ]
    Classifier(weight=weight, bias=-float(np.median(np.concatenate(logits))), threshold=0.6).save(path)
    return path


def request(
    tiny_model: Path, hub_like: Path, output: Path, metadata: dict[str, Any], **changes: Any
) -> EvalRequest:
    return EvalRequest(
        **{
            "model_args": {"pretrained": str(tiny_model)},
            "tasks": (TASK,),
            "output_path": output,
            "batch_size": 3,
            "device": "cpu",
            "metadata": {
                "data_dir": str(hub_like),
                "answer_min_words": 0,
                "metrics": ["lookback"],
                **metadata,
            },
            **changes,
        }
    )


def results_of(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    (path,) = folder.glob("results_*.json")
    (log,) = folder.glob("samples_*.jsonl")
    rows = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    return json.loads(path.read_text("utf-8")), sorted(rows, key=lambda row: row["doc_id"])


def close(a: list[list[float]], b: list[list[float]]) -> bool:
    return len(a) == len(b) and all(
        x[:2] == y[:2] and abs(x[2] - y[2]) < 2e-4 for x, y in zip(a, b, strict=True)
    )


def test_the_rate_is_reported_and_every_window_is_logged(
    tiny_model: Path, hub_like: Path, classifier: Path, tmp_path: Path
) -> None:
    folder = evaluate(
        request(
            tiny_model,
            hub_like,
            tmp_path,
            {"lookback_classifier": str(classifier), "metrics": "lookback+rouge"},
        )
    )
    results, rows = results_of(folder)
    headline = results["results"][TASK]
    windows = [w for row in rows for w in row["lookback_windows"]]
    assert {w[2] >= 0.5 for w in windows} == {True, False}
    assert headline["factual_rate,none"] == pytest.approx(np.mean([w[2] >= 0.5 for w in windows]))
    assert headline["factual_rate_at_threshold,none"] == pytest.approx(
        np.mean([w[2] >= 0.6 for w in windows])
    )
    assert headline["factual_mean_p,none"] == pytest.approx(np.mean([w[2] for w in windows]), abs=1e-4)
    wholly = [all(w[2] >= 0.5 for w in row["lookback_windows"]) for row in rows]
    assert headline["factual_responses,none"] == pytest.approx(np.mean(wholly))
    assert headline["rougeL,none"] >= 0
    assert not [key for key in headline if "lookback_windows" in key or "statistics" in key]
    assert "lookback_windows" not in rows[0]["metrics"]
    score = results["configs"][TASK]["metadata"]["scores"]["factual_rate"]
    assert 0 <= score["low"] <= score["value"] <= score["high"] <= 1
    assert "classifier:tiny:" in score["signature"]

    lm = load_language_model(str(tiny_model), device="cpu")
    fitted = Lookback(str(classifier))
    fitted.prepare(lm)
    for row in rows:  # the log alone gives the windows again
        prompt, response = row["arguments"]["gen_args_0"]["arg_0"], row["filtered_resps"][0]
        place = find_source(prompt, row["doc"]["source"])
        assert place is not None
        one = encode(lm, prompt, place[1], response)
        assert one is not None
        assert prompt[: place[1]].endswith(row["doc"]["source"])
        spans = [tuple(w[:2]) for w in row["lookback_windows"]]
        assert len(spans) == max(1, len(one.passage.response) - 7)
        assert all(0 <= a <= b <= len(response.strip()) for a, b in spans)

    (record,) = from_lm_eval(folder)
    assert record.samples[0].lookback_windows is not None
    assert len(record.samples[0].lookback_windows) == len(rows[0]["lookback_windows"])
    assert record.samples[0].statistics["factual_rate"][1] == len(rows[0]["lookback_windows"])


def test_batches_caches_and_templates_change_nothing_that_they_should_not(
    tiny_model: Path, hub_like: Path, classifier: Path, tmp_path: Path
) -> None:
    told = {"lookback_classifier": str(classifier)}
    runs = {
        "plain": request(tiny_model, hub_like, tmp_path / "a", told),
        "one by one": request(tiny_model, hub_like, tmp_path / "b", told, batch_size=1),
        "auto": request(tiny_model, hub_like, tmp_path / "c", told, batch_size="auto"),
        "cold cache": request(tiny_model, hub_like, tmp_path / "d", told, response_cache=tmp_path / "cache"),
        "warm cache": request(tiny_model, hub_like, tmp_path / "e", told, response_cache=tmp_path / "cache"),
        "another reads": request(
            tiny_model, hub_like, tmp_path / "f", told | {"lookback_model": str(tiny_model)}
        ),
    }
    found = {name: results_of(evaluate(run))[1] for name, run in runs.items()}
    for name, rows in found.items():
        for ours, plain in zip(rows, found["plain"], strict=True):
            assert ours["filtered_resps"] == plain["filtered_resps"]
            assert close(ours["lookback_windows"], plain["lookback_windows"]), name
    chat = request(tiny_model, hub_like, tmp_path / "g", told, apply_chat_template=True)
    _, rows = results_of(evaluate(chat))
    assert all(row["lookback_windows"] for row in rows)
    assert "[user]" in rows[0]["arguments"]["gen_args_0"]["arg_0"]


@pytest.mark.slow
def test_two_processes_give_what_one_gives(
    tiny_model: Path, hub_like: Path, classifier: Path, tmp_path: Path, root: Path
) -> None:
    told = {"lookback_classifier": str(classifier)}
    alone, rows = results_of(evaluate(request(tiny_model, hub_like, tmp_path / "one", told)))
    words = command(request(tiny_model, hub_like, tmp_path / "two", told))
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'plugins'}"}
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "-m"]
    subprocess.run(
        [*launch, *words, "--include_path", str(root / "tasks")],
        env=environment,
        check=True,
        capture_output=True,
    )
    (folder,) = (tmp_path / "two").iterdir()
    together, both = results_of(folder)
    for a, b in zip(rows, both, strict=True):
        assert close(a["lookback_windows"], b["lookback_windows"])
    for key in Lookback.scores:
        ours, theirs = (r["configs"][TASK]["metadata"]["scores"][key] for r in (alone, together))
        assert theirs["value"] == pytest.approx(ours["value"], abs=1e-6)
        assert together["results"][TASK][f"{key},none"] == pytest.approx(ours["value"], abs=1e-6)


def test_without_a_classifier_the_rest_is_scored_and_the_reason_stated(
    tiny_model: Path, hub_like: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for classifier in ({}, {"lookback_classifier": "shipped"}):
        run = request(
            tiny_model, hub_like, tmp_path / str(len(classifier)), classifier | {"metrics": "lookback+rouge"}
        )
        results, rows = results_of(evaluate(run))
        metadata = results["configs"][TASK]["metadata"]
        assert "factual_rate" not in metadata["scores"]
        assert "rougeL" in metadata["scores"]
        assert "harness lookback fit" in metadata["absent"]["factual_rate"]
        assert "lookback_windows" not in rows[0]
    assert "no factual rate: no shipped lookback classifier fits tiny" in caplog.text


def test_a_classifier_for_another_model_is_an_error_before_anything_is_generated(
    tiny_model: Path, hub_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.models.huggingface import HFLM

    monkeypatch.setattr(HFLM, "_model_generate", lambda *_, **__: pytest.fail("generated"))
    Classifier(weight=np.ones((32, 32)), bias=0.0).save(tmp_path / "llama2.safetensors")
    run = request(
        tiny_model, hub_like, tmp_path / "o", {"lookback_classifier": str(tmp_path / "llama2.safetensors")}
    )
    with pytest.raises(HarnessError, match=r"for 32 layers x 32 heads; tiny has 2 layers x 2 heads"):
        evaluate(run)


def test_an_engine_without_attention_names_the_second_pass(
    load_task: Any, run_with_answers: Any, hub_like: Path, classifier: Path, tiny_model: Path
) -> None:
    told = {"data_dir": str(hub_like), "metrics": ["lookback"], "lookback_classifier": str(classifier)}
    with pytest.raises(HarnessError, match="lookback_model=PATH"):
        run_with_answers(load_task(TASK, **told), lambda doc: doc["reference"])
    results = run_with_answers(
        load_task(TASK, **told, lookback_model=str(tiny_model)), lambda doc: doc["reference"]
    )
    assert 0 <= results["results"][TASK]["factual_rate,none"] <= 1
    assert "reader:other" in results["configs"][TASK]["metadata"]["scores"]["factual_rate"]["signature"]
