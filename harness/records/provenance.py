"""What a record says about where it was made; it names no path of this machine and no secret."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness import __version__
from harness.files import canonical_json, sha256_bytes, sha256_file

_LIBRARIES = ("torch", "transformers", "tokenizers", "datasets", "rouge-score", "sacrebleu", "numpy")


def model_identity(name: str, hub_commit: str | None) -> dict[str, Any]:
    """Name without path, and what the weights and tokenizer files hash to; the commit, for a hub model."""
    folder = Path(name)
    if not folder.is_dir():
        # a local folder that has gone or moved: its path says nothing to a reader and may name a person
        is_path = folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1
        return {"name": folder.name if is_path else name, "revision": hub_commit or None}
    weights = {file.name: sha256_file(file) for file in sorted(folder.glob("*.safetensors"))}
    tokenizer = {file.name: sha256_file(file) for file in sorted(folder.glob("tokenizer*"))}
    return {
        "name": folder.resolve().name,
        "revision": "local",
        "weights_sha256": sha256_bytes(canonical_json(weights).encode()),
        "tokenizer_sha256": sha256_bytes(canonical_json(tokenizer).encode()),
    }


def software(results: dict[str, Any]) -> dict[str, str | None]:
    """Versions of what computed the scores, and our commit where this is a checkout."""
    found: dict[str, str | None] = {
        "harness": __version__,
        "commit": _commit(),
        "lm_eval": results["lm_eval_version"],
    }
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = None
    return found


def machine() -> dict[str, Any]:
    """Kind of processor, cores, accelerator."""
    import torch

    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"processor": platform.machine(), "cores": os.cpu_count(), "accelerator": accelerator}


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
