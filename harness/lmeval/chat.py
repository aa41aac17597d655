"""Whether a model is to be asked in a chat template, where nobody says: as its tokenizer's files tell, or its endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.lmeval.bridge.apis import endpoint_kind
from harness.lmeval.bridge.whole_model import BACKENDS
from harness.models import hub
from harness.models.chat import has_chat_template

_NOT_ASKED = ("harness-gold", "harness-judge")
"""Backends that read documents and no prompt."""


def has_template(backend: str, arguments: Mapping[str, Any]) -> bool:
    """Whether a backend's model has a chat template.

    Endpoints for chats have one of their own, endpoints for completions none; of any other backend the tokenizer's files are read.
    What is not on this machine yet is taken for a model without one.

    Args:
        backend: Of lm-eval.
        arguments: Its ``--model_args``.
    """
    if backend in _NOT_ASKED:
        return False
    if kind := endpoint_kind(backend):
        return kind == "chat completions"
    folder = _tokenizer_folder(arguments)
    return folder is not None and has_chat_template(folder)


def require_template(backend: str, arguments: Mapping[str, Any]) -> None:
    """Refuse a chat template of a model that has none, as far as its files are on this machine.

    Raises:
        HarnessError: Naming the model.
    """
    folder = _tokenizer_folder(arguments) if backend in BACKENDS and not arguments.get("gguf_file") else None
    if folder is not None and not has_chat_template(folder):
        raise HarnessError(
            f"{folder.name}: has no chat template to be asked in",
            "Leave --chat out, or name a tokenizer that has one: --model-args tokenizer=FOLDER.",
        )


def _tokenizer_folder(arguments: Mapping[str, Any]) -> Path | None:
    """Where the tokenizer's files are; None if they are not on this machine."""
    name = str(arguments.get("tokenizer") or arguments.get("pretrained") or "")
    if not name:
        return None
    return (
        Path(name) if Path(name).is_dir() else hub.cached(name, str(arguments.get("revision") or "") or None)
    )
