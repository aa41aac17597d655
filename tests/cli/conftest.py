"""A third party's distribution with sound and broken plugins, built and installed as a stranger would."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "strangers-plugins"
version = "1.0"

[project.entry-points."harness.plugins"]
a_missing_module = "strangers_plugins_that_are_not_there:PLUGIN"
b_raises = "strangers_plugins.raises:PLUGIN"
c_wrong_type = "strangers_plugins:WRONG_TYPE"
d_bad_options = "strangers_plugins:BAD_OPTIONS"
e_sound = "strangers_plugins:SOUND"
f_same_name = "strangers_plugins:SAME_NAME"
"""

PLUGINS = '''
import errno
import time
from pathlib import Path

from safetensors import SafetensorError

from harness.errors import HarnessError
from harness.files import write_atomic
from harness.plugins import Command


class Plugin:
    def __init__(self, name, *commands):
        self.name = name
        self._commands = commands

    def commands(self):
        return self._commands


def no_options(parser):
    """A command without options."""


def echo_options(parser):
    parser.add_argument("--text", required=True)
    parser.add_argument("--status", type=int, default=0)


def echo(arguments):
    print(arguments.text)
    return arguments.status


def fail(arguments):
    raise HarnessError("rows.jsonl, row 3: no field 'article'", "Name another with --article-field.")


def crash(arguments):
    raise RuntimeError("a bug")


def fill_disk(arguments):
    with open("/dev/full", "w") as file:
        file.write("x")


def fill_named(arguments):
    raise OSError(errno.ENOSPC, "No space left on device", "/data/board.md")


def fill_safetensors(arguments):
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def write(arguments):
    write_atomic(arguments.path, "x")
    return 0


def wait(arguments):
    print("ready", flush=True)
    for _ in range(600):  # a signal just before one long sleep would be seen after it
        time.sleep(0.1)


def command(name, run, add_arguments=no_options):
    return Command(name=name, help=f"the help of {name}", add_arguments=add_arguments, run=run)


SOUND = Plugin(
    "a stranger's",
    command("echo", echo, echo_options),
    command("fail", fail),
    command("crash", crash),
    command("fill-disk", fill_disk),
    command("fill-named", fill_named),
    command("fill-safetensors", fill_safetensors),
    command("write", write, lambda parser: parser.add_argument("path", type=Path)),
    command("wait", wait),
)
SAME_NAME = Plugin("too late", command("echo", crash), command("own", echo, echo_options))
WRONG_TYPE = Plugin("wrong", "not a command")
BAD_OPTIONS = Plugin("bad", command("bad", echo, lambda parser: parser.add_argument("--a").undefined))
'''

RunHarness = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def strangers_plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder, to be put on PYTHONPATH, into which pip installed the stranger's distribution."""
    project = tmp_path_factory.mktemp("strangers")
    package = project / "strangers_plugins"
    package.mkdir()
    (project / "pyproject.toml").write_text(PYPROJECT)
    (package / "__init__.py").write_text(PLUGINS)
    (package / "raises.py").write_text("raise ValueError('first line\\nsecond line')\n")
    site = project / "site"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*command, "--target", str(site), str(project)], check=True)
    return site


@pytest.fixture(scope="session")
def environment(root: Path) -> dict[str, str]:
    """Environment in which a subprocess imports this checkout, with Python's own buffering."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return inherited | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "plugins")])}


@pytest.fixture(scope="session")
def strangers_environment(environment: dict[str, str], strangers_plugins: Path) -> dict[str, str]:
    """The same with the stranger's distribution installed."""
    return environment | {"PYTHONPATH": os.pathsep.join([environment["PYTHONPATH"], str(strangers_plugins)])}


@pytest.fixture
def harness(strangers_environment: dict[str, str]) -> RunHarness:
    """Runs ``harness ARGUMENTS`` in a process of its own."""

    def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "harness", *arguments]
        options = {
            "capture_output": True,
            "text": True,
            "env": strangers_environment,
            "timeout": 60,
        } | options
        return subprocess.run(command, **options)  # type: ignore[call-overload, no-any-return]

    return run
