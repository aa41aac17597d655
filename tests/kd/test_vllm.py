"""Labels from what vLLM returns, on objects of its documented shape: the engine itself is not here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness_kd.data.examples import Example
from harness_kd.plan import TrainPlan
from harness_kd.soft_labels.capture import label_rows
from harness_kd.soft_labels.labels import pack
from harness_kd.soft_labels.vllm import labels_of
from torch import nn

from harness.cli import main
from harness.errors import HarnessError
from harness.models.source import ModelSource
from tests.kd.test_soft_labels import manifest_of, teacher_logits


@dataclass
class Logprob:
    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@torch.inference_mode()
def engine_output(source: ModelSource, example: Example, k: int) -> list[dict[int, Any] | None]:
    """``prompt_logprobs`` of a request: entry 0 None, then the K likeliest and the token itself."""
    model = source.model()
    ids = torch.from_numpy(example.ids).long()
    log_p = model(ids[None]).logits[0].log_softmax(-1)
    output: list[dict[int, Any] | None] = [None]
    for position, token in enumerate(ids[1:].tolist()):
        row = log_p[position]
        found = {int(i): Logprob(float(row[i]), rank) for rank, i in enumerate(row.topk(k).indices, start=1)}
        found.setdefault(token, Logprob(float(row[token])))
        output.append(found)
    return output


def test_labels_are_those_of_transformers_at_temperature_1(
    source: ModelSource,
    examples: tuple[Example, ...],
) -> None:
    manifest = manifest_of(source, temperatures=(1.0,), teacher_dtype="vllm")
    for example in examples[:4]:
        ours = labels_of(engine_output(source, example, 8), example, manifest)
        arrays = [
            x.numpy() for x in label_rows(teacher_logits(source, example).float(), nn.Identity(), manifest)
        ]
        theirs = pack(*arrays, vocabulary_size=manifest.vocabulary_size, dtype="float32")
        assert ours.full_ids().tolist() == theirs.full_ids().tolist()
        np.testing.assert_allclose(ours.log_probs, theirs.log_probs, atol=1e-5)
        np.testing.assert_allclose(ours.log_tail, theirs.log_tail, atol=2e-2)


def test_an_engine_with_a_lower_limit_is_named(
    source: ModelSource,
    examples: tuple[Example, ...],
) -> None:
    manifest = manifest_of(source, temperatures=(1.0,))
    with pytest.raises(HarnessError, match=r"gave [34] log-probabilities for a token where 8"):
        labels_of(engine_output(source, examples[0], 3), examples[0], manifest)


def test_without_vllm_the_way_in_is_named(
    tmp_path: Path, teacher: str, data_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--teacher", teacher, "--data", str(data_file), "--output", str(tmp_path / "x")]
    limits = ["--max-length", "64", "--max-prompt-length", "32"]
    assert main(["soft-labels", "capture", *words, "--engine", "vllm", *limits]) == 2
    assert "vLLM is not installed" in capsys.readouterr().err
    with pytest.raises(HarnessError, match="engine vllm has neither"):
        TrainPlan(
            student="s", teacher="t", data="d", output="o", kd_ratio=1.0, engine="vllm", temperature=2.0
        )
