"""Which responses are answers.

A text metric says nothing about a response that is empty or refuses: scoring it 0 would mix "did not answer" with "answered
badly". Such responses are counted by kind and left out of every score; the answer rate stands beside the scores.

Two more things that go wrong are counted beside it, of every response, failed ones too: whether it was cut at the limit on its
tokens (where that is known, see `harness.lmeval.bridge.token_limit`), and whether it ends in a loop (`harness.metrics.loops`).

Source: Vectara's hallucination leaderboard (src/data_model.py and is_valid_summary in src/metrics, commit 0af0d77): a summary
is valid if, stripped, it is none of four error strings and has more than 5 words. The leaderboard's rule counts a long refusal as
a valid summary; so does `answer_rate` here, while the other metrics leave it out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from harness.metrics import loops, signatures
from harness.metrics.base import Options, Sample, Score

Kind = Literal["answered", "empty", "error", "short", "refused"]
KINDS: tuple[Kind, ...] = ("answered", "empty", "error", "short", "refused")

ANSWER_RATE, TRUNCATED, LOOPING = "answer_rate", "truncated", "looping"
SCORES = {
    ANSWER_RATE: Score(title="share of responses that are answers", kind="answers"),
    TRUNCATED: Score(
        title="share of responses that were cut at the token limit", kind="answers", higher_is_better=False
    ),
    LOOPING: Score(title="share of responses that end in a loop", kind="answers", higher_is_better=False),
}
"""What every response has, answered or not; `TRUNCATED` where it is known."""

ERROR_STRINGS = frozenset(
    {
        "MODEL FAILED TO RETURN ANY OUTPUT",
        "DID NOT RECIEIVE A STRING TYPE FROM OUTPUT",  # misspelt in the source too
        "THIS SUMMARY IS EMPTY, THIS IS THE DEFAULT VALUE A SUMMARY VARIABLE GETS. "
        "A REAL SUMMARY WAS NOT ASSIGNED TO THIS VARIABLE.",
        "FOUND <think> WITH NO CLOSING </think>",
    }
)

_FORM = f"{ANSWER_RATE}|rule:vectara|words:{{words}}"
_OF_OTHERS = {TRUNCATED: f"{TRUNCATED}|at:max_gen_toks|version:1", LOOPING: loops.SIGNATURE}

_REFUSAL = re.compile(
    r"""
    (?:(?:(?:i['’]?m|i\ am)\ (?:very\ )?sorry|sorry|i\ apologi[sz]e|(?:my\ )?apologies|unfortunately)[\s,.;:]+(?:but\s+)?)?
    (?:as\ an?\ (?:ai|artificial\ intelligence|(?:large\ )?language\ model)[\w\s-]*,\s*)?
    i\ ?(?:(?:am|['’]m)\ (?:unable|not\ able)\ to|can\s?not|can['’]?t|will\ not|won['’]t|do\ not|don['’]t)\s+(?:be\ able\ to\ )?
    (?:help|assist|provide|summari[sz]e|fulfil+|comply|complete|answer|respond|discuss|generate|create|continue|process|access)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""A refusal opens the response, in the first person, and names the act refused; English only. A summary that reports someone
else's refusal ("He said he cannot help") does not match."""


@dataclass(frozen=True, kw_only=True)
class AnswerRule:
    """When a response counts as an answer."""

    min_words: int = 5
    """An answer has more white-space separated words than this; 0 accepts any text, as short answers to questions need."""
    refusals: bool = True
    """Leave refusals out of the scores; off where declining is a correct answer (TruthfulQA: "I have no comment")."""

    def kind(self, response: str) -> Kind:
        """Classify a response; only ``answered`` ones are scored."""
        text = response.strip()
        if not text:
            return "empty"
        if text in ERROR_STRINGS:
            return "error"
        if self.refusals and _REFUSAL.match(text):
            return "refused"
        if len(text.split()) <= self.min_words:
            return "short"
        return "answered"

    def valid(self, response: str) -> bool:
        """Vectara's rule, which does not look for refusals."""
        text = response.strip()
        return bool(text) and text not in ERROR_STRINGS and len(text.split()) > self.min_words

    def scores(self, sample: Sample) -> dict[str, float]:
        """The scores of `SCORES` for one response."""
        found = {
            ANSWER_RATE: float(self.valid(sample.response)),
            LOOPING: float(loops.loops(sample.response)),
        }
        return found if sample.truncated is None else {**found, TRUNCATED: float(sample.truncated)}

    def signature(self, key: str = ANSWER_RATE) -> str:
        """Signature of one of `SCORES`, see `harness.metrics.base.Metric.signature`."""
        return _OF_OTHERS.get(key) or _FORM.format(words=f">{self.min_words}")


def contradiction(key: str, signature: str, options: Options) -> str | None:
    """See `harness.metrics.base.Family`; a record's options do not always say how many words an answer has."""
    if given := _OF_OTHERS.get(key):
        return None if signature == given else f"is not {given}"
    stated = signatures.read(_FORM, signature)
    if stated is None or not re.fullmatch(r">\d+", stated["words"]):
        return f"is not of the form {_FORM}"
    words = options.get("answer_min_words")
    return signatures.differing(stated, {"words": None if words is None else f">{words}"})
