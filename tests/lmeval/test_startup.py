"""The start-up hook and the index of tasks: stock lm_eval sees our tasks once, and no other lm_eval is disturbed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from lm_eval.tasks import TaskManager

from harness.errors import HarnessError
from harness.lmeval.bridge import plain_errors, startup, task_index
from harness.lmeval.models import registry
from harness.paths import tasks_dir

HOOK = "faithfulness_harness_lm_eval"
TASK_MANAGER = """
class TaskManager:
    def __init__(self, include_path=None, include_defaults=True):
        self.seen = include_path
"""


def declared(root: Path, group: str) -> dict[str, str]:
    content = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    found: dict[str, str] = content["project"]["entry-points"][group]
    return found


def python(folder: Path, root: Path, code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code beside the packages of a folder, with the hook and our package behind them."""
    paths = os.pathsep.join(map(str, (folder, root / "harness" / "startup", root)))
    return subprocess.run(
        [sys.executable, "-c", f"import {HOOK}\n{code}"],
        env={**os.environ, "PYTHONPATH": paths, **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )


def other_lm_eval(folder: Path, tasks: str | None = TASK_MANAGER) -> Path:
    """A package ``lm_eval`` that is not lm-evaluation-harness; ``tasks`` None: a folder without ``__init__.py``."""
    package = folder / "lm_eval" / "tasks"
    package.mkdir(parents=True)
    (folder / "lm_eval" / "__init__.py").touch()
    if tasks is not None:
        (package / "__init__.py").write_text(tasks)
    return folder


SEEN = "from lm_eval.tasks import TaskManager; print(TaskManager('own').seen, TaskManager(include_path='own').seen)"


def test_another_manager_sees_our_folder_before_its_own(tmp_path: Path, root: Path) -> None:
    """A manager with the usual arguments; our models cannot be registered there, which is said in one line."""
    done = python(other_lm_eval(tmp_path), root, SEEN)
    assert done.stdout.strip() == f"{[str(root / 'tasks'), 'own']} {[str(root / 'tasks'), 'own']}"
    assert done.stderr.count("faithfulness-harness: lm_eval will not see the kd_ tasks") == 1
    assert len(done.stderr.splitlines()) == 1


def test_a_foreign_package_called_harness_is_neither_used_nor_imported(tmp_path: Path, root: Path) -> None:
    other_lm_eval(tmp_path)
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / "__init__.py").write_text("print('imported')\n")
    done = python(tmp_path, root, SEEN)
    assert (done.stdout.strip(), done.stderr) == ("own own", "")


@pytest.mark.parametrize("switch", ["1", "yes"])
def test_the_off_switch(switch: str, tmp_path: Path, root: Path) -> None:
    done = python(other_lm_eval(tmp_path), root, SEEN, HARNESS_NO_LM_EVAL_HOOK=switch)
    assert (done.stdout.strip(), done.stderr) == ("own own", "")


def test_an_lm_eval_without_a_manager_or_without_a_file_is_imported_as_ever(
    tmp_path: Path, root: Path
) -> None:
    older = other_lm_eval(tmp_path / "older", "TASK_REGISTRY = {}\n")
    done = python(older, root, "import lm_eval.tasks; print(lm_eval.tasks.TASK_REGISTRY)")
    assert done.stdout == "{}\n"
    assert "Traceback" not in done.stderr
    namespace = other_lm_eval(tmp_path / "namespace", None)
    assert python(namespace, root, "import lm_eval.tasks; print('here')").stdout == "here\n"


def include_ours(manager: Any) -> Any:
    task_index.include_ours(manager)
    return manager


def stock() -> Any:
    """lm-eval's own manager under another name, so that the hook of these tests changes no other test."""

    class Stock(TaskManager):  # type: ignore[misc]
        def __init__(
            self,
            verbosity: Any = None,
            include_path: Any = None,
            include_defaults: bool = True,
            metadata: Any = None,
        ) -> None:
            self.defaults = include_defaults
            super().__init__(
                verbosity, include_path, False, metadata
            )  # its own thousands of files take seconds

    return Stock


@pytest.mark.parametrize(
    "make",
    [
        lambda manager, own: manager(),
        lambda manager, own: manager(None, own),
        lambda manager, own: manager(None, [own], True),
        lambda manager, own: manager(include_path=Path(own)),
        lambda manager, own: manager(None, include_path=None, metadata={"limit": 1}),
        lambda manager, own: manager(include_path=str(tasks_dir())),
        lambda manager, own: manager(include_path=[f"{tasks_dir()}/../tasks/", own]),
    ],
)
def test_whatever_way_a_manager_is_called_it_sees_ours_once(
    make: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manager = include_ours(include_ours(stock()))  # a reloaded module is hooked twice
    with caplog.at_level(logging.WARNING, logger="lm_eval"):
        found = make(manager, str(tmp_path))
    assert "kd_newsworld_factual" in found.all_tasks
    assert found.defaults
    assert not [record for record in caplog.records if "overrid" in record.getMessage()]


def test_who_wants_no_defaults_gets_none(tmp_path: Path) -> None:
    manager = include_ours(stock())
    assert manager(include_defaults=False).all_tasks == []
    assert manager(None, str(tmp_path), False).all_tasks == []


def test_arguments_that_we_do_not_know_go_through() -> None:
    class Other:
        def __init__(self, folder: str, *more: str) -> None:
            self.given = (folder, *more)

    manager = include_ours(Other)
    assert manager("a", "b").given == ("a", "b")
    with pytest.raises(TypeError, match="folder"):
        manager()
    with pytest.raises(TypeError, match="nonsense"):
        include_ours(stock())(nonsense=1)


def newer(root: Path) -> Any:
    """A manager that reads entry points as lm-eval's pull request 4015 has it (written from its description).

    A package's folder, else a module's, found without an import; after lm-eval's own tasks and before ``include_path``; also
    where the defaults are not wanted.
    """

    class Newer(stock()):  # type: ignore[misc]
        def __init__(
            self,
            verbosity: Any = None,
            include_path: Any = None,
            include_defaults: bool = True,
            metadata: Any = None,
        ) -> None:
            folders = []
            for value in declared(root, "lm_eval.tasks").values():
                spec = importlib.util.find_spec(value)
                assert spec is not None
                folders += list(spec.submodule_search_locations or [])[:1]
            given = include_path if isinstance(include_path, list) else [include_path] if include_path else []
            super().__init__(verbosity, [*folders, *given], include_defaults, metadata)

    return Newer


def test_a_manager_that_reads_entry_points_is_left_alone(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manager = newer(root)
    with caplog.at_level(logging.WARNING, logger="lm_eval"):
        manager(include_path=str(root / "tasks"))
    assert [record for record in caplog.records if "overrid" in record.getMessage()]  # the test can tell
    caplog.clear()
    hooked = include_ours(newer(root))
    assert task_index.finds_ours(hooked)
    assert task_index.include_path(hooked) is None  # what `harness eval` gives it
    with caplog.at_level(logging.WARNING, logger="lm_eval"):
        found = [
            hooked(),
            hooked(include_defaults=False),
            hooked(include_path=task_index.include_path(hooked)),
        ]
    assert not [record for record in caplog.records if "overrid" in record.getMessage()]
    for manager in found:
        entry = manager.task_index["kd_newsworld_factual"]
        assert Path(entry.yaml_path).resolve() == root / "tasks/newsworld/kd_newsworld_factual.yaml"


def test_a_manager_of_today_does_not_find_ours() -> None:
    assert not task_index.finds_ours(stock())
    assert task_index.include_path(stock()) == str(tasks_dir())


def test_the_entry_points_are_what_is_registered_today(root: Path) -> None:
    assert declared(root, "lm_eval.models") == registry.MODELS
    for name, value in registry.MODELS.items():
        point = importlib.metadata.EntryPoint(name, value, "lm_eval.models")
        assert point.load() is registry.load(name)


def test_models_that_lm_eval_read_from_entry_points_are_not_registered_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lm_eval.api import registry as lm_evals

    known = {
        name: importlib.metadata.EntryPoint(name, value, "lm_eval.models")
        for name, value in registry.MODELS.items()
    }

    class Full(dict[str, Any]):
        def register(self, *_: Any, **__: Any) -> None:
            raise AssertionError("registered again")

    monkeypatch.setattr(lm_evals, "model_registry", Full(known))
    registry.register()


def test_a_backend_that_is_not_there_is_one_clear_error() -> None:
    with pytest.raises(HarnessError, match="no model backend is called 'nosuch'") as caught:
        registry.require_known("nosuch")
    for name in ("hf", "vllm", "local-chat-completions", *registry.MODELS):
        assert f" {name}," in caught.value.remedy


def test_a_backend_whose_library_is_missing_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.delitem(sys.modules, "lm_eval.models.vllm_causallms", raising=False)
    with pytest.raises(HarnessError, match=r"backend vllm cannot be loaded: .*vllm"):
        registry.load("vllm")


def test_stock_lm_eval_prints_our_errors_without_a_traceback_and_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/lm_eval"])
    plain_errors.install()
    once = sys.excepthook
    plain_errors.install()
    assert sys.excepthook is once
    once(HarnessError, HarnessError("no", "yes"), None)
    assert capsys.readouterr().err == "lm_eval: error: no\nyes\n"


def test_the_hook_installs_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("lm_eval.tasks")
    module.TaskManager = stock()  # type: ignore[attr-defined]
    startup.install(module)
    assert "kd_newsworld_factual" in module.TaskManager().all_tasks
    assert registry.load("harness-gold").__name__ == "Gold"
