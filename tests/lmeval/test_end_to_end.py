"""Tasks run through stock lm-eval, in this process and from its own command."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.lmeval.run import EvalRequest, command, evaluate
from harness.newsworld.models import path
from harness.records import from_lm_eval

STUDENT = str(path("student"))


def results_of(folder: Path) -> dict[str, Any]:
    (file,) = folder.glob("results_*.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_real_cnndm_articles_from_a_local_file(shared_data: Path, tmp_path: Path):
    data = shared_data / "realsumm" / "docs.jsonl"
    folder = evaluate(
        EvalRequest(
            model_args={"pretrained": STUDENT},
            tasks=("kd_cnndm_factual",),
            output_path=tmp_path,
            limit=6,
            metadata={"data_dir": str(data)},
        )
    )
    results = results_of(folder)
    metadata = results["configs"]["kd_cnndm_factual"]["metadata"]
    assert metadata["rows_read"] == 100
    for key in ("rougeL", "rougeLsum", "chrf", "chrf++"):
        score = metadata["scores"][key]
        assert score["value"] == pytest.approx(results["results"]["kd_cnndm_factual"][f"{key},none"])
        assert score["low"] <= score["value"] <= score["high"]
        assert score["signature"]
    (record,) = from_lm_eval(folder)
    assert len(record.samples) == 6
    assert all(set(sample.scores) >= {"rougeL", "chrf"} for sample in record.samples)


def test_the_shown_command_gives_the_same_samples(tmp_path: Path):
    def request(output: Path) -> EvalRequest:
        return EvalRequest(
            model_args={"pretrained": STUDENT},
            tasks=("kd_newsworld_factual",),
            output_path=output,
            limit=8,
            metadata={"n_documents": 8},
        )

    (ours,) = from_lm_eval(evaluate(request(tmp_path / "ours")))
    words = command(request(tmp_path / "theirs"))
    program = Path(sys.executable).with_name(words[0])
    subprocess.run([str(program), *words[1:]], check=True, env={**os.environ}, capture_output=True)
    (folder,) = (tmp_path / "theirs").iterdir()
    (theirs,) = from_lm_eval(folder)
    assert theirs.samples == ours.samples
    assert theirs.scores == ours.scores


def test_a_row_without_a_field_is_named(tmp_path: Path):
    data = tmp_path / "articles.jsonl"
    data.write_text('{"article": "A text.", "highlights": "Text."}\n{"article": "Another text."}\n')
    request = EvalRequest(
        model_args={"pretrained": STUDENT},
        tasks=("kd_cnndm_factual",),
        output_path=tmp_path / "out",
        metadata={"data_dir": str(data)},
    )
    with pytest.raises(HarnessError, match=r"articles\.jsonl.*row 2|row 2.*articles\.jsonl"):
        evaluate(request)


def test_a_missing_model_folder_is_said_at_once(tmp_path: Path):
    request = EvalRequest(
        model_args={"pretrained": str(tmp_path / "nothing")},
        tasks=("kd_newsworld_factual",),
        output_path=tmp_path,
    )
    with pytest.raises(HarnessError, match="no model here"):
        evaluate(request)


def test_an_unknown_task_lists_ours(tmp_path: Path):
    request = EvalRequest(model_args={"pretrained": STUDENT}, tasks=("kd_nonsense",), output_path=tmp_path)
    with pytest.raises(HarnessError, match="kd_newsworld_factual"):
        evaluate(request)
