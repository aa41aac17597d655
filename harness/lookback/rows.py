"""Responses with labelled spans: what a classifier is fitted on.

One JSON object per line:

    {"context": "the document", "prompt": "text that holds the document", "response": "...", "spans": [[12, 19], ...]}

``prompt`` may be left out; then it is made of the context by a template. ``spans`` are the hallucinated characters of the response
as it stands; a third field of a span, such as its kind, is passed over. Without ``spans`` a labeller finds them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harness.data.rows import read_rows as rows_of_file
from harness.lookback.windows import Span
from harness.sentences import sentence_spans

TEMPLATE = "#Document#: {context}\n#Summary#:"
"""The original's prompt for CNN/DailyMail."""
Labeller = Callable[[str, str], list[Span]]
"""(document, response) to the hallucinated spans of the response."""


@dataclass(frozen=True)
class Row:
    """A response to a prompt, and which of its characters are hallucinated."""

    context: str
    prompt: str
    document_end: int
    """Character of the prompt at which the document ends."""
    response: str
    """As generated, white space included."""
    spans: tuple[Span, ...]
    """Characters of the stripped response."""


def make_row(context: str, prompt: str, response: str, spans: Sequence[Span]) -> Row:
    """A row whose spans are characters of the stripped response.

    Raises:
        ValueError: If the document is not in the prompt, or a span not in the response.
    """
    start = prompt.rfind(context) if context else -1
    if start < 0:
        raise ValueError("the prompt does not hold the context")
    for span in spans:
        if not 0 <= span[0] <= span[1] <= len(response.rstrip()):
            raise ValueError(f"span {list(span)} is not in a response of {len(response)} characters")
    return Row(context, prompt, start + len(context), response, tuple(spans))


def read_rows(path: Path, labeller: Labeller | None = None, template: str = TEMPLATE) -> list[Row]:
    """Rows of a JSON Lines file.

    Args:
        path: See the module.
        labeller: Finds the spans; None: they are in the file.
        template: Prompt of rows that have none, with ``{context}``.

    Raises:
        HarnessError: Naming the first lines that are wrong.
    """
    return rows_of_file(
        path,
        lambda fields: _row(fields, labeller, template),
        "Each row needs context, response and spans [[start, end], ...]; `harness lookback fit --help` explains.",
    )


def _row(fields: Mapping[str, Any], labeller: Labeller | None, template: str) -> Row:
    try:
        return _parsed(fields, labeller, template)
    except (KeyError, TypeError) as error:
        raise ValueError(f"no {error}" if isinstance(error, KeyError) else str(error)) from error


def _parsed(fields: Mapping[str, Any], labeller: Labeller | None, template: str) -> Row:
    context, response, prompt = fields["context"], fields["response"], fields.get("prompt")
    given = {"context": context, "response": response} | ({} if prompt is None else {"prompt": prompt})
    if wrong := [name for name, value in given.items() if not isinstance(value, str)]:
        raise ValueError(f"{' and '.join(wrong)}: no text")
    lead = len(response) - len(response.lstrip())
    if labeller is not None:
        spans = labeller(context, response.strip())
    else:
        spans = [(max(0, int(span[0]) - lead), int(span[1]) - lead) for span in fields["spans"]]
    return make_row(
        context, template.replace("{context}", context) if prompt is None else prompt, response, spans
    )


def oracle_labeller(document: str, response: str) -> list[Span]:
    """The news world's truth: each unsupported fact, and each sentence that states nothing of that world."""
    from harness.newsworld.oracle import judge

    verdict = judge(document, response)
    wrong = [(fact.start, fact.end) for fact in verdict.facts if fact.support != "supported"]
    return sorted([*wrong, *verdict.unparsable])


class Judge(Protocol):
    """Says how probable it is that a source supports a text."""

    def score(self, pairs: Sequence[tuple[str, str]], *, progress: bool = True) -> list[float]:
        """Probability for each (source, text); NaN where there is none."""


def judge_labeller(judge: Judge, threshold: float = 0.5) -> Labeller:
    """Each sentence that a consistency judge scores below the threshold is hallucinated, whole.

    It raises a ValueError where the judge gives no number: such a sentence is neither, and its windows have no label.
    """

    def label(document: str, response: str) -> list[Span]:
        places = sentence_spans(response)
        scores = judge.score([(document, response[start:end]) for start, end in places], progress=False)
        for (start, end), score in zip(places, scores, strict=True):
            if math.isnan(score):
                raise ValueError(
                    f"the judge gives no number to characters {start} to {end} of the response: leave the row out"
                )
        return [place for place, score in zip(places, scores, strict=True) if score < threshold]

    return label
