"""Whole commands on names of the hub, online and again offline from the cache they filled."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from tests.hub.conftest import Harness
from tests.hub.local_hub import LocalHub, folder
from tests.hub.replicas import add_all, pinned

TOKEN = "hf_" + "a1B2" * 8
NEWS = ["--tasks", "kd_newsworld_factual", "--metrics", "rouge", "--limit", "2"]


@pytest.fixture
def models(root: Path) -> dict[str, dict[str, bytes | Path]]:
    """Student and teacher of the news world."""
    return {name: folder(root / "harness/newsworld/checkpoints" / name) for name in ("student", "teacher")}


def results(output: Path) -> dict[str, Any]:
    """The latest results file below a folder."""
    return dict(
        json.loads(max(output.rglob("results_*.json"), key=lambda path: path.name).read_text("utf-8"))
    )


def evaluated(output: Path, *words: str, name: str = "owner/model") -> dict[str, Any]:
    """What `harness eval` wrote of a model in this process."""
    assert main(["eval", name, *NEWS, "--output", str(output), "--device", "cpu", *words]) == 0
    return results(output)


def rouge(found: dict[str, Any]) -> float:
    return float(found["results"]["kd_newsworld_factual"]["rougeL,none"])


def identity(found: dict[str, Any], task: str = "kd_newsworld_factual") -> dict[str, Any]:
    return dict(found["configs"][task]["metadata"]["runtime"]["model"])


def test_answers_belong_to_the_commit_that_gave_them(
    online: LocalHub, models: dict[str, Any], tmp_path: Path, offline: Callable[[], None]
) -> None:
    """The branch moves between two calls that are the same to the letter."""
    first = online.add("owner/model", models["student"])
    weak = evaluated(tmp_path)
    second = online.add("owner/model", models["teacher"])
    strong = evaluated(tmp_path)
    assert [identity(found)["revision"] for found in (weak, strong)] == [first, second]
    assert identity(weak)["weights_sha256"] != identity(strong)["weights_sha256"]
    assert rouge(strong) > rouge(weak) + 0.3
    assert rouge(evaluated(tmp_path / "fresh", "--fresh")) == rouge(strong)
    assert rouge(evaluated(tmp_path, name=f"owner/model@{first}")) == rouge(weak)
    offline()
    again = evaluated(tmp_path / "offline")
    assert (rouge(again), identity(again)) == (rouge(strong), identity(strong))


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("owner/damaged", [], "model owner/damaged: cannot be loaded: 'added_tokens'"),
        ("owner/model@nobranch", [], "no such folder, and not to be had from the hub: the repository has no such revision"),
        ("owner/none", [], "not found on the hub, or private"),
        ("owner/gated", [], "the repository is gated, and no token was sent"),
        ("owner/pickled", [], "its weights are pickled (pytorch_model.bin)"),
        ("owner/model@main", ["--model-args", "revision=v2"], "--model-args give another revision, v2"),
        ("owner/model", ["--model-args", "dtype=float7"], "model owner/model: cannot be loaded"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_had_is_one_clear_error(
    online: LocalHub, models: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    name: str, words: list[str], said: str,
) -> None:  # fmt: skip
    student = models["student"]
    online.add("owner/model", student)
    online.add("owner/damaged", {**student, "tokenizer.json": b'{"a": 1}'})
    online.add("owner/gated", student, gated=True)
    without = {path: file for path, file in student.items() if path != "model.safetensors"}
    online.add("owner/pickled", {**without, "pytorch_model.bin": b"\x80"})
    assert main(["eval", name, *NEWS, "--output", str(tmp_path), "--device", "cpu", *words]) == 2
    assert said in capsys.readouterr().err


GIVEN = [
    [],
    ["--model-args", f"token={TOKEN}"],
    ["--metadata", f"token={TOKEN}"],
    ["--metadata", f'{{"note": "{TOKEN}"}}'],
    ["--dry-run", "--model-args", f"token={TOKEN}"],
]


def test_a_planted_token_reaches_the_hub_and_nothing_else(
    online: LocalHub, models: dict[str, Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    online.add("owner/gated", models["student"], gated=True, readers=(TOKEN,))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    words = [*NEWS, "--output", str(tmp_path / "out"), "--device", "cpu"]
    for given in GIVEN:
        assert main(["eval", "owner/gated", *words, *given]) == 0
    assert list((tmp_path / "out").rglob("results_*.json"))
    assert online.tokens == {TOKEN}
    assert online.leaked == set()
    assert TOKEN not in "".join(capfd.readouterr())
    holding = [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert holding == []  # results, samples, run files, kept answers, and every cache


def test_no_error_shows_a_token(
    online: LocalHub, models: dict[str, Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    online.add("owner/gated", models["student"], gated=True)
    address = online.url.replace("://", f"://me:{TOKEN}@")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    for name in ("owner/gated", f"{address}/owner/gated", f"owner/gated@{TOKEN}"):
        words = [*NEWS, "--output", str(tmp_path / "out"), "--model-args", f"token={TOKEN}"]
        assert main(["eval", name, *words]) == 2
    said = "".join(capfd.readouterr())
    assert "Ask for access on its page (http://***@127.0.0.1" in said
    assert TOKEN not in said


@pytest.mark.slow
def test_a_planted_token_is_in_no_log_of_a_process_of_its_own(
    hub: LocalHub, models: dict[str, Any], tmp_path: Path, run: Harness
) -> None:
    hub.add("owner/gated", models["student"], gated=True, readers=(TOKEN,))
    words = ["harness", "eval", "owner/gated", *NEWS, "--output", str(tmp_path / "out"), "--device", "cpu"]
    for given in GIVEN:
        done = run(*words, *given, token=TOKEN)
        assert done.returncode == 0, done.stderr
        assert TOKEN not in done.stdout + done.stderr
    assert (hub.tokens, hub.leaked) == ({TOKEN}, set())
    assert not any(path.is_file() and TOKEN.encode() in path.read_bytes() for path in tmp_path.rglob("*"))


OF_LM_EVAL = {
    "arc_easy",
    "arc_challenge",
    "hellaswag",
    "openbookqa",
    "commonsense_qa",
    "truthfulqa_mc1",
    "truthfulqa_mc2",
}
EACH = "kd_small_models,kd_general,kd_e2e_factual,kd_e2e_cleaned_factual,kd_hotpotqa_closed_factual"


@pytest.mark.slow
@pytest.mark.parametrize(("groups", "n", "others"), [(EACH, 10, OF_LM_EVAL), ("kd_faithfulness", 2, set())])
def test_stock_lm_eval_takes_every_task_and_group_by_name(
    hub: LocalHub, models: dict[str, Any], root: Path, tmp_path: Path, run: Harness,
    groups: str, n: int, others: set[str],
) -> None:  # fmt: skip
    add_all(hub, root)
    commit = hub.add("owner/model", models["student"])
    hub.add("owner/model", {"README.md": b"moved on"})
    words = [
        "lm_eval",
        "--model",
        "hf",
        "--model_args",
        f"pretrained=owner/model,revision={commit}",
        "--tasks",
        groups,
    ]
    words += [
        "--limit",
        "2",
        "--device",
        "cpu",
        "--batch_size",
        "8",
        "--metadata",
        '{"metrics": ["rouge", "surface"]}',
    ]
    found = []
    for name in ("online", "offline"):
        done = run(*words, "--output_path", str(tmp_path / name), offline=name == "offline")
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(results(tmp_path / name))
        if name == "online":
            asked = len(hub.asked)
    assert len(hub.asked) == asked
    assert found[0]["results"] == found[1]["results"]
    commits = pinned(root)
    ours = {
        task: config
        for task, config in found[0]["configs"].items()
        if "data_source" in config.get("metadata", {})
    }
    assert len(ours) == n
    for task, config in ours.items():
        path = config["dataset_path"]
        read = hub.repositories["dataset", path].refs["main"]
        assert f"@{commits.get(path, read)}:" in config["metadata"]["data_source"]
        assert identity(found[0], task)["revision"] == commit
    assert others <= set(found[0]["results"])


@pytest.mark.slow
def test_no_conversion_service_is_told_of_a_pickled_model(
    hub: LocalHub, models: dict[str, Any], tmp_path: Path, run: Harness, root: Path
) -> None:
    """`harness eval` refuses it; stock lm_eval reads it itself, with torch's reader for tensors alone, before our task sees it."""
    import torch
    from safetensors.torch import load_file

    torch.save(
        load_file(root / "harness/newsworld/checkpoints/student/model.safetensors"),
        tmp_path / "pytorch_model.bin",
    )
    without = {path: file for path, file in models["student"].items() if path != "model.safetensors"}
    hub.add("owner/pickled", {**without, "pytorch_model.bin": tmp_path / "pytorch_model.bin"})
    words = [
        "--model",
        "hf",
        "--model_args",
        "pretrained=owner/pickled",
        "--tasks",
        "kd_newsworld_factual",
        "--limit",
        "2",
    ]
    done = run("lm_eval", *words, "--device", "cpu", "--metadata", '{"metrics": ["rouge"]}')
    assert done.returncode == 0, done.stderr[-3000:]
    assert any("pytorch_model.bin" in asked for asked in hub.asked)
    assert not any(
        "discussions" in asked for asked in hub.asked
    )  # the fixture holds the hosts against the hub's


@pytest.mark.slow
@pytest.mark.parametrize("data", ["dolly?n=8", "cnndm?n=8", "e2e?n=4"])
def test_distillation_takes_models_and_data_by_name(
    hub: LocalHub, models: dict[str, Any], root: Path, tmp_path: Path, run: Harness, data: str
) -> None:
    add_all(hub, root)
    commits = {name: hub.add(f"owner/{name}", files) for name, files in models.items()}
    words = [
        "harness",
        "train-kd",
        "--student",
        "owner/student",
        "--teacher",
        f"owner/teacher@{commits['teacher']}",
    ]
    words += ["--data", data, "--epochs", "1", "--batch-size", "2", "--max-length", "128", "--max-prompt-length", "64",
              "--overlong", "truncate", "--kd-ratio", "1"]  # fmt: skip
    runs = []
    for name in ("online", "offline"):
        done = run(*words, "--output", str(tmp_path / name), offline=name == "offline")
        assert done.returncode == 0, done.stderr[-3000:]
        runs.append(json.loads((tmp_path / name / "run.json").read_text("utf-8")))
    assert runs[0]["identity"] == runs[1]["identity"]
    card = (tmp_path / "online" / "README.md").read_text("utf-8")
    assert "base_model:\n- owner/student" in card


@pytest.mark.slow
def test_distillation_says_each_failure_of_the_hub_in_one_line(
    hub: LocalHub, models: dict[str, Any], tmp_path: Path, run: Harness
) -> None:
    for name, files in models.items():
        hub.add(f"owner/{name}", files)
    hub.fail("/storage/", how="truncated")
    words = [
        "--student",
        "owner/student",
        "--teacher",
        "owner/teacher",
        "--data",
        "newsworld?n=8",
        "--kd-ratio",
        "1",
    ]
    done = run("harness", "train-kd", *words, "--output", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "the connection broke off" in done.stderr
    assert "Traceback" not in done.stderr
