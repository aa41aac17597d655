"""A hub on this machine, and this process or another as a client of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import datasets
import pytest
from huggingface_hub import constants

from harness.models import hub as ours
from tests.hub.local_hub import LocalHub, patched

_NOTES_HOSTS = """
import os, socket
known = socket.getaddrinfo
def getaddrinfo(host, *words, **options):
    with open(os.environ["HOSTS"], "a") as file:
        file.write(f"{host}\\n")
    return known(host, *words, **options)
socket.getaddrinfo = getaddrinfo
"""
"""Python reads it when it starts; it cannot be forgotten by a library."""

Harness = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub().serve() as served:
        yield served


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The hub's cache of this test."""
    return tmp_path / "cache"


@pytest.fixture
def online(hub: LocalHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> LocalHub:
    """This process is a client of the local hub, with a cache of its own. The libraries read their settings on import."""
    patched(hub, monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
    for name, value in {
        "HF_ENDPOINT": hub.url,
        "HUB_DATASETS_URL": hub.url + "/datasets/{repo_id}/resolve/{revision}/{path}",
        "HF_HUB_OFFLINE": False,
        "HF_DATASETS_OFFLINE": False,
        "HF_DATASETS_CACHE": cache / "datasets",
    }.items():
        monkeypatch.setattr(datasets.config, name, value, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache / "xdg"))
    ours._hub_answers.cache_clear()
    return hub


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Takes this process off the hub, its cache as it is."""

    def take_off() -> None:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)

    return take_off


@pytest.fixture
def run(hub: LocalHub, cache: Path, root: Path, tmp_path: Path) -> Iterator[Harness]:
    """Runs a command in a process of its own, as a client of the local hub; at the end, no other host was looked for."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(_NOTES_HOSTS)
    hosts = tmp_path / "hosts"
    hosts.touch()
    path = (
        tmp_path / "site",
        root,
        root / "plugins",
        root / "harness/startup",
    )  # the hook as it is here, not as installed

    def command(
        *words: str, offline: bool = False, token: str = "", url: str = "", cwd: Path | None = None,
        more: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        environment |= {
            "HF_ENDPOINT": url or hub.url,
            "HF_HUB_OFFLINE": "1" if offline else "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HOME": str(cache),
            "XDG_CACHE_HOME": str(cache / "xdg"),
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "HOSTS": str(hosts),
        }
        if token:
            environment["HF_TOKEN"] = token
        return subprocess.run(
            [sys.executable, "-m", *words],
            env=environment | dict(more or {}),
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd,
            timeout=300,
        )

    yield command
    viewer = "datasets-server.127.0.0.1"  # the hub's own, which `datasets` asks about sets without a commit, as lm-eval's are
    assert set(hosts.read_text().split()) <= {"127.0.0.1", "localhost", viewer}
