"""lm-eval's index of tasks holds ours, once: by its entry points where it reads them, else by ``include_path``."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from typing import Any

from harness.paths import tasks_dir

ONE_OF_OURS = "kd_newsworld_factual"


@functools.cache
def finds_ours(manager: type) -> bool:
    """Whether lm-eval's ``TaskManager`` finds our tasks unasked, as its pull request 4015 makes it.

    It is tried, not read off a version: 4015 is not merged, and an old install of ours has no entry points. On 0.4.13, whose
    managers read nothing when they are given nothing, the trial takes no time.
    """
    try:
        return ONE_OF_OURS in manager(include_defaults=False).all_tasks
    except Exception:  # of another version, with other arguments
        return False


def include_path(manager: type) -> str | None:
    """What a ``TaskManager`` must be given to see our tasks; a folder that is read twice makes lm-eval warn for each task."""
    return None if finds_ours(manager) else str(tasks_dir())


def include_ours(manager: Any) -> None:
    """Make ``TaskManager`` read our folder too, between lm-eval's own tasks and ``--include_path``, which wins a name."""
    original = manager.__init__
    signature = inspect.signature(original)
    ours = str(tasks_dir())

    def with_ours(*given: Any, **named: Any) -> inspect.BoundArguments:
        bound = signature.bind(*given, **named)
        bound.apply_defaults()
        if bound.arguments["include_defaults"] and not finds_ours(manager):
            bound.arguments["include_path"] = _joined(ours, bound.arguments["include_path"])
        return bound

    manager.__init__ = _init(original, with_ours)


def _init(
    original: Callable[..., None], with_ours: Callable[..., inspect.BoundArguments]
) -> Callable[..., None]:
    @functools.wraps(original)
    def init(self: Any, *given: Any, **named: Any) -> None:
        try:
            bound = with_ours(self, *given, **named)
        except Exception:  # arguments of another version: they are its own to judge
            original(self, *given, **named)
        else:
            original(*bound.args, **bound.kwargs)

    return init


def _joined(ours: str, given: Any) -> list[Any]:
    folders = list(given) if isinstance(given, list | tuple) else [given] if given else []
    return folders if ours in [os.path.realpath(folder) for folder in folders] else [ours, *folders]
