"""Files of a judge: a folder, this machine's hub cache, or the hub, in this order; offline is noticed within seconds."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from harness.errors import HarnessError
from harness.files import sha256_bytes, sha256_file

_PROBE_SECONDS = 5.0
_PICKLES = ("pytorch_model.bin", "model.pt", "model.pkl", "pytorch_model.bin.index.json")
WEIGHTS = "model.safetensors"


def fetch(repo: str, filename: str, *, revision: str | None) -> Path:
    """A file of a hub repository, from the cache of this machine where it is there.

    Raises:
        HarnessError: If it is not in the cache and the hub cannot be reached or does not have it.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.constants import HF_HUB_OFFLINE

    try:
        return Path(hf_hub_download(repo, filename, revision=revision, local_files_only=True))
    except Exception as error:  # "not in the cache" has several types, which differ between releases
        reason = error
    where = f"{repo}{f'@{revision[:12]}' if revision else ''}: {filename}"
    if HF_HUB_OFFLINE:
        raise HarnessError(f"{where} is not on this machine, and HF_HUB_OFFLINE is set", _REMEDY) from reason
    if not _hub_answers():
        raise HarnessError(
            f"{where} is not on this machine, and the hub cannot be reached", _REMEDY
        ) from reason
    try:
        return Path(hf_hub_download(repo, filename, revision=revision))
    except Exception as error:
        reason_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise HarnessError(f"{where} cannot be had from the hub: {reason_line}", _REMEDY) from error


_REMEDY = (
    "Choose a judge that is here: --metadata judge=PATH (a folder) or judge=embedded (the small stand-in, trained on "
    "made-up news); or copy the repository into the hub cache."
)


@lru_cache(maxsize=1)
def _hub_answers() -> bool:
    """Whether the hub answers at all: its own client would retry for half a minute."""
    from huggingface_hub import get_session
    from huggingface_hub.constants import ENDPOINT

    try:
        get_session().head(ENDPOINT, timeout=_PROBE_SECONDS)
    except Exception:  # the client's error types depend on its release; any of them means no
        return False
    return True


def local_weights(folder: Path) -> Path:
    """The safetensors file of a folder.

    Raises:
        HarnessError: If there is none; a pickle is named and never opened.
    """
    weights = folder / WEIGHTS
    if weights.is_file():
        return weights
    pickles = [name for name in _PICKLES if (folder / name).exists()] + [
        path.name for path in sorted(folder.glob("*.bin")) if path.name not in _PICKLES
    ]
    if pickles:
        raise HarnessError(
            f"{folder}: its weights are a pickle ({pickles[0]}), which can run any code when it is opened",
            "Have its maker save it with safetensors (save_pretrained does), or convert it where you trust it.",
        )
    raise HarnessError(
        f"{folder}: no {WEIGHTS}", "Give the folder of a judge with weights in safetensors format."
    )


@lru_cache(maxsize=16)
def _digest(path: str, _size: int, _changed: int) -> str:
    return sha256_file(path)


def weights_digest(path: Path) -> str:
    """SHA-256 of a file; computed once per process and version of the file."""
    status = path.stat()
    return _digest(str(path.resolve()), status.st_size, status.st_mtime_ns)


def folder_digest(files: list[Path]) -> str:
    """SHA-256 over several small files' contents, in the order of their names."""
    return sha256_bytes("".join(sha256_file(path) for path in sorted(files)).encode())
