"""Environments of their own to install into, which borrow the libraries of the one that runs the tests."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

DISTRIBUTION = "faithfulness-harness"
OFFLINE_PIP = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation"]


@dataclass(frozen=True)
class Environment:
    """A virtual environment and what can be run in it."""

    folder: Path

    @property
    def site_packages(self) -> Path:
        (found,) = self.folder.glob("lib/python*/site-packages")
        return found

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment away from the checkout; its exit status must be 0."""
        program = str(self.folder / "bin" / command[0])
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(
            [program, *command[1:]],
            cwd=self.folder,
            env=inherited | variables,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def install(self, *what: str) -> None:
        """``pip install`` a wheel, or ``--editable`` and a folder."""
        self._pip("install", *OFFLINE_PIP, *what)

    def uninstall(self) -> None:
        """``pip uninstall`` our distribution."""
        self._pip("uninstall", "--quiet", "--yes", DISTRIBUTION)

    def _pip(self, *arguments: str) -> None:
        # the pip of the tests: to make an environment with one of its own takes seconds
        python = str(self.folder / "bin" / "python")
        subprocess.run(
            [sys.executable, "-m", "pip", "--python", python, *arguments], check=True, cwd=self.folder
        )

    def installed_files(self) -> set[str]:
        """Everything in site-packages but compiled modules."""
        paths = (path.relative_to(self.site_packages) for path in self.site_packages.rglob("*"))
        return {str(path) for path in paths if "__pycache__" not in path.parts}


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of links to all installed libraries except our own distribution."""
    folder = tmp_path_factory.mktemp("libraries")
    own = DISTRIBUTION.replace("-", "_")
    for source in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for path in Path(source).iterdir():
            ours = path.name.lstrip("_").startswith(own) or path.name in ("harness", "harness_kd")
            if not ours and path.suffix != ".pth" and not (folder / path.name).exists():
                (folder / path.name).symlink_to(path)
    return folder


MakeEnvironment = Callable[[], Environment]


@pytest.fixture(scope="session")
def make_environment(libraries: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeEnvironment:
    """Makes an environment that has every library, and nothing of ours."""

    def make() -> Environment:
        environment = Environment(tmp_path_factory.mktemp("environment"))
        venv.create(environment.folder, with_pip=False, symlinks=True)
        (environment.site_packages / "libraries.pth").write_text(f"{libraries}\n")
        return environment

    return make


@pytest.fixture(scope="session")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", *OFFLINE_PIP, "--wheel-dir", str(folder), str(root)]
    subprocess.run(command, check=True)
    (built,) = folder.glob("*.whl")
    return built
