"""One split of a data set on the Hugging Face hub: the files of that split alone, at a commit, from this machine's cache if there.

`datasets` would download and convert every split of a configuration, prefer a folder of the same name, and ask the hub's viewer
where no commit is named. So it is asked only which files a split has; they are fetched as models are, and read from disk.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.data.columns import Row
from harness.errors import HarnessError
from harness.files import canonical_json, sha256_bytes, write_atomic
from harness.models import hub
from harness.models.hub_errors import refused
from harness.paths import cache_dir

_READERS = {".parquet": "parquet", ".arrow": "arrow", ".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json"}  # fmt: skip
_REMEDY = "Check the network, or use a local copy: --metadata data_dir=PATH (a file or folder with the same fields)."


def read_hub(path: str, name: str | None, *, split: str, revision: str | None) -> tuple[list[Row], str]:
    """Read one split of a data set on the Hugging Face hub, or of what this machine's cache holds of it.

    Args:
        path: Owner and name. A folder of that name in the working folder is not looked at.
        name: Of the configuration; None: the default.
        split: As the data set calls it.
        revision: Commit, tag or branch; None: the main branch as it is now, or, without the hub, as it was last read.

    Returns:
        The rows, and the commit they were read at.

    Raises:
        HarnessError: If it can be had from neither.
    """
    import datasets

    tell_no_other_host()
    what = f"cannot load the data set {path} ({name or 'default'}, split {split})"
    commit, files = _split_files(path, name, split, revision, what)
    held = [
        str(hub.fetch(path, file, revision=commit, kind="dataset", remedy=_REMEDY)) for file in files["files"]
    ]
    try:
        options = dict(files["options"])
        rows = datasets.load_dataset(files["reader"], data_files={split: held}, split=split, **options)
        return [dict(row) for row in rows], commit
    except Exception as error:  # pyarrow's, pandas' and datasets' own types, of damaged files
        raise HarnessError(f"{what}: {hub.first_line(error)}", _REMEDY) from error


def tell_no_other_host() -> None:
    """Keep `datasets` from telling a host that counts, and is not the hub, what is read; HF_UPDATE_DOWNLOAD_COUNTS=1 lets it."""
    import datasets

    if "HF_UPDATE_DOWNLOAD_COUNTS" not in os.environ:
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False


def _split_files(
    path: str, name: str | None, split: str, revision: str | None, what: str
) -> tuple[str, Mapping[str, Any]]:
    """The commit, and what its split is read from; remembered, since only the hub's own list tells it."""
    from huggingface_hub.constants import HF_HUB_OFFLINE

    if not hub.answers():
        commit = _remembered_commit(path, revision)
        found = _remembered(path, name, split, commit) if commit else None
        if commit is None or found is None:
            why = "HF_HUB_OFFLINE is set" if HF_HUB_OFFLINE else "the hub cannot be reached"
            raise HarnessError(f"{what}: not on this machine, and {why}", _REMEDY)
        return commit, found
    commit = hub.resolved(path, revision, kind="dataset", what=what, remedy=_REMEDY)
    found = _remembered(path, name, split, commit)
    if found is None:
        found = _asked(path, name, split, commit, what)
        write_atomic(_place(path, name, split, commit), canonical_json(found) + "\n")
    if revision != commit:
        write_atomic(_place(path, revision or "main"), json.dumps(commit) + "\n")
    return commit, found


def _asked(path: str, name: str | None, split: str, commit: str, what: str) -> dict[str, Any]:
    import datasets

    try:
        builder = datasets.load_dataset_builder(f"hf://datasets/{path}", name, revision=commit)
        held = builder.config.data_files or {}
    except Exception as error:  # the hub client raises dozens of types
        raise refused(_refusal(path) or error, what, path, remedy=_REMEDY) from error
    if split not in held:
        raise HarnessError(
            f"{what}: there is no such split, but {', '.join(map(str, held))}", "Name one of these splits."
        )
    start = f"hf://datasets/{path}@{commit}/"
    files = [str(file).removeprefix(start) for file in held[split]]
    kinds = {_READERS.get(Path(file).suffix.lower()) for file in files}
    if len(kinds) != 1 or None in kinds:
        raise HarnessError(f"{what}: files of a kind that is not read: {', '.join(files[:3])}", _REMEDY)
    stated = getattr(builder.config, "sep", None) if kinds == {"csv"} else None
    return {"files": files, "reader": kinds.pop(), "options": {"sep": stated} if stated else {}}


def _refusal(path: str) -> Exception | None:
    """Why the hub refuses a data set; `datasets` says that it does, and drops the reason."""
    from huggingface_hub import HfApi

    try:
        HfApi().auth_check(path, repo_type="dataset")
    except Exception as error:
        return error
    return None


def _place(*parts: str | None) -> Path:
    return cache_dir() / "datasets" / f"{sha256_bytes(canonical_json(list(parts)).encode())[:32]}.json"


def _remembered_commit(path: str, revision: str | None) -> str | None:
    if revision and hub.is_commit(revision):
        return revision
    found = _read(_place(path, revision or "main"))
    return found if isinstance(found, str) else None


def _remembered(path: str, name: str | None, split: str, commit: str) -> dict[str, Any] | None:
    found = _read(_place(path, name, split, commit))
    return found if isinstance(found, dict) else None


def _read(place: Path) -> Any:
    try:
        return json.loads(place.read_text("utf-8"))
    except (OSError, ValueError):  # none yet, or a damaged one: it is written anew
        return None
