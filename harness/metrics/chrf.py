"""chrF2 and chrF++ (Popovic 2015, 2017) with sacrebleu's counts; headlines are corpus scores.

A corpus chrF is a function of summed n-gram counts and differs from the mean of sentence scores (36.26 against 33.58 on
a toy corpus). Samples keep their sentence score together with the counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import sacrebleu
from sacrebleu.metrics.chrf import CHRF

from harness.metrics.base import CorpusScore, FloatArray, Sample


class ChrF:
    """Keys ``chrf`` (characters up to 6-grams, beta 2) and ``chrf++`` (and words up to 2-grams): 0..100."""

    keys: Mapping[str, bool | None] = {"chrf": True, "chrf++": True}
    corpus_keys = frozenset(keys)

    def __init__(self) -> None:
        self._metrics = {"chrf": CHRF(word_order=0), "chrf++": CHRF(word_order=2)}

    def score(self, samples: Sequence[Sample]) -> list[dict[str, float]]:
        """Sentence scores against the best reference, each with its counts."""
        return [{key: self._score(key, sample) for key in self.keys} for sample in samples]

    def _score(self, key: str, sample: Sample) -> CorpusScore:
        references = [[reference] for reference in sample.references]
        counts = self._metrics[key]._extract_corpus_statistics([sample.response], references)[0]
        return CorpusScore(float(self.corpus_scores(key, np.array([counts], dtype=np.float64))[0]), counts)

    def corpus_scores(self, key: str, sums: FloatArray) -> FloatArray:
        """F-scores of summed counts: float [b, 3 * orders] of (hypothesis, reference, match), to float [b], 0..100.

        Averages precision and recall over the orders that occur on both sides (sacrebleu without eps smoothing).
        """
        hypothesis, reference, match = np.moveaxis(sums.reshape(len(sums), -1, 3), -1, 0)
        occurs = (hypothesis > 0) & (reference > 0)
        orders = np.maximum(occurs.sum(-1), 1)
        precision = np.divide(match, hypothesis, out=np.zeros_like(match), where=occurs).sum(-1) / orders
        recall = np.divide(match, reference, out=np.zeros_like(match), where=occurs).sum(-1) / orders
        factor = self._metrics[key].beta ** 2
        bottom = factor * precision + recall
        top = (1 + factor) * precision * recall
        scores: FloatArray = 100 * np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
        return scores

    def signature(self, key: str) -> str:
        """See `harness.metrics.base.Metric.signature`."""
        words = self._metrics[key].word_order
        return f"{key}|refs:best|case:mixed|eff:yes|nc:6|nw:{words}|space:no|version:{sacrebleu.__version__}"
