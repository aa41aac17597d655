"""One call of ``lm_eval``, as data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import HarnessError


@dataclass(frozen=True, kw_only=True)
class EvalRequest:
    """One call of ``lm_eval``."""

    model_args: Mapping[str, Any]
    """Arguments of the model backend; ``pretrained`` names the model, ``chat_template_args`` is a mapping."""
    tasks: tuple[str, ...]
    output_path: Path
    """Folder for the results; lm-eval makes a folder per model in it."""
    model: str = "hf"
    """Model backend of lm-eval."""
    batch_size: int | str = 64
    """Prompts at once; ``auto`` on a GPU."""
    device: str | None = None
    """Torch device; None takes the accelerator, or the processor where there is none."""
    limit: int | None = None
    """Only the first documents of each task; for trials."""
    num_fewshot: int | None = None
    """Solved examples in the prompt; None leaves it to the task."""
    apply_chat_template: bool | None = False
    """Wrap prompts in the model's chat template, as instruct models need; None: where the model has one."""
    gen_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Decoding in place of the tasks' own, such as ``max_gen_toks``; it holds with a chat template and without."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Overrides of the tasks' metadata, such as ``data_dir``."""
    response_cache: Path | None = None
    """Folder that keeps the model's responses, so that an interrupted run resumes and a second one only scores."""


def named_model(model: str, backend: str, model_args: Mapping[str, Any]) -> dict[str, Any]:
    """The backend's arguments with the model's name, and its revision where the name holds one (``owner/name@revision``).

    Raises:
        HarnessError: If the name and the arguments give a revision each.
    """
    from harness.lmeval.bridge.whole_model import BACKENDS

    repository, at, revision = model.partition("@")
    if not at or backend not in BACKENDS or Path(model).exists():
        return {"pretrained": model, **model_args}
    if model_args.get("revision", revision) != revision:
        raise HarnessError(
            f"{model}: --model-args give another revision, {model_args['revision']}",
            "Leave one of the two out.",
        )
    return {"pretrained": repository, "revision": revision, **model_args}


def parse_metadata(text: str, option: str = "--metadata") -> dict[str, Any]:
    """Options of tasks and metrics in both forms that ``lm_eval --metadata`` takes: a JSON object, or ``key=value,key=value``.

    Raises:
        HarnessError: If it is neither; it names ``option``.
    """
    from lm_eval.utils import simple_parse_args_string

    try:
        found = json.loads(text) if text.lstrip().startswith("{") else simple_parse_args_string(text)
    except ValueError as error:
        raise HarnessError(
            f"{option} is not a JSON object: {error}", "For example: '{\"n_documents\": 100}'."
        ) from None
    if bad := [key for key, value in found.items() if value == ""]:
        raise HarnessError(
            f"{option}: no value for {', '.join(bad)}", f"For example: {option} n_documents=100"
        )
    return dict(found)
