"""Files on the hub: from this machine's cache where they are there; offline is noticed within seconds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from harness.errors import HarnessError
from harness.models.hub_errors import first_line, refused

__all__ = [
    "answers",
    "cached",
    "fetch",
    "first_line",
    "is_commit",
    "names_repository",
    "resolved",
    "snapshot",
]

_PROBE_SECONDS = 5.0
OF_A_MODEL = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
_TWICE = ("*consolidated*", "*/*.safetensors")
"""The same weights again, in other layouts."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt")
_REMEDY = "Give an existing model folder, or a hub name such as organisation/model with access to the hub."


def fetch(
    repo: str, filename: str, *, revision: str | None, kind: str = "model", remedy: str = _REMEDY
) -> Path:
    """A file of a hub repository, from the cache of this machine where it is there.

    Args:
        repo: Owner and name.
        filename: Path in the repository.
        revision: Commit, tag or branch.
        kind: ``model`` or ``dataset``.
        remedy: What to do where the hub's answer leaves no better advice.

    Raises:
        HarnessError: If it is not in the cache and the hub cannot be reached or does not have it.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.constants import HF_HUB_OFFLINE

    try:
        return Path(hf_hub_download(repo, filename, repo_type=kind, revision=revision, local_files_only=True))
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
        return Path(hf_hub_download(repo, filename, repo_type=kind, revision=revision))
    except Exception as error:
        raise refused(error, where, repo, remedy=remedy) from error


def snapshot(
    repo: str,
    *,
    revision: str | None,
    what: str,
    only: Sequence[str] = OF_A_MODEL,
    remedy: str = _REMEDY,
) -> Path:
    """Folder of a commit with a model's configuration, tokenizer and safetensors weights; what the cache lacks is downloaded.

    What the repository holds is known from its own list: a file that could not be had is an error, and never taken for one that is
    not there.

    Args:
        repo: Owner and name.
        revision: Commit, tag or branch; None: the main branch as it is now.
        what: The model as the user named it, for the error message.
        only: Patterns of the wanted files.
        remedy: What to do where the hub's answer leaves no better advice.

    Raises:
        HarnessError: If it is not in the cache and the hub cannot be reached, refuses, or has weights in pickles alone.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_OFFLINE

    offline = not answers()
    try:
        folder = Path(
            snapshot_download(
                repo,
                revision=revision,
                allow_patterns=list(only),
                ignore_patterns=list(_TWICE),
                local_files_only=offline,
            )
        )
        held = [] if offline or any(folder.glob("*.safetensors")) else _names(repo, folder.name)
    except Exception as error:  # the HTTP library's errors are others from release to release
        if offline and not HF_HUB_OFFLINE:
            raise HarnessError(
                f"{what}: no such folder, not on this machine, and the hub cannot be reached", remedy
            ) from error
        raise refused(
            error, f"{what}: no such folder, and not to be had from the hub", repo, remedy=remedy
        ) from error
    pickled = [name for name in held if name.endswith(_PICKLED) and "/" not in name]
    if pickled:
        raise HarnessError(
            f"{what}: its weights are pickled ({pickled[0]}), and pickles are never loaded",
            f"Name a revision with safetensors: {repo}@refs/pr/N, where the hub has a pull request that converts it (see its page, "
            "Community); or save it as safetensors on a machine where you trust it (save_pretrained), and give that folder.",
        )
    return folder


def cached(repo: str, revision: str | None) -> Path | None:
    """Folder of what this machine's cache holds of a repository's commit; None if that is nothing. The hub is not asked."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.file_download import repo_folder_name

    try:
        storage = Path(HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model")
    except HFValidationError:  # a path, or another text that no repository is called
        return None
    ref = storage / "refs" / (revision or "main")
    commit = ref.read_text("utf-8").strip() if ref.is_file() else revision
    folder = storage / "snapshots" / commit if commit else None
    return folder if folder is not None and folder.is_dir() else None


def resolved(repo: str, revision: str | None, *, kind: str, what: str, remedy: str) -> str:
    """The commit that a revision of a repository names now; the hub is asked unless it is a commit.

    Raises:
        HarnessError: If the hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi

    if revision and is_commit(revision):
        return revision
    try:
        return str(HfApi().repo_info(repo, repo_type=kind, revision=revision).sha)
    except Exception as error:
        raise refused(error, what, repo, remedy=remedy) from error


def names_repository(name: str) -> bool:
    """Whether a name looks like a repository's: ``owner/name``. A folder may be called so too."""
    return bool(_REPOSITORY.fullmatch(name))


def is_commit(revision: str) -> bool:
    """Whether a revision is a full commit, which names the same files for ever."""
    return bool(_COMMIT.fullmatch(revision))


def answers() -> bool:
    """Whether the hub is in reach and may be asked."""
    from huggingface_hub.constants import HF_HUB_OFFLINE

    return not HF_HUB_OFFLINE and _hub_answers()


def _names(repo: str, commit: str) -> list[str]:
    from huggingface_hub import HfApi

    return HfApi().list_repo_files(repo, revision=commit)


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
