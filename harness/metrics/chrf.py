"""chrF2 and chrF++ (Popović, 2015, 2017), equal to sacrebleu, with one pass over the texts for both.

The headline is the corpus score: n-gram counts are summed over the corpus before precision and recall are taken. Each
sample keeps its sentence score and the counts. Settings are sacrebleu's defaults: character order 6, beta 2, effective
order, no white space; word order 0 for `chrf` and 2 for `chrf++`. With several references the one with the best sentence
score counts.

Source: sacrebleu 2.6.0, sacrebleu/metrics/chrf.py and helpers.py (extract_all_char_ngrams, extract_word_ngrams).
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from harness.metrics.base import CorpusScore, Family, FloatArray, Metric, Options, Sample, Score
from harness.stats.bootstrap import ScoreFunction

CHAR_ORDER = 6
WORD_ORDERS = {"chrf": 0, "chrf++": 2}
SCORES = {
    "chrf": Score(
        title="character sequences shared with the reference",
        kind="overlap",
        unit="of 100",
        high=100.0,
        corpus=True,
        leading=True,
    ),
    "chrf++": Score(
        title="character sequences, words and word pairs shared with the reference",
        kind="overlap",
        unit="of 100",
        high=100.0,
        corpus=True,
    ),
}

_PUNCTUATION = frozenset(string.punctuation)


class Chrf(Metric):
    """chrF2 and chrF++ in 0..100.

    Args:
        beta: Weight of recall over precision; 2 gives chrF2.
        whitespace: Keep white space in character n-grams.
        effective_order: Average over the orders present in both texts; False smooths each order by 1e-16, as chrF++.py does.
    """

    scores = SCORES

    def __init__(self, *, beta: int = 2, whitespace: bool = False, effective_order: bool = True) -> None:
        self._beta = beta
        self._whitespace = whitespace
        self._effective_order = effective_order

    def score(self, samples: Sequence[Sample]) -> list[dict[str, float]]:
        """See `harness.metrics.base.Metric`. Statistics: [response, reference, matching] n-grams for each order."""
        return [self._score_one(sample) for sample in samples]

    def corpus_scores(self, _key: str, sums: FloatArray, /) -> FloatArray:
        """See `harness.metrics.base.Metric`."""
        return f_scores(sums, beta=self._beta, effective_order=self._effective_order)

    def signature(self, key: str) -> str:
        """See `harness.metrics.base.Metric`; the settings are spelt as sacrebleu spells them."""
        effective, space = _yes_no(self._effective_order), _yes_no(self._whitespace)
        name = f"chrF{self._beta}{'+' * WORD_ORDERS[key]}"
        return f"{name}|nrefs:var|case:mixed|eff:{effective}|nc:{CHAR_ORDER}|nw:{WORD_ORDERS[key]}|space:{space}|version:1"

    def _score_one(self, sample: Sample) -> dict[str, float]:
        response = self._ngrams(sample.response)
        if not response[0]:
            return {}
        references = [ngrams for text in sample.references if (ngrams := self._ngrams(text))[0]]
        if not references:
            return {}
        statistics = np.array([_match(response, reference) for reference in references], dtype=np.float64)
        scores: dict[str, float] = {}
        for key, word_order in WORD_ORDERS.items():
            columns = statistics[:, : 3 * (CHAR_ORDER + word_order)]
            found = self.corpus_scores(key, columns)
            best = int(found.argmax())
            scores[key] = CorpusScore(found[best], columns[best].tolist())
        return scores

    def _ngrams(self, text: str) -> list[Counter[Any]]:
        """Counts of the character n-grams of orders 1 to 6, then of the words and word pairs."""
        characters = text if self._whitespace else "".join(text.split())
        orders: list[Counter[Any]] = [
            Counter([characters[i : i + n] for i in range(len(characters) - n + 1)])
            for n in range(1, CHAR_ORDER + 1)
        ]
        words = _words(text)
        return [*orders, Counter(words), Counter(pairwise(words))]


def f_scores(statistics: FloatArray, *, beta: int, effective_order: bool) -> FloatArray:
    """ChrF from counts.

    Args:
        statistics: Counts [response, reference, matching] for each order, shape [b, 3 * orders].

    Returns:
        Scores in 0..100, shape [b].
    """
    epsilon = 1e-16
    response, reference, matching = (statistics[:, i::3] for i in range(3))
    precision = np.divide(matching, response, out=np.full_like(matching, epsilon), where=response > 0)
    recall = np.divide(matching, reference, out=np.full_like(matching, epsilon), where=reference > 0)
    if not effective_order:
        by_order = _f_beta(precision, recall, beta, where_zero=epsilon)
        smoothed: FloatArray = 100 * by_order.sum(axis=1) / by_order.shape[1]
        return smoothed
    present = (response > 0) & (reference > 0)
    orders = np.maximum(present.sum(axis=1), 1)
    mean_precision = (precision * present).sum(axis=1) / orders
    mean_recall = (recall * present).sum(axis=1) / orders
    return 100 * _f_beta(mean_precision, mean_recall, beta, where_zero=0.0)


def _f_beta(precision: FloatArray, recall: FloatArray, beta: int, *, where_zero: float) -> FloatArray:
    denominator = beta**2 * precision + recall
    score: FloatArray = (1 + beta**2) * precision * recall
    scaled: FloatArray = np.divide(
        score, denominator, out=np.full_like(score, where_zero), where=denominator > 0
    )
    return scaled


def _match(response: Sequence[Counter[Any]], reference: Sequence[Counter[Any]]) -> list[int]:
    """[response, reference, matching] n-grams of each order; response n-grams of an order that the reference lacks do not count."""
    counts = []
    for ours, theirs in zip(response, reference, strict=True):
        matching = sum(min(count, theirs[gram]) for gram, count in ours.items() if gram in theirs)
        counts += [ours.total() if theirs else 0, theirs.total(), matching]
    return counts


def _words(text: str) -> list[str]:
    """White-space words with one punctuation mark split off the end, else off the front, as chrF++.py does."""
    words: list[str] = []
    for word in text.split():
        if len(word) == 1:
            words.append(word)
        elif word[-1] in _PUNCTUATION:
            words += [word[:-1], word[-1]]
        elif word[0] in _PUNCTUATION:
            words += [word[0], word[1:]]
        else:
            words.append(word)
    return words


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"


def from_options(_options: Options) -> Chrf:
    """Build from task metadata; chrF has no options there."""
    return Chrf()


def corpus_scorer(_options: Options, key: str) -> ScoreFunction:
    """See `harness.metrics.base.Family`."""
    return partial(Chrf().corpus_scores, key)


def empty_statistics(_key: str, statistics: Sequence[float]) -> tuple[float, ...]:
    """Counts of an empty response: the reference keeps its n-grams, none of which is found.

    As in sacrebleu, where an empty hypothesis adds its reference to the recall of the corpus and nothing to precision; a response
    that matches nothing costs more, since it lowers precision too. Of several references, the counts are of the one that the
    response in hand came closest to; sacrebleu would take the first.
    """
    return tuple(count if i % 3 == 1 else 0.0 for i, count in enumerate(statistics))


FAMILY = Family(
    scores=SCORES,
    from_options=from_options,
    corpus_scorer=corpus_scorer,
    empty_statistics=empty_statistics,
)
