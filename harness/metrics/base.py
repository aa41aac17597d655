"""What a metric is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from harness.stats.bootstrap import FloatArray

if TYPE_CHECKING:
    from harness.lookback.encoding import LanguageModel

__all__ = ["CorpusMetric", "CorpusScore", "FloatArray", "Metric", "ModelMetric", "Sample"]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One answered document."""

    source: str
    """The text that the response must be faithful to; empty for a closed-book question."""
    references: tuple[str, ...]
    """One or more correct responses, best first where they differ."""
    response: str
    """What the model wrote, stripped of surrounding white space."""
    prompt: str = ""
    """What the model was given; empty where only texts are scored."""
    document_end: int | None = None
    """Character of ``prompt`` at which the source ends; None if it is not in it."""
    raw: str = ""
    """The response as generated, white space included."""


class CorpusScore(float):
    """A sentence score that carries the statistics it was computed from.

    A corpus score such as chrF is a function of counts summed over the corpus, not a mean of sentence scores. Keeping the
    counts beside the sentence score lets one pass over the texts serve the samples, the corpus score and its bootstrap.
    """

    statistics: tuple[float, ...]
    """Sufficient statistics of this sample; those of all samples of a metric key have the same length."""

    def __new__(cls, score: float, statistics: Sequence[float]) -> Self:
        """A score with its counts."""
        self = super().__new__(cls, score)
        self.statistics = tuple(statistics)
        return self

    def __getnewargs__(self) -> tuple[float, tuple[float, ...]]:  # type: ignore[override]  # pickled between ranks
        return float(self), self.statistics


class Metric(Protocol):
    """A family of scores computed together, such as rougeL and rougeLsum."""

    @property
    def keys(self) -> Mapping[str, bool | None]:
        """Each score's name, and whether higher is better (None: neither)."""

    def score(self, samples: Sequence[Sample]) -> list[dict[str, float]]:
        """Score all answered samples of a task at once, in order.

        A sample that the metric cannot score lacks the key: it is counted as failed, never scored 0. A key whose headline
        is a corpus score holds a `CorpusScore`, and the metric is then a `CorpusMetric`.
        """

    def signature(self, key: str) -> str:
        """Everything one must know to compute the score again: ``name|setting:value|...|version:...``."""


class CorpusMetric(Metric, Protocol):
    """A metric of which some keys are corpus scores."""

    @property
    def corpus_keys(self) -> frozenset[str]:
        """The keys whose samples hold a `CorpusScore`."""

    def corpus_scores(self, key: str, sums: FloatArray, /) -> FloatArray:
        """Map statistics summed over each of b corpora, shape [b, k], to b scores, shape [b]."""


class ModelMetric(Metric, Protocol):
    """A metric that reads the responses with a language model's attention."""

    absent: Mapping[str, str]
    """Keys that this run will not have, with the reason."""

    def prepare(self, model: LanguageModel | None) -> None:
        """Called before anything is generated, with the evaluated model; None if its attention cannot be read.

        Raises:
            HarnessError: If what the user named cannot be used: now, not after hours of generation.
        """
