"""Training rows: where they come from and how they become a prompt and a response.

A row is one of

- ``{"prompt": ..., "response": ...}``: taken as it is;
- ``{"messages": [{"role": ..., "content": ...}, ...]}``: the tokenizer's chat template; the last message is
  the response;
- ``{"instruction": ..., "input" or "context": ..., "response" or "output": ...}``: Dolly and Alpaca, in the
  paper's template (`harness.data.prompts`, in which ``template=dolly`` evaluates);
- ``{"article": ..., "highlights": ...}``: CNN/DailyMail, in the template of the paper's evaluation.

``dolly``, ``cnndm`` and ``newsworld`` instead of a path name data sets; see `harness_kd.data.named`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.prompts import instruction_prompt
from harness.data.rows import parse_rows
from harness.files import iter_jsonl
from harness.models.chat import are_turns
from harness_kd.data.named import is_named, named_rows

SUMMARY_TEMPLATE = "Article: {article}\nSummarize the article. Summary:"
"""As in the task ``kd_cnndm_factual``."""


@dataclass(frozen=True)
class TextRow:
    """One training row as text. ``messages`` holds a chat's turns before the response, ``prompt`` is then
    empty.
    """

    prompt: str
    response: str
    messages: tuple[dict[str, str], ...] = ()


def load_rows(data: str) -> list[TextRow]:
    """All rows of a JSON Lines file, or of a data set by name.

    Args:
        data: Path, or a name with options as in ``dolly?split=dev``.

    Raises:
        HarnessError: If the source is missing or empty, or rows lack fields; it names the first rows at
        fault.
    """
    rows = named_rows(data) if is_named(data) else iter_jsonl(Path(data))
    return parse_rows(
        rows,
        data,
        _parse,
        'Each row needs "prompt" and "response", or "instruction" and "response", '
        'or "messages" that end with the turn of the assistant; all of them texts.',
    )


def wording_of(data: str) -> str | None:
    """How the rows of some data ask, where all of them ask in one way.

    Returns:
        ``chat``, the tokenizer's chat template; ``dolly``, the template of instruction data (`harness.data.prompts`); ``prompt``,
        each row's own words; None for a mixture.

    Raises:
        HarnessError: If the file is missing or is not JSON Lines.
    """
    name = data.partition("?")[0]
    if is_named(data):
        return "dolly" if name == "dolly" else "prompt"
    found = {layout_of(row) for row in iter_jsonl(Path(data))}
    return found.pop() if len(found) == 1 else None


def layout_of(row: Mapping[str, Any]) -> str:
    """How one row asks, see `wording_of`."""
    if "messages" in row:
        return "chat"
    own = ("prompt" in row and "response" in row) or ("article" in row and "highlights" in row)
    return "dolly" if "instruction" in row and not own else "prompt"


def _parse(row: Mapping[str, Any]) -> TextRow:
    """The row as text.

    Raises:
        ValueError: Saying what is wrong with it.
    """
    if "messages" in row:
        return _parse_chat(row["messages"])
    if isinstance(row.get("article"), str) and isinstance(row.get("highlights"), str):
        summary = " ".join(row["highlights"].split())  # one line: the task stops at a newline
        prompt = SUMMARY_TEMPLATE.format(article=row["article"])
        row = {"prompt": prompt, "response": f" {summary}" if summary else ""}
    response = row.get("response", row.get("output"))
    if "prompt" in row and "response" in row:
        parsed = {"prompt": row["prompt"], "response": response}
    elif "instruction" in row and response is not None:
        context = row.get("input", row.get("context")) or ""
        parsed = {"instruction": row["instruction"], "input": context, "response": response}
    else:
        missing = '"response"' if "prompt" in row or "instruction" in row else '"prompt"'
        raise ValueError(f"no field {missing}; it has {', '.join(sorted(row)) or 'no fields'}")
    wrong = [name for name, value in parsed.items() if not isinstance(value, str)]
    if wrong:
        raise ValueError(f'field "{wrong[0]}" is not a text')
    if not parsed["response"]:
        raise ValueError("the response is empty")
    if "prompt" in parsed:
        return TextRow(parsed["prompt"], parsed["response"])
    return TextRow(instruction_prompt(parsed["instruction"], parsed["input"]), parsed["response"])


def _parse_chat(messages: Any) -> TextRow:
    if not are_turns(messages) or len(messages) < 2:
        raise ValueError('"messages" is not a list of at least two turns with "role" and "content"')
    if messages[-1]["role"] != "assistant" or not messages[-1]["content"]:
        raise ValueError("the last message is not the assistant's")
    return TextRow("", messages[-1]["content"], tuple(messages[:-1]))
