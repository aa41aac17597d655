"""The commands as a user types them."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness_kd.plugin import PLUGIN
from harness_kd.soft_labels.cache import SoftLabelCache, label_files
from harness_kd.soft_labels.manifest import Manifest
from transformers import PreTrainedTokenizerFast

from harness.cli import build_parser
from harness.errors import HarnessError
from harness.plugins import CommandGroup
from tests.kd.test_processes import outputs, started


@pytest.fixture
def harness() -> Callable[..., Any]:
    commands = PLUGIN.commands()
    parser = build_parser([CommandGroup(title=PLUGIN.name, commands=tuple(commands))])

    def run(*argv: Any) -> int | None:
        arguments = parser.parse_args([str(argument) for argument in argv])
        return {command.name: command for command in commands}[arguments.command].run(arguments)

    return run


@pytest.fixture
def options(student: str, teacher: str, data_file: str, tmp_path: Path) -> tuple[Any, ...]:
    paths = ("--student", student, "--teacher", teacher, "--data", data_file, "--output", tmp_path / "out")
    return (*paths, "--kd-ratio", 1, "--max-length", 64, "--max-prompt-length", 32, "--epochs", 1)


def test_help_loads_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from harness_kd.plugin import PLUGIN; from harness.cli import build_parser;"
        "from harness.plugins import CommandGroup;"
        "build_parser([CommandGroup(title='kd', commands=tuple(PLUGIN.commands()))]).format_help();"
        "print([name for name in ('torch', 'transformers', 'numpy', 'pyarrow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_train_and_print_the_model_folder(
    harness: Callable[..., Any], options: tuple[Any, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert harness("train-kd", *options) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_a_dry_run_says_what_it_takes_and_writes_nothing(
    harness: Callable[..., Any], options: tuple[Any, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert harness("train-kd", *options, "--dry-run") == 0
    printed = capsys.readouterr().out
    for fact in ("rows           48", "steps          6 (1 epochs, 8 rows a step)", "soft labels", "time"):
        assert fact in printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["soft-labels", "teacher", "student", "dev", "data", "output"])
def test_an_empty_value_is_refused(
    harness: Callable[..., Any],
    options: tuple[Any, ...],
    tmp_path: Path,
    name: str,
) -> None:
    more = ("--select", "dev-loss") if name == "dev" else ()
    with pytest.raises(HarnessError, match=f"{name.replace('-', '_')} is empty"):
        harness("train-kd", *options, f"--{name}=", *more)
    assert list(tmp_path.iterdir()) == []


def test_capture_then_inspect_verify_and_train_from_it(
    harness: Callable[..., Any],
    options: tuple[Any, ...],
    teacher: str,
    data_file: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    labels = tmp_path / "labels"
    limits = ("--max-length", 64, "--max-prompt-length", 32)
    assert (
        harness(
            "soft-labels", "capture", "--teacher", teacher, "--data", data_file, "--output", labels, *limits
        )
        == 0
    )
    assert "48 examples captured" in capsys.readouterr().out
    assert harness("soft-labels", "inspect", labels) == 0
    assert f"{'examples':18} 48" in capsys.readouterr().out
    assert harness("soft-labels", "verify", labels) == 0
    before = sorted(labels.iterdir())
    assert harness("train-kd", *options, "--soft-labels", labels) == 0
    assert sorted(labels.iterdir()) == before
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["identity"]["kd_ratio"] == 1.0


def test_two_processes_capture_what_one_does(
    harness: Callable[..., Any], teacher: str, data_file: str, tmp_path: Path
) -> None:
    command = ["soft-labels", "capture", "--teacher", teacher, "--data", data_file, "--output"]
    limits = ["--max-length", "64", "--max-prompt-length", "32"]
    harness(*command, tmp_path / "one", *limits)
    words = [*command, str(tmp_path / "two"), *limits]
    processes = started(f"from harness.cli import main; sys.exit(main({words!r}))", [0, 1])
    said = outputs(processes)
    assert [process.returncode for process in processes] == [0, 0], said
    manifest = Manifest.read(tmp_path / "one")
    one, two = (SoftLabelCache(tmp_path / name, manifest) for name in ("one", "two"))
    assert {path.name for path in (tmp_path / "two").glob("*.lock")} == {"writer-00.lock", "writer-01.lock"}
    assert len(label_files(two.folder)) == 2
    assert set(one.keys()) == set(two.keys())
    for key in one.keys():  # noqa: SIM118
        for name in ("ids", "counts"):
            assert np.array_equal(getattr(one.get(key), name), getattr(two.get(key), name))
        np.testing.assert_allclose(one.get(key).log_probs, two.get(key).log_probs, rtol=0, atol=2e-3)


def test_the_teachers_precision_is_part_of_its_labels(
    harness: Callable[..., Any], options: tuple[Any, ...], teacher: str, data_file: str, tmp_path: Path
) -> None:
    labels = tmp_path / "labels"
    capture = ("--teacher", teacher, "--data", data_file, "--output", labels, "--max-length", 64)
    harness("soft-labels", "capture", *capture, "--max-prompt-length", 32, "--teacher-dtype", "bfloat16")
    assert Manifest.read(labels).teacher_dtype == "bfloat16"
    with pytest.raises(HarnessError, match="teacher dtype is bfloat16, this run needs float32"):
        harness("train-kd", *options, "--soft-labels", labels, "--teacher-dtype", "float32")
    assert harness("train-kd", *options, "--soft-labels", labels) == 0


def test_labels_of_chats_in_another_template_are_refused(
    harness: Callable[..., Any],
    build_model: Callable[..., str],
    build_tokenizer: Callable[..., PreTrainedTokenizerFast],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"word{i}"},
                {"role": "assistant", "content": f"word{i + 1}"},
            ]
        }
        for i in range(12)
    ]
    data = tmp_path / "chats.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    models = {}
    for name, cue in (("teacher", "word80"), ("student", "word81")):
        tokenizer = build_tokenizer()
        tokenizer.chat_template = (
            "{{ date_string }} {% for m in messages %}{{ m['content'] }} {% endfor %}" + cue
        )
        models[name] = build_model(tmp_path / name, tokenizer=tokenizer)
    capture = ("soft-labels", "capture", "--teacher", models["teacher"], "--data", data)
    train: tuple[Any, ...] = (
        "train-kd",
        "--student",
        models["student"],
        "--teacher",
        models["teacher"],
        "--data",
        data,
    )
    train += ("--kd-ratio", 1, "--epochs", 1)
    assert harness(*capture, "--output", tmp_path / "labels") == 0
    with pytest.raises(HarnessError, match="template is"):
        harness(*train, "--soft-labels", tmp_path / "labels", "--output", tmp_path / "out")
    assert harness(*capture, "--student", models["student"], "--output", tmp_path / "fitting") == 0
    before = sorted((tmp_path / "fitting").iterdir())
    assert harness(*train, "--soft-labels", tmp_path / "fitting", "--output", tmp_path / "out") == 0
    assert sorted((tmp_path / "fitting").iterdir()) == before


def test_a_capture_says_what_it_will_take(
    harness: Callable[..., Any],
    teacher: str,
    data_file: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    capture = (
        "soft-labels",
        "capture",
        "--teacher",
        teacher,
        "--data",
        data_file,
        "--output",
        tmp_path / "labels",
    )
    assert harness(*capture, "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "to capture     48 examples" in shown
    assert "capture of soft labels by teacher  0 seconds" in shown
    assert "estimated from 48 rows of " in shown
    assert list(tmp_path.iterdir()) == []
    harness(*capture)
    harness(*capture, "--dry-run")
    assert "to capture     0 examples" in capsys.readouterr().out


def test_a_plan_for_a_model_that_does_not_fit_is_printed_all_the_same(
    harness: Callable[..., Any],
    options: tuple[Any, ...],
    teacher: str,
    data_file: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("text", "timing"):
        monkeypatch.setattr(f"harness_kd.dry_run.{module}.free_memory", lambda: 5000)
    assert harness("train-kd", *options, "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "train out                          at least 0 seconds" in shown
    assert "does not fit   train out: a smaller --batch-size" in shown
    assert "free here      5 kB of memory" in shown
    capture = ("--teacher", teacher, "--data", data_file, "--output", tmp_path / "labels", "--dry-run")
    assert harness("soft-labels", "capture", *capture) == 0
    assert "does not fit   capture of soft labels by teacher: " in capsys.readouterr().out


def test_labels_for_another_k_are_refused(
    harness: Callable[..., Any], options: tuple[Any, ...], teacher: str, data_file: str, tmp_path: Path
) -> None:
    capture = ("--teacher", teacher, "--data", data_file, "--output", tmp_path / "labels", "--top-k", 4)
    harness("soft-labels", "capture", *capture)
    with pytest.raises(HarnessError, match="top k is 4, this run needs 64"):
        harness("train-kd", *options, "--soft-labels", tmp_path / "labels")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("action", ["inspect", "verify"])
def test_a_folder_without_labels_is_named(harness: Callable[..., Any], tmp_path: Path, action: str) -> None:
    with pytest.raises(HarnessError, match="no s"):
        harness("soft-labels", action, Path(tmp_path) / "nothing")
