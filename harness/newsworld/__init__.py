"""The news world: an embedded miniature in which faithfulness can be measured exactly, offline.

Its articles are made by rule and are no substitute for real text; wherever its numbers show, they are
labelled as the news world's. `story` makes articles and references, `oracle` says which facts of a summary its article
supports, `models` finds the shipped checkpoints.
"""

from __future__ import annotations

from typing import TypedDict

from harness.newsworld.story import FULL, Record, Shape, Story, make_story

__all__ = ["FULL", "Record", "Row", "Shape", "Story", "make_story", "prompt", "rows"]


class Row(TypedDict):
    """One article as plain data; see `Story` for the meaning of each field."""

    id: str
    article: str
    summary: str
    references: list[str]
    noisy: bool


def rows(split: str, n: int, *, seed: int = 0, noise: float = 0.0) -> list[Row]:
    """The first `n` stories of a split (`train`, `dev`, `test`) as plain rows.

    Args:
        seed: Selects an independent data set.
        noise: Probability, in [0, 1], that `summary` states what the article does not; `references` never do.
    """
    if not 0 <= noise <= 1:
        raise ValueError(f"noise is a probability, got {noise}")
    stories = (make_story(split, index, seed=seed, noise=noise) for index in range(n))
    return [
        Row(id=s.id, article=s.article, summary=s.reference, references=list(s.references), noisy=s.noisy)
        for s in stories
    ]


def prompt(article: str) -> str:
    """The prompt for a summary, the same at training and at evaluation; the response is `" " + summary`."""
    return f"Article: {article}\nSummary:"
