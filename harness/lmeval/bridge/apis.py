"""Which of lm-eval's backends ask a model over the network, what they need, and what of their arguments may be shown."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from harness.errors import HarnessError
from harness.models.identity import without_path
from harness.redaction import is_secret

HOW_ASKED = frozenset({"max_retries", "timeout", "verify_certificate", "ca_cert_path"})
"""Settings of a backend that change whether and when an answer comes, and not the answer."""


def is_endpoint(lm: Any) -> bool:
    """Whether a model of lm-eval is behind an API; the libraries of such backends are not imported for any other."""
    return any(kind.__module__ == "lm_eval.models.api_models" for kind in type(lm).__mro__)


def endpoint_kind(backend: str) -> str | None:
    """What an lm-eval backend asks over the network: ``chat completions``, ``completions``, or None."""
    if not backend.endswith("completions"):
        return None
    return "chat completions" if backend.endswith("chat-completions") else "completions"


def description(lm: Any) -> dict[str, Any]:
    """The model as records name it: name and kind of endpoint. There is no address, no key, and no weights to hash."""
    chat = any("Chat" in kind.__name__ for kind in type(lm).__mro__)
    return {
        "name": without_path(str(lm.model)),
        "revision": None,
        "endpoint": "chat completions" if chat else "completions",
    }


def without_secrets(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a backend without keys, and without headers, which hold them."""
    return {
        name: "***" if name == "header" or is_secret(name, value) else value
        for name, value in arguments.items()
    }


def without_effect(arguments: Mapping[str, Any]) -> set[str]:
    """Names of arguments that do not change an answer: keys, and how patiently it is asked for."""
    return {"num_concurrent", *HOW_ASKED} | {
        name for name, shown in without_secrets(arguments).items() if shown == "***"
    }


def require_endpoint(backend: str, arguments: Mapping[str, Any]) -> None:
    """Refuse a call of an endpoint that lm-eval would end in a traceback.

    Raises:
        HarnessError: If a library is missing, or the address.
    """
    missing = [name for name in ("aiohttp", "requests", "tenacity") if find_spec(name) is None]
    HarnessError.raise_for(
        [f"backend {backend} needs {', '.join(missing)}"] if missing else [],
        "pip install 'faithfulness-harness[api]'",
    )
    local = backend.startswith("local-")
    HarnessError.raise_for(
        [f"backend {backend} needs the address of the endpoint"]
        if local and not arguments.get("base_url")
        else [],
        "Give it: --model-args base_url=http://localhost:8000/v1/chat/completions (or .../v1/completions).",
    )
    if not local and not backend.startswith("azure") and not os.environ.get("OPENAI_API_KEY"):
        raise HarnessError(
            f"backend {backend} needs a key, and OPENAI_API_KEY is not set",
            "Set it in the environment, never in an argument.",
        )
