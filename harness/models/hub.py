"""Files on the hub: from this machine's cache where they are there; offline is noticed within seconds."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from harness.errors import HarnessError

_PROBE_SECONDS = 5.0
_OF_A_MODEL = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
_REMEDY = "Give an existing model folder, or a hub name such as organisation/model with access to the hub."


def fetch(repo: str, filename: str, *, revision: str | None, remedy: str = _REMEDY) -> Path:
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
        raise HarnessError(f"{where} is not on this machine, and HF_HUB_OFFLINE is set", remedy) from reason
    if not _hub_answers():
        raise HarnessError(
            f"{where} is not on this machine, and the hub cannot be reached", remedy
        ) from reason
    try:
        return Path(hf_hub_download(repo, filename, revision=revision))
    except Exception as error:
        raise HarnessError(f"{where} cannot be had from the hub: {first_line(error)}", remedy) from error


def snapshot(repo: str, *, revision: str | None, what: str) -> Path:
    """Folder with a model's configuration, tokenizer and safetensors weights; what the cache lacks is downloaded.

    Args:
        what: The model as the user named it, for the error message.

    Raises:
        HarnessError: If it is not in the cache and the hub cannot be reached or does not have it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                repo,
                revision=revision,
                allow_patterns=_OF_A_MODEL,
                ignore_patterns=[
                    "*consolidated*",
                    "*/*.safetensors",
                ],  # the same weights again, in other layouts
                local_files_only=HF_HUB_OFFLINE or not _hub_answers(),
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise HarnessError(
            f"{what}: no such folder, and not found on the hub ({first_line(error)})", _REMEDY
        ) from error


def cached(repo: str, revision: str | None) -> Path | None:
    """Folder of what this machine's cache holds of a repository; None if that is nothing. The hub is not asked."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo, revision=revision, local_files_only=True))
    except Exception:  # not in the cache, or no name of a repository at all
        return None


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


def first_line(error: BaseException) -> str:
    """What an error of a library says in one line; its type where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
