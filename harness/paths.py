"""Where the project's data folders are, in a wheel, an editable install and a plain checkout alike; and the user's cache."""

from __future__ import annotations

import os
from pathlib import Path


def tasks_dir() -> Path:
    """Folder of the lm-evaluation-harness task files, for ``--include_path``.

    A wheel carries a copy inside the package; a checkout has the live ``tasks/`` beside it. The packaged copy
    exists in a wheel only, so an editable install never reads stale files.

    Raises:
        FileNotFoundError: If neither folder is there, that is, the install is damaged.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "tasks", package.parent / "tasks"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"no task folder beside {package}: install faithfulness-harness again")


def cache_dir() -> Path:
    """Where passed self-tests, hashes of large files and endpoints' answers to stock lm_eval are kept; only these are lost with it.

    ``HARNESS_CACHE_DIR``, else ``faithfulness-harness`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.
    """
    if own := os.environ.get("HARNESS_CACHE_DIR"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "faithfulness-harness"
