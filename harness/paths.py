"""Where the project's data folders are, in a wheel, an editable install and a plain checkout alike."""

from __future__ import annotations

from pathlib import Path


def tasks_dir() -> Path:
    """Folder of the lm-evaluation-harness task files, for ``--include_path``.

    A wheel carries a copy inside the package; a checkout has the live ``tasks/`` beside it. The packaged copy
    exists in a wheel only, so an editable install never reads stale files.

    Raises:
        FileNotFoundError: If neither folder is there, that is, the install is damaged.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "_tasks", package.parent / "tasks"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"no task folder beside {package}: install faithfulness-harness again")
