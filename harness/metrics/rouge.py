"""ROUGE-L and ROUGE-Lsum (Lin 2004) by Google's rouge_score, the best reference counting.

ROUGE-Lsum takes the union of longest common subsequences over sentences, and rouge_score splits at newlines only:
texts without newlines are split into sentences first, or Lsum would equal L.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version

from rouge_score import rouge_scorer

from harness.metrics.base import Sample

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


class Rouge:
    """Keys ``rougeL`` and ``rougeLsum``: F1 in 0..1."""

    keys: Mapping[str, bool | None] = {"rougeL": True, "rougeLsum": True}

    def __init__(self, *, stemmer: bool = True) -> None:
        self._stemmer = stemmer
        self._scorer = rouge_scorer.RougeScorer(list(self.keys), use_stemmer=stemmer)

    def score(self, samples: Sequence[Sample]) -> list[dict[str, float]]:
        """F1 against the reference that gives the highest, chosen for each key by itself."""
        return [self._score(sample) for sample in samples]

    def _score(self, sample: Sample) -> dict[str, float]:
        # rouge_score keeps [a-z0-9] only: against a reference without any, 0 would say nothing about the response
        references = [
            reference for reference in sample.references if re.search("[a-z0-9]", reference.lower())
        ]
        if not references:
            return {}
        found = self._scorer.score_multi(
            [_one_sentence_a_line(r) for r in references], _one_sentence_a_line(sample.response)
        )
        return {key: float(found[key].fmeasure) for key in self.keys}

    def signature(self, key: str) -> str:
        """See `harness.metrics.base.Metric.signature`."""
        stemmer = "porter" if self._stemmer else "no"
        split = "|split:.!?" if key == "rougeLsum" else ""
        return f"{key}|stat:f1|refs:max|stemmer:{stemmer}{split}|rouge_score:{version('rouge_score')}"


def _one_sentence_a_line(text: str) -> str:
    return text if "\n" in text else _SENTENCE_END.sub("\n", text)
