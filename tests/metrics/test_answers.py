from __future__ import annotations

import pytest

from harness.metrics.answers import AnswerRule


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("MODEL FAILED TO RETURN ANY OUTPUT", "error"),
        ("Only five words are here", "short"),
        ("Now there are six words here", "answered"),
        ("I'm sorry, but I can't summarize this article for you.", "refused"),
        ("I am unable to summarise the text that you provided to me.", "refused"),
        ("I cannot assist with that request, as it is harmful.", "refused"),
        ("Unfortunately, I do not provide summaries of such news articles.", "refused"),
        ("As an AI language model, I cannot access the article at that link.", "refused"),
        ("Sorry, I can’t help with this article about the attack.", "refused"),
        ("I cannot", "short"),
        # none of these refuses, though each has a refusal's words
        ("He said he cannot help the police with their enquiries.", "answered"),
        ("The minister is sorry, but cannot provide the funds this year.", "answered"),
        ("I cannot believe it, says winner of ten million pounds.", "answered"),
        ("Unfortunately, the bridge cannot be repaired before next winter.", "answered"),
    ],
)
def test_kinds(response: str, kind: str) -> None:
    assert AnswerRule().kind(response) == kind


def test_short_answers_and_declining_can_be_right() -> None:
    rule = AnswerRule(min_words=0, refusals=False)
    assert rule.kind("yes") == "answered"
    assert rule.kind("I cannot answer that.") == "answered"
    assert rule.kind(" ") == "empty"


def test_vectaras_rule_does_not_look_for_refusals() -> None:
    refusal = "I'm sorry, but I can't summarize this article for you."
    assert AnswerRule().valid(refusal)
    assert not AnswerRule().valid("too short")
    assert not AnswerRule().valid("FOUND <think> WITH NO CLOSING </think>")
