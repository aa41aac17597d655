"""Damaged, torn and altered files: never trained on, never called finished, always named."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from harness_kd.plan import TrainPlan
from harness_kd.training.checkpoints import MARKER, best_checkpoint, faults, rotate, seal, usable_checkpoint
from harness_kd.training.contents import changes, contents
from harness_kd.training.fit import checkpoint_steps
from harness_kd.training.train import prepare, train
from harness_kd.training.trainer import DistillationTrainer
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from harness.errors import HarnessError
from harness.files import sha256_bytes
from tests.kd.conftest import known


def flip_bit(path: Path, offset: int = -5) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def edit_step(path: Path) -> None:
    path.write_text(path.read_text().replace('"global_step": 8,', '"global_step": 6,'))


def interrupted(plan: TrainPlan, after: int) -> Path:
    """Train until a number of checkpoints are written, then Ctrl-C; the folder of the unfinished run."""
    written, save = [], DistillationTrainer._save_checkpoint

    def save_then_stop(self: DistillationTrainer, *args: Any) -> None:
        save(self, *args)
        written.append(1)
        if len(written) == after:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DistillationTrainer, "_save_checkpoint", save_then_stop)
        with pytest.raises(KeyboardInterrupt):
            train(plan)
    return Path(plan.output + ".partial")


def assert_same_weights(one: Path, other: Path) -> None:
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


@pytest.fixture
def stopped(plan: TrainPlan, tmp_path: Path) -> tuple[TrainPlan, Path, Path]:
    """A run of 12 steps that was stopped after the checkpoints of steps 4, 6 and 8, and the same run, whole."""
    plan = replace(plan, checkpoint_steps=2)
    whole = train(replace(plan, output=str(tmp_path / "whole")))
    return plan, interrupted(plan, after=4), whole


DAMAGE = {
    "weights": ("model.safetensors", flip_bit, r"model\.safetensors was altered"),
    "optimizer": ("optimizer.pt", lambda path: flip_bit(path, path.stat().st_size // 2), r"optimizer\.pt was altered"),
    "scheduler": ("scheduler.pt", Path.unlink, r"scheduler\.pt is missing"),
    "step": ("trainer_state.json", edit_step, r"trainer_state\.json was altered"),
    "random state": ("rng_state.pth", lambda path: path.write_bytes(path.read_bytes()[:100]), r"rng_state\.pth has 100 bytes"),
    "marker": (MARKER, lambda path: path.write_text(""), "marker 'complete' holds no hashes"),
    "no marker": (MARKER, Path.unlink, "cut short"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    stopped: tuple[TrainPlan, Path, Path], kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    plan, partial, whole = stopped
    name, harm, problem = DAMAGE[kind]
    assert {path.name for path in partial.glob("checkpoint-*")} == {"checkpoint-6", "checkpoint-8"}
    harm(partial / "checkpoint-8" / name)
    output = train(plan)
    said = capfd.readouterr().err
    assert re.search(rf"warning: \S*checkpoint-8 is not used: .*{problem}", said)
    assert "training goes on from checkpoint-6" in said
    assert_same_weights(output, whole)


def test_a_student_in_bfloat16_goes_on_from_float32(
    plan: TrainPlan, build_model: Callable[..., str], tmp_path: Path
) -> None:
    folder = build_model(tmp_path / "half", seed=1)
    AutoModelForCausalLM.from_pretrained(folder, dtype="bfloat16").save_pretrained(folder)
    plan = replace(plan, student=folder, checkpoint_steps=2)
    whole = train(replace(plan, output=str(tmp_path / "whole")))
    partial = interrupted(plan, after=4)
    kinds = [
        {tensor.dtype for tensor in load_file(path / "model.safetensors").values()}
        for path in (partial / "checkpoint-8", whole)
    ]
    assert kinds == [{torch.float32}, {torch.bfloat16}]
    assert_same_weights(train(plan), whole)


def test_without_a_whole_checkpoint_training_starts_over(
    stopped: tuple[TrainPlan, Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    plan, partial, whole = stopped
    for number, name in ((6, "model.safetensors"), (8, "optimizer.pt")):
        flip_bit(partial / f"checkpoint-{number}" / name)
    output = train(plan)
    said = capfd.readouterr().err
    assert said.count("is not used") == 2
    assert f"{partial} holds no whole checkpoint: training starts over" in said
    assert_same_weights(output, whole)


def test_the_marker_holds_the_hash_of_every_file(stopped: tuple[TrainPlan, Path, Path]) -> None:
    _, partial, _ = stopped
    checkpoint = partial / "checkpoint-8"
    stored = json.loads((checkpoint / MARKER).read_text())["files"]
    assert set(stored) == {path.name for path in checkpoint.iterdir()} - {MARKER}
    assert {
        "model.safetensors",
        "optimizer.pt",
        "scheduler.pt",
        "trainer_state.json",
        "rng_state.pth",
    } <= set(stored)
    for name, entry in stored.items():
        data = (checkpoint / name).read_bytes()
        assert entry == {"bytes": len(data), "sha256": sha256_bytes(data)}


def test_a_damaged_best_checkpoint_is_not_what_a_run_ends_with(
    plan: TrainPlan, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The best epoch is an early one; damaged, neither it nor what was trained on beside it is used."""
    dev = tmp_path / "dev.jsonl"
    dev.write_text(
        json.dumps({"prompt": "word1", "response": "<unk> <unk> <unk>"}) + "\n"
    )  # unlearnt in training
    plan = replace(plan, epochs=6, learning_rate=3e-2, dev=str(dev), select="dev-loss")
    whole = train(replace(plan, output=str(tmp_path / "whole")))
    partial = interrupted(plan, after=5)
    kept = {path.name: path for path in partial.glob("checkpoint-*")}
    best = known(best_checkpoint(kept["checkpoint-30"]))
    assert best.name not in ("checkpoint-24", "checkpoint-30")
    assert set(kept) == {best.name, "checkpoint-24", "checkpoint-30"}

    moved = Path(str(tmp_path / "moved") + ".partial")  # paths in the state are not believed
    shutil.copytree(partial, moved)
    assert_same_weights(train(replace(plan, output=str(tmp_path / "moved"))), whole)

    flip_bit(best / "model.safetensors")
    assert_same_weights(train(plan), whole)
    said = capfd.readouterr().err
    assert f"{best.name}, the best so far, is damaged: model.safetensors was altered" in said
    assert "training starts over" in said


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_finished_model_that_changed_is_not_called_finished(plan: TrainPlan, name: str) -> None:
    output = train(plan)
    assert train(plan) == output
    flip_bit(output / name)
    with pytest.raises(
        HarnessError, match=rf"{name} was altered .* since training finished\n.*delete {output}"
    ):
        train(plan)
    (output / name).unlink()
    with pytest.raises(HarnessError, match=f"{name} is missing since training finished"):
        train(plan)


def test_a_card_may_be_edited(plan: TrainPlan) -> None:
    output = train(plan)
    (output / "README.md").write_text("my model\n")
    assert train(plan) == output


def folder_of(tmp_path: Path, *steps: Any) -> Path:
    for step in steps:
        checkpoint = tmp_path / f"checkpoint-{step}"
        (checkpoint / "part").mkdir(parents=True)
        (checkpoint / "weights").write_bytes(b"weights of %d" % step)
        (checkpoint / "part" / "rank0").write_bytes(b"state")
        (checkpoint / "trainer_state.json").write_text('{"best_global_step": null}')
        seal(checkpoint)
    return tmp_path


def test_the_newest_two_and_the_best_are_kept(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, 5, 10, 15, 20, 100)
    (folder / "checkpoint-30").mkdir()  # being written: it neither counts nor goes
    rotate(folder, best="checkpoint-10")
    assert {path.name for path in folder.iterdir()} == {f"checkpoint-{n}" for n in (10, 20, 30, 100)}


def test_steps_are_compared_as_numbers_and_torn_ones_are_cleared_away(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, 9, 50, 100)
    (folder / "checkpoint-9" / MARKER).unlink()  # a kill within rotate
    (folder / "checkpoint-101").mkdir()
    said: list[str] = []
    assert usable_checkpoint(folder, said.append) == folder / "checkpoint-100"
    assert {path.name for path in folder.iterdir()} == {"checkpoint-50", "checkpoint-100"}
    assert said == [
        f"warning: {folder / 'checkpoint-101'} is not used: it was cut short",
        "training goes on from checkpoint-100, the newest that is whole",
    ]


def test_a_damaged_checkpoint_is_put_aside_and_files_in_subfolders_count(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, 10, 20)
    (folder / "checkpoint-20" / "note.txt").write_text("mine")  # what is not named does no harm
    assert faults(folder / "checkpoint-20") == []
    flip_bit(folder / "checkpoint-20" / "part" / "rank0")
    assert faults(folder / "checkpoint-20") == ["part/rank0 was altered (its SHA-256 is another)"]
    assert usable_checkpoint(folder, lambda _: None) == folder / "checkpoint-10"
    assert {path.name for path in folder.iterdir()} == {"checkpoint-10", "damaged-20"}


def test_an_empty_run_says_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    assert usable_checkpoint(tmp_path, said.append) is None
    assert said == []


def test_contents_of_many_files_and_their_changes(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.bin").write_bytes(bytes([number]) * number)
    stored = contents(tmp_path, without=["3.bin"])
    assert len(stored) == 19
    assert stored["7.bin"] == {"bytes": 7, "sha256": sha256_bytes(b"\7" * 7)}
    assert changes(tmp_path, stored) == []
    (tmp_path / "7.bin").write_bytes(b"\7" * 8)
    (tmp_path / "19.bin").write_bytes(b"\1" * 19)
    (tmp_path / "2.bin").unlink()
    (tmp_path / "3.bin").unlink()
    assert changes(tmp_path, stored) == [
        "19.bin was altered (its SHA-256 is another)",
        "2.bin is missing",
        "7.bin has 8 bytes, not 7",
    ]


@pytest.mark.parametrize(("processes", "steps", "between"), [(1, 6, 50), (2, 3, 25), (8, 1, 7)])
def test_steps_and_checkpoints_are_those_of_all_processes(
    plan: TrainPlan, monkeypatch: pytest.MonkeyPatch, processes: int, steps: int, between: int
) -> None:
    """48 rows in batches of 8: with 8 processes one step is more than an epoch."""
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    assert prepare(replace(plan, epochs=1)).steps == steps
    assert checkpoint_steps(steps) == between
    assert checkpoint_steps(1000) == 200
