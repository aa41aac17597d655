"""What a model is, by content: the same in records, runs, label manifests and generated data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.files import canonical_json, sha256_bytes, sha256_file
from harness.models import hub
from harness.models.hashes import file_sha256

_NOT_OF_OUTPUTS = frozenset(
    {"transformers_version", "_name_or_path", "_commit_hash", "_from_model_config", "base_model_name_or_path"}
)
"""Keys that say who wrote a configuration, from where and when; an adapter's base is stated beside it."""
_TOKENIZER = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "spiece.model",
              "sentencepiece.bpe.model")  # fmt: skip


def model_identity(name: str, revision: str | None = None) -> dict[str, Any]:
    """A model as records state it.

    Args:
        name: Folder, or name on the hub, whose files are looked for in this machine's cache; the hub is not asked.
        revision: Of a hub model: commit, tag or branch.

    Returns:
        ``name`` without path; ``revision``, the commit of a hub model and ``local`` for a folder; and `content`, as far as the
        files are on this machine.
    """
    folder = Path(name)
    if folder.is_dir():
        return {"name": folder.resolve().name, "revision": "local", **content(folder)}
    repository, _, stated = name.partition("@")
    held = hub.cached(repository, revision or stated or None)
    found = {} if held is None else content(held)
    commit = held.name if held is not None and "config_sha256" in found else revision
    return {"name": without_path(repository), "revision": commit or None, **found}


def without_path(name: str) -> str:
    """The last part of a path of this machine, which says nothing to a reader and may name a person; a hub name stays."""
    path = Path(name)
    is_path = path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1 or path.exists()
    return path.name if is_path else name


def content(folder: Path) -> dict[str, str]:
    """SHA-256 of each thing that makes a model's outputs, as far as the folder holds it.

    ``weights_sha256`` and ``tokenizer_sha256`` are over the files' names and hashes; ``config_sha256`` and
    ``generation_config_sha256`` over the settings, without the notes of who wrote them; ``chat_template_sha256`` over the text.
    """
    weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    tokenizer = sorted({path for pattern in _TOKENIZER for path in folder.glob(pattern) if path.is_file()})
    hashed = {
        "weights": {file.name: file_sha256(file) for file in weights},
        "tokenizer": {file.name: sha256_file(file) for file in tokenizer},
    }
    found = {
        f"{part}_sha256": sha256_bytes(canonical_json(files).encode())
        for part, files in hashed.items()
        if files
    }
    for part in ("config", "generation_config", "adapter_config"):
        if (path := folder / f"{part}.json").is_file():
            found[f"{part}_sha256"] = _settings_sha256(path)
    if template := _chat_template(folder):
        found["chat_template_sha256"] = sha256_bytes(template.encode())
    return found


def content_sha256(identity: Mapping[str, Any]) -> str:
    """One hash over the hashes of an identity: equal for equal files, whatever the model is called and wherever it is."""
    return sha256_bytes(
        canonical_json({key: value for key, value in identity.items() if key.endswith("_sha256")}).encode()
    )


def _settings_sha256(path: Path) -> str:
    """Of the settings in a JSON file; of its bytes where it is damaged, which loading will refuse."""
    try:
        settings = json.loads(path.read_text("utf-8"), parse_constant=str)
    except ValueError:
        return sha256_file(path)
    return sha256_bytes(canonical_json(_of_outputs(settings)).encode())


def _of_outputs(settings: Any) -> Any:
    if isinstance(settings, dict):
        return {key: _of_outputs(value) for key, value in settings.items() if key not in _NOT_OF_OUTPUTS}
    return [_of_outputs(value) for value in settings] if isinstance(settings, list) else settings


def _chat_template(folder: Path) -> str | None:
    """The template itself, from where each generation of transformers keeps it."""
    files = [folder / "chat_template.jinja", *sorted(folder.glob("additional_chat_templates/*.jinja"))]
    if texts := [file.read_text("utf-8") for file in files if file.is_file()]:
        return "\n".join(texts)
    for name in ("chat_template.json", "tokenizer_config.json"):
        try:
            stated = json.loads((folder / name).read_text("utf-8")).get("chat_template")
        except (OSError, ValueError, AttributeError):
            continue
        if stated:
            return stated if isinstance(stated, str) else canonical_json(stated)
    return None
