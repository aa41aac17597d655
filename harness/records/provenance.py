"""What a record says about where its scores were made; it names no path of a machine and no secret.

Our tasks state it at run time (``runtime`` in the task's metadata). Results of other tasks hold what lm-eval itself writes:
its version, transformers', and torch's report about the machine.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness import __version__
from harness.models.identity import model_identity

_LIBRARIES = (
    "lm_eval",
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "peft",
    "nltk",
    "rouge-score",
    "sacrebleu",
    "numpy",
)
_REPORT = {  # line of torch's report -> what a record calls it
    "processor": r"^Model name:\s*(.+)$",
    "architecture": r"^Architecture:\s*(.+)$",
    "cores": r"^CPU\(s\):\s*(\d+)$",
    "accelerator": r"^GPU \d+: (.+)$",
}


def evaluated_model(lm: Any) -> dict[str, Any] | None:
    """Identity of the model behind an lm-eval backend, hashed as it is evaluated; None if the backend does not name one."""
    name = getattr(lm, "pretrained", None)
    if not isinstance(name, str):
        return None
    commit = getattr(getattr(lm, "config", None), "_commit_hash", None)
    identity = model_identity(name, commit or getattr(lm, "revision", None))
    if isinstance(adapter := getattr(lm, "peft", None), str):
        identity["adapter"] = model_identity(adapter, getattr(lm, "revision", None))
    return identity


def software() -> dict[str, str | None]:
    """Versions of what computes scores in this process, and our commit where this is a checkout."""
    found: dict[str, str | None] = {
        "harness": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
    }
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = None
    return found


def machine() -> dict[str, Any]:
    """Kind of processor, cores and accelerator of this machine."""
    import torch

    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"processor": _processor(), "cores": os.cpu_count(), "accelerator": accelerator}


def stated_software(results: Mapping[str, Any]) -> dict[str, str | None]:
    """Versions that lm-eval's results state."""
    torch = re.search(r"^PyTorch version: (.+)$", str(results.get("pretty_env_info")), re.MULTILINE)
    return {
        "harness": None,
        "commit": None,
        "working_folder_commit": results.get("git_hash"),  # of the folder lm-eval ran in, whatever that was
        "lm_eval": results.get("lm_eval_version"),
        "transformers": results.get("transformers_version"),
        "torch": torch[1] if torch else None,
    }


def stated_machine(results: Mapping[str, Any]) -> dict[str, Any]:
    """Machine that lm-eval's results state, from torch's report."""
    report = str(results.get("pretty_env_info"))
    lines = {name: re.search(pattern, report, re.MULTILINE) for name, pattern in _REPORT.items()}
    found = {name: match[1].strip() if match else None for name, match in lines.items()}
    return {
        "processor": found["processor"] or found["architecture"],
        "cores": int(found["cores"]) if found["cores"] else None,
        "accelerator": re.sub(r" \(UUID.*", "", found["accelerator"]) if found["accelerator"] else None,
    }


def _processor() -> str:
    """The model of processor where Linux names it, else its architecture."""
    try:
        named = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE)
    except OSError:
        named = None
    return named[1].strip() if named else platform.machine()


@lru_cache(maxsize=1)
def _commit() -> str | None:
    """Commit of this package's own checkout; not of the folder the user stands in."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    found = subprocess.run(  # noqa: S603
        ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or None
