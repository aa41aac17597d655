"""Whoever names a model that is not whole is told so, whichever command it is: one message, no traceback, nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.errors import HarnessError
from harness.models.load import load_language_model
from tests.models.conftest import WORDS, change_config, change_weights

Made = Callable[[str], Path]

COMMANDS: dict[str, str] = {
    "train-kd, student": "train-kd --student {model} --data {data} --output {out} --kd-ratio 0",
    "train-kd, teacher": "train-kd --student {whole} --teacher {model} --data {data} --output {out} --kd-ratio 1",
    "train-kd, plan": "train-kd --student {model} --data {data} --output {out} --kd-ratio 0 --dry-run",
    "capture": "soft-labels capture --teacher {model} --data {data} --output {out}",
    "fidelity": "soft-labels fidelity --teacher {model} --data {data}",
    "soft-labels generate": "soft-labels generate --teacher {model} --data {data} --output {out}",
    "generate": "generate {model} --data {data} --output {out}",
    "eval": "eval {model} --tasks kd_newsworld_factual --output {out}",
    "eval, plan": "eval {model} --tasks kd_newsworld_factual --output {out} --dry-run",
    "eval, guided": "eval {model} --backend harness-lookback-guided --tasks kd_newsworld_factual --output {out}",
    "lookback": "lookback fit --model {model} --data {spans} --output {out}/classifier.safetensors",
}


@pytest.fixture
def paths(saved: Made, copy: Made, tmp_path: Path) -> dict[str, Path]:
    """A model that lacks a layer's norm, a whole one, and data for every command."""
    damaged = copy("llama")
    change_weights(damaged, lambda weights: weights.pop("model.layers.1.input_layernorm.weight"))
    rows = [{"prompt": " ".join(WORDS[i : i + 4]), "response": " ".join(WORDS[i : i + 2])} for i in range(8)]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spans = tmp_path / "spans.jsonl"
    spans.write_text(
        "".join(
            json.dumps({"context": row["prompt"], "response": row["response"], "spans": []}) + "\n"
            for row in rows
        )
    )
    return {"model": damaged, "whole": saved("llama"), "data": data, "spans": spans, "out": tmp_path / "out"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_it(
    command: str, paths: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.format(**paths) for word in COMMANDS[command].split()]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.count("1 weight is missing, such as model.layers.1.input_layernorm.weight") == 1
    assert str(paths["model"]) in said
    assert "Traceback" not in said
    assert not paths["out"].exists()


def test_a_judge_and_its_base_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    from harness.judges.load import EMBEDDED

    judge = Path(shutil.copytree(EMBEDDED, tmp_path / "judge"))
    change_config(
        judge, num_hidden_layers=json.loads((judge / "config.json").read_text())["num_hidden_layers"] + 1
    )
    pairs = [
        {"source": f"A{i} b.", "summary": f"{'A' if i % 2 else 'C'}{i} b.", "label": i % 2} for i in range(60)
    ]
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    for words in (
        ["judge", "test", str(judge)],
        ["judge", "score", "--judge", str(judge), "--source", "A b.", "--summary", "A."],
        ["judge", "fit", "--data", str(data), "--base", str(judge), "--output", str(tmp_path / "out")],
    ):
        assert main(words) == 2
        assert "weights are missing, such as" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_reading_model_is_refused(paths: dict[str, Path]) -> None:
    """That of the factual rate, where it is named beside the evaluated one."""
    with pytest.raises(HarnessError, match="1 weight is missing"):
        load_language_model(str(paths["model"]), device="cpu")
    reader: Any = load_language_model(str(paths["whole"]), device="cpu", dtype="bfloat16")
    assert reader.encode("word1 word2") == [5, 6]
    assert str(reader.model.dtype) == "torch.bfloat16"
