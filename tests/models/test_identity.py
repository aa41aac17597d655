"""What a model is by content, and that its large files are read once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.files import canonical_json, sha256_bytes, sha256_file
from harness.models import hashes
from harness.models.identity import content, content_sha256, model_identity, without_path
from harness.models.source import ModelSource
from harness.newsworld import models as newsworld
from tests.models.conftest import change_config, change_weights

Made = Callable[[str], Path]


def test_weights_and_tokenizer_are_hashed_as_records_of_earlier_versions_did() -> None:
    """Over file names and hashes, as the committed boards' records state it."""
    folder = newsworld.path("student")
    found = model_identity(str(folder))
    for part, names in (
        ("weights", ["model.safetensors"]),
        ("tokenizer", ["tokenizer.json", "tokenizer_config.json"]),
    ):
        files = {name: sha256_file(folder / name) for name in names}
        assert found[f"{part}_sha256"] == sha256_bytes(canonical_json(files).encode())
    assert (found["name"], found["revision"]) == ("student", "local")


def edit(name: str, **changes: Any) -> Callable[[Path], Any]:
    def by(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return by


CHANGES: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "weights": ("weights", lambda folder: change_weights(folder, lambda w: w["model.norm.weight"].add_(1))),
    "configuration": ("config", lambda folder: change_config(folder, rms_norm_eps=0.1)),
    "generation configuration": ("generation_config", edit("generation_config.json", temperature=0.3)),
    "tokenizer": ("tokenizer", edit("tokenizer.json", added=1)),
    "template": (
        "chat_template",
        lambda folder: (folder / "chat_template.jinja").write_text("{{ messages }}"),
    ),
}


@pytest.mark.parametrize("changed", CHANGES)
def test_everything_that_makes_outputs_is_part_of_it(changed: str, copy: Made) -> None:
    folder = copy("llama")
    before, hashed = content(folder), ModelSource.find(str(folder)).sha256
    part, change = CHANGES[changed]
    change(folder)
    after = content(folder)
    assert {key for key in {*before, *after} if before.get(key) != after.get(key)} == {f"{part}_sha256"}
    assert ModelSource.find(str(folder)).sha256 != hashed
    assert content_sha256(model_identity(str(folder))) == ModelSource.find(str(folder)).sha256


def test_who_wrote_it_and_where_it_is_are_no_part_of_it(copy: Made, tmp_path: Path) -> None:
    folder = copy("llama")
    hashed = ModelSource.find(str(folder)).sha256
    change_config(folder, transformers_version="9.9", _name_or_path="/home/someone/model")
    edit("generation_config.json", transformers_version="9.9")(folder)
    moved = Path(shutil.move(folder, tmp_path / "elsewhere"))
    assert ModelSource.find(str(moved)).sha256 == hashed
    assert "elsewhere" in model_identity(str(moved))["name"]
    assert str(tmp_path) not in json.dumps(model_identity(str(moved)))


@pytest.mark.parametrize("keep", ["chat_template.jinja", "tokenizer_config.json", "chat_template.json"])
def test_a_template_is_the_same_wherever_it_is_kept(keep: str, copy: Made) -> None:
    folder, text = copy("llama"), "{% for m in messages %}{{ m.content }}{% endfor %}"
    if keep.endswith("jinja"):
        (folder / keep).write_text(text)
    else:
        settings = json.loads((folder / keep).read_text()) if (folder / keep).exists() else {}
        (folder / keep).write_text(json.dumps(settings | {"chat_template": text}))
    assert content(folder)["chat_template_sha256"] == sha256_bytes(text.encode())


def test_a_hub_model_is_known_by_commit_and_content(
    saved: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--some--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    shutil.copytree(saved("llama"), repository / "snapshots" / ("a" * 40))
    expected = {"name": "some/model", "revision": "a" * 40, **content(saved("llama"))}
    assert model_identity("some/model") == model_identity("some/model", "a" * 40) == expected
    assert ModelSource.find("some/model").identity == expected
    assert model_identity("no/such") == {"name": "no/such", "revision": None}
    assert model_identity("no/such", "v2") == {"name": "no/such", "revision": "v2"}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("org/model", "org/model"),
        ("/home/jo/model", "model"),
        ("./model", "model"),
        ("~/m", "m"),
        ("a/b/c", "c"),
    ],
)
def test_no_path_gets_out(name: str, shown: str) -> None:
    assert without_path(name) == shown


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is worth remembering, last changed a while ago, and a cache of its own."""
    monkeypatch.setenv("HARNESS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(hashes, "_REMEMBERED_FROM", 1000)
    path = tmp_path / "weights"
    path.write_bytes(b"w" * 1000)
    settle(monkeypatch)
    return path


def settle(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns() + 10_000_000_000
    monkeypatch.setattr("time.time_ns", lambda: now)


def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are read from now on, as a new process would."""
    hashes._in_process.cache_clear()
    found: list[Path] = []

    def counted(path: Path) -> str:
        found.append(path)
        return sha256_file(path)

    monkeypatch.setattr(hashes, "sha256_file", counted)
    return found


def test_a_file_is_read_once(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = sha256_file(large)
    read = reads(monkeypatch)
    assert [hashes.file_sha256(large) for _ in range(3)] == [expected] * 3
    assert len(read) == 1
    again = reads(monkeypatch)  # in another process
    assert hashes.file_sha256(large) == expected
    assert not again


def test_a_changed_file_is_read_again(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, state = hashes.file_sha256(large), large.stat()
    with open(large, "r+b") as file:  # one bit of the same file, and its old time put back
        file.write(b"v")
    os.utime(large, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert large.stat().st_mtime_ns == state.st_mtime_ns
    settle(monkeypatch)
    read = reads(monkeypatch)
    assert hashes.file_sha256(large) == sha256_file(large) != first
    assert len(read) == 1


def test_a_file_that_was_just_written_is_not_remembered(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: large.stat().st_mtime_ns + 1_000_000)
    hashes.file_sha256(large)
    read = reads(monkeypatch)
    hashes.file_sha256(large)
    assert len(read) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"state": 1}', b"\xff"])
def test_a_damaged_memory_is_written_anew(
    content: bytes, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = hashes.file_sha256(large)
    (entry,) = (large.parent / "cache" / "hashes").iterdir()
    entry.write_bytes(content)
    hashes._in_process.cache_clear()
    assert hashes.file_sha256(large) == expected
    assert json.loads(entry.read_text())["sha256"] == expected


def test_a_cache_that_cannot_be_written_costs_time_alone(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (large.parent / "file").write_text("")
    monkeypatch.setenv("HARNESS_CACHE_DIR", str(large.parent / "file" / "cache"))
    assert hashes.file_sha256(large) == sha256_file(large)


def test_other_processes_remember(tmp_path: Path) -> None:
    """Sixty-four million bytes, for which nothing is set: the second process takes what the first one found."""
    path, cache = tmp_path / "weights", tmp_path / "cache"
    torch.save(torch.zeros(1), path)
    os.truncate(path, 64 << 20)
    os.utime(path, (1e9, 1e9))
    time.sleep(2.1)  # its time of change cannot be set
    program = (
        "import sys, harness.models.hashes as h\n"
        "from pathlib import Path\n"
        "if sys.argv[2] == 'no': h.sha256_file = None\n"
        "print(h.file_sha256(Path(sys.argv[1])))"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", program, path, reading],
            env=os.environ | {"HARNESS_CACHE_DIR": str(cache)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for reading in ("yes", "no")
    ]
    assert found == [sha256_file(path)] * 2
