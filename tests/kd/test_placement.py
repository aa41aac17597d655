"""A teacher that does not fit one device is spread; what it says stays the same."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from harness_kd.data.examples import tokenize_rows
from harness_kd.data.rows import load_rows
from harness_kd.placement import FreeMemory, input_device, place, require_own, weight_bytes
from harness_kd.plan import TrainPlan
from harness_kd.soft_labels.capture import label_batch
from harness_kd.soft_labels.manifest import Manifest
from harness_kd.training.train import train
from safetensors.torch import load_file
from transformers import MT5Config, MT5ForConditionalGeneration, PreTrainedTokenizerFast

from harness.errors import HarnessError
from harness.models.source import ModelSource

GB = 10**9


@pytest.mark.parametrize(
    ("gigabytes", "memory", "fits"),
    [
        (26, FreeMemory(processor=500 * GB, accelerators={0: 79 * GB, 1: 79 * GB}, own=0), True),
        (140, FreeMemory(processor=500 * GB, accelerators={0: 79 * GB, 1: 79 * GB}, own=0), False),
        (
            26,
            FreeMemory(processor=500 * GB, accelerators={0: 79 * GB, 1: 10 * GB}, own=1),
            False,
        ),  # its own is taken
        (
            70,
            FreeMemory(processor=500 * GB, accelerators={0: 79 * GB}, own=0),
            False,
        ),  # no room for activations
        (26, FreeMemory(processor=64 * GB), True),
        (60, FreeMemory(processor=64 * GB), False),
        (26, FreeMemory(processor=64 * GB, sharers=2), True),
        (26, FreeMemory(processor=64 * GB, sharers=4), False),
        (26, FreeMemory(processor=64 * GB, accelerators={0: 79 * GB}, own=0, sharers=4), True),
    ],
)
def test_a_model_fits_the_device_of_its_process_or_not(
    gigabytes: int, memory: FreeMemory, fits: bool
) -> None:
    assert memory.holds(gigabytes * GB) is fits


def test_the_budget_is_a_share_of_every_device_and_of_the_main_memory() -> None:
    memory = FreeMemory(processor=200 * GB, accelerators={0: 80 * GB, 1: 40 * GB}, own=1)
    assert memory.budget() == {0: 68 * GB, 1: 34 * GB, "cpu": 170 * GB}
    assert FreeMemory(processor=200 * GB).budget() == {"cpu": 170 * GB}


def test_what_is_free_here() -> None:
    memory = FreeMemory.measured()
    assert GB // 10 < memory.processor < 10**14
    assert (memory.own is None) == (not torch.cuda.is_available())


def encoder_decoder(folder: Path, build_tokenizer: Callable[..., PreTrainedTokenizerFast]) -> str:
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = MT5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=16,
        d_ff=64,
        num_layers=4,
        num_heads=2,
        pad_token_id=0,
        decoder_start_token_id=0,
        tie_word_embeddings=False,
    )
    MT5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("kind", ["decoder", "encoder-decoder"])
def test_a_teacher_on_disk_gives_the_labels_of_one_in_memory(
    kind: str,
    teacher: str,
    build_tokenizer: Callable[..., PreTrainedTokenizerFast],
    data_file: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Memory for a third of the weights, so that the rest is read from its files in each pass."""
    folder = teacher if kind == "decoder" else encoder_decoder(tmp_path / "t5", build_tokenizer)
    source = ModelSource.find(folder, role="teacher")
    needed = weight_bytes(source, "float32")
    assert needed == 4 * source.parameters
    spread = place(source, dtype="float32", memory=FreeMemory(processor=int(needed / 3 / 0.85)))
    assert "meta" in {parameter.device.type for parameter in spread.parameters()}
    said = capsys.readouterr().err
    assert f"teacher {folder}: {needed / 1e9:.3g} GB do not fit one device: " in said
    assert "parts on disk; what is on disk is read at every step" in said
    assert input_device(spread) == torch.device("cpu")

    whole = place(source, dtype="float32")
    assert {parameter.device.type for parameter in whole.parameters()} == {"cpu"}
    assert "fit" not in capsys.readouterr().err
    data = tokenize_rows(
        load_rows(data_file),
        source.tokenizer(),
        max_length=64,
        max_prompt_length=32,
        overlong="drop",
        encoder_decoder=source.encoder_decoder,
    )
    manifest = Manifest(
        teacher="t",
        teacher_revision="local",
        teacher_sha256="0",
        vocabulary_sha256="0",
        vocabulary_size=len(source.tokenizer()),
        temperatures=(1.0, 2.0),
        top_k=8,
        max_tail=0.0,
        tail_draws=0,
        template="none",
        label_dtype="float16",
        teacher_dtype="float32",
    )
    for _ in range(2):  # each pass reads the weights again
        found, expected = (
            label_batch(model, data.examples[:6], manifest, input_device(model)) for model in (spread, whole)
        )
        for one, other in zip(found, expected, strict=True):
            assert np.array_equal(one.ids, other.ids)
            np.testing.assert_allclose(one.log_probs, other.log_probs, rtol=0, atol=2e-3)


def test_each_process_needs_its_own_online_teacher(teacher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source, little = ModelSource.find(teacher, role="teacher"), FreeMemory(processor=1000)
    require_own(source, "float32", little)
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(
        HarnessError, match="each of the 4 processes needs its own\nLeave --online-teacher out"
    ):
        require_own(source, "float32", little)
    require_own(source, "float32", FreeMemory(processor=GB))


SMALL = """
import json, sys
from harness_kd.placement import FreeMemory
from harness_kd.plan import TrainPlan
from harness_kd.training.train import train
FreeMemory.measured = classmethod(lambda cls: cls(processor=8000))
train(TrainPlan(**json.load(open(sys.argv[1]))))
"""


@pytest.mark.slow
def test_of_several_processes_the_first_captures_alone_from_a_teacher_that_needs_all_devices(
    plan: TrainPlan, tmp_path: Path
) -> None:
    whole = train(replace(plan, soft_labels=str(tmp_path / "whole-labels")))
    labels = tmp_path / "labels"
    two = replace(plan, output=str(tmp_path / "two"), soft_labels=str(labels), batch_size=4)
    script, settings = tmp_path / "small.py", tmp_path / "plan.json"
    script.write_text(SMALL)
    settings.write_text(json.dumps(asdict(two)))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, str(script), str(settings)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.count("do not fit one device") == 1
    assert [path.name for path in labels.glob("*.lock")] == ["writer-00.lock"]
    one, other = (load_file(f"{folder}/model.safetensors") for folder in (whole, two.output))
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=0, atol=1e-6)
