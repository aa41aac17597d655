"""How a task asks: in its own prompt, in the template of instruction data, or in the words that each row brings.

``template=dolly`` and ``template=prompt`` are for students that were finetuned so. What they were trained to end is a response and
not a line, so a new line stops nothing; the limit on the response is then twice the task's, about that of its chat variant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.data.columns import Candidate
from harness.data.prompts import NEXT_INSTRUCTION, instruction_prompt
from harness.errors import HarnessError

TEMPLATES = ("task", "dolly", "prompt")
_BRACES = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_INSTRUCTION, _SOURCE = "{{instruction}}", "{{source}}"
_ROW_PROMPT = ("prompt", "messages|user")
_ROW_RESPONSE = ("response", "output", "messages|assistant")

Fields = Mapping[str, Sequence[Candidate]]


@dataclass(frozen=True, kw_only=True)
class Wording:
    """What ``template`` and ``prompt`` of the metadata change in a task."""

    template: str = "task"
    """One of `TEMPLATES`."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Entries of lm-eval's task configuration in place of the YAML's."""
    fields: Fields = field(default_factory=dict)
    """Columns of the documents in place of the YAML's."""


def read(
    config: Mapping[str, Any],
    metadata: Mapping[str, Any],
    fields: Fields,
    *,
    response_tokens: int | None = None,
) -> Wording:
    """The wording that a task's metadata asks for.

    Args:
        config: The task's lm-eval configuration.
        metadata: Its ``factual`` block and ``--metadata`` together: ``template``, ``prompt`` and ``instruction``.
        fields: Columns of its documents.
        response_tokens: Longest response in place of the task's; None: the task's, of which a template gets twice as many.

    Raises:
        HarnessError: If there is no such template, or it contradicts another option or the task.
    """
    template = str(metadata.get("template", "task"))
    own, chat = metadata.get("prompt"), bool(metadata.get("chat"))
    _check(template, own, chat, metadata.get("instruction"), str(config.get("task")))
    generation = dict(config.get("generation_kwargs") or {})
    settings: dict[str, Any] = {} if own is None else {"doc_to_text": own}
    if template != "task":
        if not chat and "max_gen_toks" in generation:
            generation["max_gen_toks"] = 2 * int(generation["max_gen_toks"])
        settings["target_delimiter"] = ""  # a response was joined to its prompt as it is
    if template == "dolly":
        settings["doc_to_text"] = text = _instruction_template(str(metadata["instruction"]), fields)
        generation["until"] = [NEXT_INSTRUCTION]
        fields = {**fields, "instruction": ["instruction"]} if _INSTRUCTION in text else fields
    elif template == "prompt":
        settings["doc_to_text"], generation["until"] = "{{prompt}}", []
        fields = {
            **fields,
            "prompt": _ROW_PROMPT,
            "source": (*fields.get("source", ()), *_ROW_PROMPT),
            "references": (*fields.get("references", ()), *_ROW_RESPONSE),
        }
    if response_tokens is not None:
        generation["max_gen_toks"] = response_tokens
    return Wording(template=template, settings={**settings, "generation_kwargs": generation}, fields=fields)


def _instruction_template(instruction: str, fields: Fields) -> str:
    """The instruction in its template, with the source as its input unless the instruction holds it; Jinja, as lm-eval reads it."""
    instruction = _BRACES.sub(r"{{\1}}", instruction)
    has_input = "source" in fields and _SOURCE not in instruction
    return instruction_prompt(instruction, _SOURCE if has_input else "")


def _check(template: str, prompt: str | None, chat: bool, instruction: str | None, task: str) -> None:
    problems = []
    if template not in TEMPLATES:
        problems.append(f"there is no template {template!r}: {', '.join(TEMPLATES)}")
    elif template != "task" and prompt is not None:
        problems.append(f"prompt and template={template} both say how to ask")
    if template == "dolly" and chat:
        problems.append(
            f"template=dolly stands in place of a chat template; use {task.removesuffix('_chat')}"
        )
    if template == "dolly" and not instruction:
        problems.append(f"{task} has no instruction for template=dolly")
    HarnessError.raise_for(
        problems,
        "template=task asks as the task does (the default), template=dolly in the template of Dolly and Alpaca data, with the "
        "task's instruction or with instruction=TEXT, template=prompt in each row's own prompt.",
    )
