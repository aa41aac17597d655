"""Merging and exporting caches, the fidelity report, and the teacher's responses as data."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from harness_kd.data.examples import Example
from harness_kd.soft_labels.cache import SoftLabelCache, label_files, verify
from harness_kd.soft_labels.capture import capture
from harness_kd.soft_labels.fidelity import Fidelity, figure, measure, recommend
from harness_kd.soft_labels.transfer import export, merge
from pyarrow import parquet

from harness.cli import main
from harness.errors import HarnessError
from harness.files import read_jsonl
from harness.models.source import ModelSource
from tests.kd.test_soft_labels import manifest_of


def test_merged_caches_hold_what_each_held(
    source: ModelSource,
    examples: tuple[Example, ...],
    tmp_path: Path,
) -> None:
    manifest = manifest_of(source)
    half = len(examples) // 2
    capture(source.model, examples[: half + 2], tmp_path / "a", manifest)
    capture(source.model, examples[half:], tmp_path / "b", manifest)  # two examples stand in both
    assert merge([tmp_path / "a", tmp_path / "b"], tmp_path / "whole") == len(examples)
    assert merge([tmp_path / "a", tmp_path / "b"], tmp_path / "whole") == len(examples)  # again: nothing new
    assert verify(tmp_path / "whole") == len(label_files(tmp_path / "whole"))
    whole, part = (SoftLabelCache(tmp_path / name, manifest) for name in ("whole", "b"))
    for example in examples[half:]:
        ours, theirs = whole.get(example.key), part.get(example.key)
        np.testing.assert_array_equal(ours.full_ids(), theirs.full_ids())
        np.testing.assert_allclose(ours.log_probs, theirs.log_probs, atol=1e-5)
    # and it can be written on
    assert capture(source.model, examples, tmp_path / "whole", manifest) == 0


def test_caches_of_another_kind_and_damaged_ones_are_not_merged(
    source: ModelSource,
    examples: tuple[Example, ...],
    tmp_path: Path,
) -> None:
    capture(source.model, examples[:4], tmp_path / "a", manifest_of(source))
    capture(source.model, examples[:4], tmp_path / "b", manifest_of(source, top_k=4))
    with pytest.raises(HarnessError, match="top k is 4, this run needs 8"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    capture(source.model, examples[:4], tmp_path / "c", manifest_of(source))
    (file,) = label_files(tmp_path / "c")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(HarnessError, match="its content is not what its name says"):
        merge([tmp_path / "a", tmp_path / "c"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_export_is_the_cache_as_a_plain_table(
    source: ModelSource,
    examples: tuple[Example, ...],
    tmp_path: Path,
) -> None:
    manifest = manifest_of(source, max_tail=0.3)
    capture(source.model, examples, tmp_path / "labels", manifest)
    cache = SoftLabelCache(tmp_path / "labels", manifest)
    assert export(tmp_path / "labels", tmp_path / "all.parquet") == cache.tokens
    table = parquet.read_table(tmp_path / "all.parquet")
    assert json.loads(table.schema.metadata[b"harness_kd"])["top_k"] == 8
    example = examples[3]
    rows = [row for row in table.to_pylist() if row["key"] == example.key]
    labels = cache.get(example.key)
    assert [row["token"] for row in rows] == list(range(example.targets))
    assert [i for row in rows for i in row["ids"]] == labels.full_ids().tolist()
    mass = [np.exp(row["log_probs"]).sum() + np.exp(row["log_tail"][0]) for row in rows]
    np.testing.assert_allclose(mass, 1, atol=2e-3)
    with pytest.raises(HarnessError, match="exported as Parquet"):
        export(tmp_path / "labels", tmp_path / "all.csv")


@torch.inference_mode()
def test_fidelity_is_the_distance_to_the_full_distribution(
    source: ModelSource,
    examples: tuple[Example, ...],
) -> None:
    """Against a dense computation that shares no code with it but the loss's definition of the tail."""
    manifest = manifest_of(source, temperatures=(1.0, 2.0))
    teacher = source.model()
    found = measure(teacher, examples[:1], manifest, ks=[4, 10_000], tokens=10_000)
    by_k = {(one.top_k, one.temperature): one for one in found}
    assert by_k[manifest.vocabulary_size, 1.0].bias < 1e-5  # K = V loses nothing but rounding
    assert by_k[manifest.vocabulary_size, 2.0].kl == pytest.approx(0, abs=1e-6)
    example = examples[0]
    logits = teacher(torch.from_numpy(example.ids).long()[None]).logits[0, example.boundary - 1 : -1].double()
    for t in (1.0, 2.0):
        p, q = (logits / t).softmax(-1), (logits / 2 / t).softmax(-1)
        kept = torch.zeros_like(p, dtype=torch.bool).scatter(1, logits.topk(4).indices, True)
        tail = p.masked_fill(kept, 0).sum(-1, keepdim=True)
        spread = q.masked_fill(kept, 0) / q.masked_fill(kept, 0).sum(-1, keepdim=True) * tail
        cached = torch.where(kept, p, spread)
        one = by_k[4, t]
        assert one.tail == pytest.approx(float(tail.mean()), abs=1e-3)
        assert one.kl == pytest.approx(float((p * (p / cached).log()).sum(-1).mean()), rel=1e-2)
        assert one.bias == pytest.approx(float((p - cached).norm() / (q - p).norm()), rel=1e-2)


def test_the_smallest_good_k_is_recommended() -> None:
    one = Fidelity(top_k=8, temperature=1.0, entries=8, bytes_per_token=40, tail=0.1, kl=0.1, bias=0.1)
    found = [
        one,
        replace(one, top_k=64, bias=0.01),
        replace(one, top_k=32, bias=0.02),
        replace(one, top_k=4, temperature=2.0, bias=0.0),
    ]
    assert recommend(found).startswith("K = 32 is enough")
    assert recommend([one]).startswith("No K keeps")
    assert figure(found) == figure(found)
    assert "T = 2" in figure(found)


def test_the_report_is_written_with_its_plot(
    teacher: str, data_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "fidelity.md"
    words = [
        "--teacher",
        teacher,
        "--data",
        str(data_file),
        "--max-length",
        "64",
        "--max-prompt-length",
        "32",
    ]
    assert (
        main(["soft-labels", "fidelity", *words, "--ks", "2,8", "--tokens", "50", "--output", str(output)])
        == 0
    )
    assert "| 8 | 1 |" in capsys.readouterr().out
    assert "fidelity.svg" in output.read_text()
    assert len(json.loads(output.with_suffix(".json").read_text())) == 8
    assert main(["soft-labels", "fidelity", *words, "--ks", "2,x"]) == 2


def generate(teacher: str, data_file: str, output: Path, *more: Any) -> list[str]:
    words = ["--teacher", teacher, "--data", str(data_file), "--output", str(output), "--max-new-tokens", "8"]
    return ["soft-labels", "generate", *words, "--max-prompt-length", "32", "--batch-size", "4", *more]


def test_the_teachers_responses_are_data_for_train_kd(
    teacher: str, data_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "seq.jsonl"
    assert main(generate(teacher, data_file, output)) == 0
    rows = read_jsonl(output)
    assert rows
    assert all(row["response"].strip() for row in rows)
    made = json.loads(output.with_suffix(".json").read_text())
    assert made["teacher_sha256"] == ModelSource.find(teacher, role="teacher").sha256
    assert made["counts"]["rows"] == len(rows)
    plan = [
        "train-kd",
        "--student",
        teacher,
        "--data",
        str(output),
        "--output",
        str(tmp_path / "x"),
        "--dry-run",
    ]
    assert main([*plan, "--max-length", "64", "--max-prompt-length", "32"]) == 0
    # greedy: the teacher gives the same when asked alone
    asked = ModelSource.find(teacher, role="teacher")
    model: Any = asked.model()
    tokenizer = asked.tokenizer()
    ids = tokenizer(rows[0]["prompt"], return_tensors="pt").input_ids
    alone = model.generate(ids, max_new_tokens=8, do_sample=False)[0, ids.shape[1] :]
    assert tokenizer.decode(alone, skip_special_tokens=True) == rows[0]["response"]


def test_a_killed_generation_goes_on_to_the_same_data(teacher: str, data_file: str, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    assert main(generate(teacher, data_file, whole, "--temperature", "1", "--seed", "3")) == 0
    code = "import sys; from harness.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [
        sys.executable,
        "-c",
        code,
        *generate(teacher, data_file, killed, "--temperature", "1", "--seed", "3"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    deadline = time.monotonic() + 60
    while (
        process.poll() is None and not list(tmp_path.glob(".killed*/*.jsonl")) and time.monotonic() < deadline
    ):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert main(generate(teacher, data_file, killed, "--temperature", "1", "--seed", "3")) == 0
    assert killed.read_bytes() == whole.read_bytes()


def test_a_dry_run_says_the_plan_and_writes_nothing(
    teacher: str, data_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(generate(teacher, data_file, tmp_path / "x.jsonl", "--dry-run")) == 0
    assert "responses  at most" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
