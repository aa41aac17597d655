"""What every test runs under: no hub, no network, no secrets, and caches that are thrown away."""

from __future__ import annotations

import gc
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Sums in one order, whatever process makes them: weights are compared bit by bit. Read when torch is first imported.
os.environ["OMP_NUM_THREADS"] = "1"

ROOT = Path(__file__).resolve().parent.parent

# The libraries read these when they are imported, and so do the processes that tests start.
_CACHE = tempfile.mkdtemp(prefix="harness-tests-")
os.environ |= {
    "HF_HOME": _CACHE,
    "XDG_CACHE_HOME": _CACHE,
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",  # its threads would warn at every fork
    "MPLBACKEND": "agg",
}
for _name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HARNESS_NO_LM_EVAL_HOOK"):
    os.environ.pop(_name, None)


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(_CACHE, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """A test that reaches for the network fails here, rather than on the first machine without one."""
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in (
            "127.0.0.1",
            "::1",
            "localhost",
        ):
            raise OSError(f"tests run without a network: connection to {address[0]} refused")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", local_only)
        yield


@pytest.fixture(scope="module", autouse=True)
def _quick_garbage() -> None:
    """What the libraries hold is never garbage: looking through it again took most of the time of a small training run."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data beside the checkout; the test is skipped where there is none."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside this checkout")
    return folder


StockLmEval = Callable[..., "subprocess.CompletedProcess[str]"]

# Stock lm_eval, except that its own thousands of files, which take it seconds to read, are passed over.
_STOCK = """
import sys
from pathlib import Path
from lm_eval import __main__
from lm_eval.tasks import manager
sys.argv[0] = __main__.__file__
stock, build = Path(manager.__file__).parent, manager.TaskIndex.build
manager.TaskIndex.build = staticmethod(lambda paths: build([path for path in paths if path != stock]))
__main__.cli_evaluate()
"""


@pytest.fixture(scope="session")
def stock_lm_eval(root: Path) -> StockLmEval:
    """Runs lm_eval's own command with these words in a process of its own."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'plugins'}"}
        command = [sys.executable, "-c", _STOCK, *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run
