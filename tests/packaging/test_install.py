"""Installed in any way, ``harness`` runs and stock lm_eval finds our tasks; uninstalling leaves nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import __version__

if TYPE_CHECKING:
    from tests.packaging.conftest import Environment, MakeEnvironment

HOOK = "faithfulness_harness_lm_eval"
OFF_SWITCH = {"HARNESS_NO_LM_EVAL_HOOK": "1"}

# Stock lm_eval, except that its own thousands of files, which take it seconds to read, are passed over.
LIST_TASKS = """
import sys
from pathlib import Path
from lm_eval.tasks import TaskManager, manager
stock, build = Path(manager.__file__).parent, manager.TaskIndex.build
manager.TaskIndex.build = staticmethod(lambda paths: build([path for path in paths if path != stock]))
found = TaskManager(**eval(sys.argv[1])).task_index
print(*(f"{name}={entry.yaml_path}" for name, entry in found.items()), sep="\\n")
"""

# An lm_eval that reads entry points for tasks, as its pull request 4015 has it, before and after the hook's work on it.
NEWER_LM_EVAL = """
from importlib.metadata import entry_points
from importlib.util import find_spec
import lm_eval.tasks
from harness.lmeval.bridge import startup
class Newer(lm_eval.tasks.TaskManager):
    def __init__(self, include_path=None, include_defaults=True):
        declared = entry_points(group="lm_eval.tasks")
        folders = [next(iter(find_spec(point.value).submodule_search_locations)) for point in declared]
        super().__init__(None, folders + ([include_path] if include_path else []), False)
lm_eval.tasks.TaskManager = Newer
alone = Newer().task_index
startup.install(lm_eval.tasks)
found = Newer().task_index
assert found.keys() == alone.keys()
print(*(f"{name}={entry.yaml_path}" for name, entry in found.items()), sep="\\n")
"""


def listed_tasks(environment: Environment, options: str = "{}", **variables: str) -> dict[str, Path]:
    """Name and file of the tasks that lm_eval finds outside its own folder."""
    lines = environment.run("python", "-c", LIST_TASKS, options, **variables).stdout.split()
    return {name: Path(path) for name, path in (line.split("=", 1) for line in lines)}


def our_task_names(root: Path) -> set[str]:
    """Names of tasks and groups, read as text: another way than lm_eval's."""
    texts = (path.read_text("utf-8") for path in (root / "tasks").rglob("*.yaml"))
    names = {match for text in texts for match in re.findall(r"(?m)^(?:task|group): *(kd_\w+) *$", text)}
    assert "kd_newsworld_factual" in names
    return names


def relative_files(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def from_wheel(make_environment: MakeEnvironment, wheel: Path) -> Environment:
    environment = make_environment()
    environment.install(str(wheel))
    return environment


@pytest.fixture(scope="module")
def from_checkout(make_environment: MakeEnvironment, root: Path) -> Environment:
    environment = make_environment()
    environment.install("--editable", str(root))
    return environment


def test_wheel_holds_the_packages_the_tasks_and_the_hook(root: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    ours = {f"harness/{name}" for name in relative_files(root / "harness") if not name.startswith("startup/")}
    plugin = {f"harness_kd/{name}" for name in relative_files(root / "plugins" / "harness_kd")}
    tasks = {f"harness/tasks/{name}" for name in relative_files(root / "tasks")}
    assert names == ours | plugin | tasks | {f"{HOOK}.py", f"{HOOK}.pth"}


def test_wheel_install_runs_from_its_own_files(from_wheel: Environment) -> None:
    assert from_wheel.run("harness", "--version").stdout == f"harness {__version__}\n"
    where = from_wheel.run(
        "python", "-c", "import harness, harness_kd; print(harness.__file__, harness_kd.__file__)"
    )
    assert all(Path(path).is_relative_to(from_wheel.site_packages) for path in where.stdout.split())


def test_lm_eval_finds_the_tasks_of_a_wheel(from_wheel: Environment, root: Path) -> None:
    found = listed_tasks(from_wheel)
    assert found.keys() >= our_task_names(root)
    assert all(path.is_relative_to(from_wheel.site_packages / "harness" / "tasks") for path in found.values())


def test_editable_install_reads_the_live_tasks(from_checkout: Environment, root: Path) -> None:
    assert from_checkout.run("harness", "--version").stdout == f"harness {__version__}\n"
    found = listed_tasks(from_checkout)
    assert found.keys() >= our_task_names(root)
    assert all(path.is_relative_to(root / "tasks") for path in found.values())
    assert not (from_checkout.site_packages / "harness").exists()


def test_off_switch(from_wheel: Environment) -> None:
    assert listed_tasks(from_wheel, **OFF_SWITCH) == {}


def test_a_caller_who_wants_no_defaults_gets_none(from_wheel: Environment) -> None:
    assert listed_tasks(from_wheel, "{'include_defaults': False}") == {}


def test_the_callers_own_task_wins(from_wheel: Environment, tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text("task: kd_newsworld_factual\ndataset_path: json\noutput_type: generate_until\n")
    for given in (str(tmp_path), [str(tmp_path)]):
        found = listed_tasks(from_wheel, repr({"include_path": given}))
        assert found["kd_newsworld_factual"] == own


def test_our_folder_given_by_hand_is_read_once(from_wheel: Environment) -> None:
    """Twice would make lm_eval warn of an override for every task."""
    tasks = str(from_wheel.site_packages / "harness" / "tasks")
    done = from_wheel.run("python", "-c", LIST_TASKS, repr({"include_path": tasks}))
    assert "kd_newsworld_factual" in done.stdout
    assert "overrides" not in done.stderr


def test_starting_python_runs_the_hook_and_nothing_else(from_wheel: Environment) -> None:
    script = "import sys; print(*sys.modules); print(*map(type, sys.meta_path))"
    modules, finders = from_wheel.run("python", "-c", script).stdout.splitlines()
    assert HOOK in modules.split()
    assert not {"harness", "lm_eval", "importlib.util", "inspect"} & set(modules.split())
    assert finders.count("_LmEvalTasksFinder") == 1


@pytest.mark.parametrize("kind", ["from_wheel", "from_checkout"])
def test_an_lm_eval_that_reads_entry_points_finds_each_task_once(
    kind: str, root: Path, request: pytest.FixtureRequest
) -> None:
    environment: Environment = request.getfixturevalue(kind)
    done = environment.run("python", "-c", NEWER_LM_EVAL, **OFF_SWITCH)
    found = dict(line.split("=", 1) for line in done.stdout.split())
    assert found.keys() >= our_task_names(root)
    folder = root / "tasks" if kind == "from_checkout" else environment.site_packages / "harness" / "tasks"
    assert all(Path(path).is_relative_to(folder) for path in found.values())
    assert "overrides" not in done.stderr


def test_the_models_are_declared_for_an_lm_eval_that_reads_entry_points(from_wheel: Environment) -> None:
    code = "from importlib.metadata import entry_points\n"
    code += "for point in entry_points(group='lm_eval.models'): print(point.name, point.load().__name__)"
    assert from_wheel.run("python", "-c", code).stdout.splitlines() == [
        "harness-gold Gold",
        "harness-judge HarnessJudge",
        "harness-lookback-guided LookbackGuided",
    ]


def test_uninstall_leaves_lm_eval_as_it_was(
    make_environment: MakeEnvironment, wheel: Path, root: Path
) -> None:
    for arguments in ([str(wheel)], ["--editable", str(root)]):
        environment = make_environment()
        before = environment.installed_files()
        environment.install(*arguments)
        assert environment.installed_files() > before
        environment.uninstall()
        assert environment.installed_files() == before
        assert not (environment.folder / "bin" / "harness").exists()
        assert listed_tasks(environment) == {}


def test_a_damaged_install_never_stops_lm_eval(make_environment: MakeEnvironment, wheel: Path) -> None:
    environment = make_environment()
    environment.install(str(wheel))
    shutil.rmtree(environment.site_packages / "harness" / "tasks")
    done = environment.run("python", "-c", LIST_TASKS, "{}")
    assert done.stdout.split() == []
    assert done.stderr.count("faithfulness-harness: lm_eval will not see the kd_ tasks") == 1
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def built(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a source archive, and of the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(root)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.mark.slow
def test_a_wheel_by_way_of_the_sdist_is_the_same(wheel: Path, built: Path) -> None:
    (by_way_of_it,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as direct, zipfile.ZipFile(by_way_of_it) as by_sdist:
        assert {i.filename: i.CRC for i in direct.infolist()} == {
            i.filename: i.CRC for i in by_sdist.infolist()
        }


@pytest.mark.slow
def test_a_source_archive_installs_as_the_wheel_does(
    make_environment: MakeEnvironment, from_wheel: Environment, built: Path, root: Path
) -> None:
    (archive,) = built.glob("*.tar.gz")
    environment = make_environment()
    environment.install(str(archive))
    assert environment.run("harness", "--version").stdout == f"harness {__version__}\n"
    found = listed_tasks(environment)
    assert found.keys() >= our_task_names(root)
    assert all(
        path.is_relative_to(environment.site_packages / "harness" / "tasks") for path in found.values()
    )

    def ours(files: set[str]) -> set[str]:
        return {name for name in files if not name.endswith(("RECORD", "direct_url.json"))}

    assert ours(environment.installed_files()) == ours(from_wheel.installed_files())


@pytest.mark.slow
def test_lm_evals_own_command_lists_our_tasks_among_its_own(from_wheel: Environment, root: Path) -> None:
    listed = from_wheel.run("python", "-m", "lm_eval", "ls", "tasks").stdout
    assert "hellaswag" in listed
    missing = [name for name in our_task_names(root) if name not in listed]
    assert missing == []
    without = from_wheel.run("python", "-m", "lm_eval", "ls", "tasks", **OFF_SWITCH).stdout
    assert "hellaswag" in without
    assert "kd_newsworld_factual" not in without
