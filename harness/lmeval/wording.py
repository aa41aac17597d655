"""How a task asks: in its own prompt, in its wording for instruct models, in the template of instruction data, or as each row asks.

A task's YAML holds two wordings: lm-eval's own entries, and under ``factual: chat:`` those that take their place where a chat
template is applied, which is known when the requests are built.

``template=dolly`` and ``template=prompt`` are for students that were finetuned so. What they were trained to end is a response and
not a line, so a new line stops nothing; the limit on the response is then twice the task's, about that of its chat wording.
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
Settings = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Wording:
    """How a task asks, as entries of lm-eval's task configuration: ``doc_to_text``, ``target_delimiter``, ``generation_kwargs``."""

    template: str = "task"
    """One of `TEMPLATES`."""
    plain: Settings = field(default_factory=dict)
    """Where no chat template is applied."""
    chat: Settings = field(default_factory=dict)
    """Where one is; the same as ``plain`` for a task without a wording of its own for it."""
    fields: Fields = field(default_factory=dict)
    """Columns of the documents in place of the YAML's."""

    @property
    def differs(self) -> bool:
        """Whether the task, left to its own words, has other ones for a chat template."""
        return self.template == "task" and self.plain != self.chat


def read(
    config: Mapping[str, Any],
    metadata: Mapping[str, Any],
    fields: Fields,
    *,
    response_tokens: int | None = None,
) -> Wording:
    """The wording that a task's configuration and metadata ask for.

    Args:
        config: The task's lm-eval configuration.
        metadata: Its ``factual`` block and ``--metadata`` together: ``template``, ``prompt`` and ``instruction``.
        fields: Columns of its documents.
        response_tokens: Longest response in place of the task's; None: the task's, of which a template gets twice as many.

    Raises:
        HarnessError: If there is no such template, or it contradicts another option or the task.
    """
    template = str(metadata.get("template", "task"))
    _check(template, metadata, str(config.get("task")))
    text: str | None = metadata.get("prompt")
    if template == "dolly":
        text = _instruction_template(str(metadata["instruction"]), fields)
        fields = {**fields, "instruction": ["instruction"]} if _INSTRUCTION in text else fields
    elif template == "prompt":
        text = "{{prompt}}"
        fields = {
            **fields,
            "prompt": _ROW_PROMPT,
            "source": (*fields.get("source", ()), *_ROW_PROMPT),
            "references": (*fields.get("references", ()), *_ROW_RESPONSE),
        }
    own = {
        "doc_to_text": config.get("doc_to_text"),
        "target_delimiter": config.get("target_delimiter", " "),
        "generation_kwargs": dict(config.get("generation_kwargs") or {}),
    }
    for_chat = (config.get("factual") or {}).get("chat")
    plain = _asked(own, template, text, response_tokens, longer=True)
    if for_chat:
        generation = {**own["generation_kwargs"], **for_chat.get("generation_kwargs", {})}
        own |= {**for_chat, "generation_kwargs": generation}
    chat = _asked(own, template, text, response_tokens, longer=not for_chat)
    return Wording(template=template, plain=plain, chat=chat, fields=fields)


def _asked(
    own: Settings, template: str, text: str | None, response_tokens: int | None, *, longer: bool
) -> Settings:
    """A wording of the task's with another text; a template gives it other stops, and room where it is ``longer``."""
    settings, generation = dict(own), dict(own["generation_kwargs"])
    if text is not None:
        settings["doc_to_text"] = text
    if template != "task":
        generation["until"] = [NEXT_INSTRUCTION] if template == "dolly" else []
        settings["target_delimiter"] = ""  # a response was joined to its prompt as it is
        if longer and "max_gen_toks" in generation:
            generation["max_gen_toks"] = 2 * int(generation["max_gen_toks"])
    if response_tokens is not None:
        generation["max_gen_toks"] = response_tokens
    return {**settings, "generation_kwargs": generation}


def _instruction_template(instruction: str, fields: Fields) -> str:
    """The instruction in its template, with the source as its input unless the instruction holds it; Jinja, as lm-eval reads it."""
    instruction = _BRACES.sub(r"{{\1}}", instruction)
    has_input = "source" in fields and _SOURCE not in instruction
    return instruction_prompt(instruction, _SOURCE if has_input else "")


def _check(template: str, metadata: Mapping[str, Any], task: str) -> None:
    problems = []
    if template not in TEMPLATES:
        problems.append(f"there is no template {template!r}: {', '.join(TEMPLATES)}")
    elif template != "task" and metadata.get("prompt") is not None:
        problems.append(f"prompt and template={template} both say how to ask")
    if template == "dolly" and metadata.get("alias_of"):
        problems.append(f"template=dolly stands in place of a chat template; use {metadata['alias_of']}")
    if template == "dolly" and not metadata.get("instruction"):
        problems.append(f"{task} has no instruction for template=dolly")
    HarnessError.raise_for(
        problems,
        "template=task asks as the task does (the default), template=dolly in the template of Dolly and Alpaca data, with the "
        "task's instruction or with instruction=TEXT, template=prompt in each row's own prompt.",
    )
