"""What a metric is, what a score is, and what is known of a family of scores before it is built."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np

from harness.stats.bootstrap import ScoreFunction
from harness.stats.held_out import HeldOut
from harness.stats.ties import FloatArray

if TYPE_CHECKING:
    from harness.models.load import LanguageModel

__all__ = ["CorpusScore", "Family", "FloatArray", "Kind", "Metric", "Options", "Sample", "Score", "Unit"]

Kind = Literal["faithfulness", "overlap", "style", "answers", "other"]
"""What a score speaks of, in the order in which scores are shown: faithfulness to the source, overlap with the references,
how a response is written, and whether there is one; ``other`` is what another author's task measures."""
Unit = Literal["share", "of 100", "words", "slots", "items", "points"]
"""``share``: a part of 1, or an F measure or similarity of at most 1; ``of 100``: what its authors define in 0..100;
``words``, ``slots`` and ``items``: counts of these for each response; ``points``: of any other scale, such as a judge's 1 to 5."""
COUNTS: tuple[Unit, ...] = ("words", "slots", "items")
"""Units that are counts, printed as they are."""
Options = Mapping[str, Any]

_ROUNDING = 1e-5
"""Of float32: the BERTScore of two equal texts is 1.0000001 on some processors."""


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
    truncated: bool | None = None
    """Whether the response was cut at the limit on its tokens; None where nobody knows."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """What the numbers under one key are. Boards, plots and tests read it here, and hold no list of names.

    Raises:
        ValueError: If a field is none of what it may be; a record that describes its own scores may hold anything.
    """

    title: str
    """One plain phrase for headings, in lower case."""
    kind: Kind
    unit: Unit = "share"
    higher_is_better: bool | None = True
    """None: neither direction is better."""
    low: float | None = 0.0
    """Least value that the definition allows; None: any."""
    high: float | None = 1.0
    """Greatest value that the definition allows; None: any."""
    corpus: bool = False
    """The headline is computed on counts summed over the corpus (`CorpusScore`), and is no mean over samples."""
    leading: bool = False
    """The one score of its family that is shown where nobody chose; a family has at most one."""

    def __post_init__(self) -> None:
        bounds = [bound for bound in (self.low, self.high) if bound is not None]
        numbers = all(isinstance(bound, int | float) for bound in bounds)
        fits = {
            "title": isinstance(self.title, str),
            "kind": self.kind in get_args(Kind),
            "unit": self.unit in get_args(Unit),
            "higher_is_better": self.higher_is_better in (True, False, None),
            "low and high": numbers and (len(bounds) < 2 or bounds[0] < bounds[1]),
        }
        if wrong := [name for name, fit in fits.items() if not fit]:
            raise ValueError(f"a score's {', '.join(wrong)} cannot be so: {self}")

    @property
    def scale(self) -> float:
        """What a value is multiplied by when printed: shares become percent."""
        return 100.0 if self.unit == "share" else 1.0

    def holds(self, value: float) -> bool:
        """Whether a value, of a sample or a headline, lies in the range, up to float32's rounding. NaN does not."""
        low = -math.inf if self.low is None else self.low - _ROUNDING * max(1.0, abs(self.low))
        high = math.inf if self.high is None else self.high + _ROUNDING * max(1.0, abs(self.high))
        return low <= value <= high and math.isfinite(value)


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


class Metric(ABC):
    """A family of scores computed together, such as rougeL and rougeLsum.

    A metric must have `scores`, `score` and `signature`; the rest has defaults.
    """

    scores: Mapping[str, Score]
    """What each key is that `score` may return."""
    absent: Mapping[str, str] = MappingProxyType({})
    """Keys that this run will not have, with the reason."""

    @abstractmethod
    def score(self, samples: Sequence[Sample]) -> list[dict[str, float]]:
        """Score all answered samples of a task at once, in order.

        A sample that the metric cannot score lacks the key: it is counted as failed, never scored 0. A key whose `Score` says
        ``corpus`` holds a `CorpusScore`.
        """

    @abstractmethod
    def signature(self, key: str) -> str:
        """Everything one must know to compute the score again: ``name|setting:value|...|version:...``."""

    def prepare(self, model: LanguageModel | None) -> None:  # noqa: B027  # most metrics need no model
        """Called before anything is generated, with the evaluated model; None if its attention cannot be read.

        Raises:
            HarnessError: If what the user named cannot be used: now, not after hours of generation.
        """

    def check_sources(self, sources: Sequence[str]) -> None:  # noqa: B027  # most metrics take any
        """Called before anything is generated, with what the responses will be held against.

        Raises:
            HarnessError: If the metric means nothing on such texts.
        """

    def held_out(self) -> dict[str, HeldOut | None]:
        """For each key that a fitted model gives: how well it tells faithful texts from others; None where nobody has said."""
        return {}

    def counts(self) -> dict[str, int]:
        """What happened to the samples of the last `score`, to be summed over processes and reported beside the scores."""
        return {}

    def corpus_scores(self, key: str, sums: FloatArray, /) -> FloatArray:
        """Map statistics summed over each of b corpora, shape [b, k], to b scores, shape [b]."""
        raise NotImplementedError(f"{type(self).__name__}: {key} is a mean over samples, no corpus score")


def rates(sums: FloatArray) -> FloatArray:
    """Corpus scores that are one count for each of another.

    Args:
        sums: The two counts summed, shape [b, 2].

    Returns:
        Rates, 0 or more, shape [b]; 0 where there is nothing to count.
    """
    found: FloatArray = np.divide(sums[:, 0], sums[:, 1], out=np.zeros(len(sums)), where=sums[:, 1] > 0)
    return found


def is_true(option: object) -> bool:
    """An option that is yes or no, as Python, JSON or a shell word gives it."""
    return str(option).lower() == "true"


def _none_known(_key: str, _statistics: Sequence[float]) -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class Family:
    """What is known of a metric before it is built: the ``FAMILY`` of its module, which `harness.metrics.registry` reads.

    Importing the module loads neither torch nor a model.
    """

    scores: Mapping[str, Score]
    """Every score that it can give under some options, in the order in which they are shown."""
    from_options: Callable[[Options], Metric]
    """Builds the metric from its options, all of them given.

    Raises:
        HarnessError: If an option is wrong, or something is missing on this machine.
    """
    options: Options = field(default_factory=dict)
    """The metadata keys that it reads, with their defaults."""
    contradiction: Callable[[str, str, Options], str | None] | None = None
    """For a family that needs files to be built (a model, a word list), which only the machine that scored may have.

    (key, stated signature, options) to what of the signature contradicts the options, in one phrase that follows "its
    signature"; None if nothing does. Library versions and hashes of weights contradict no option. Without this function, the
    family is built and its signature must be the stated one.
    """
    corpus_scorer: Callable[[Options, str], ScoreFunction] | None = None
    """(options, key of a corpus score) to how it follows from summed statistics [b, k], without anything that scored."""
    empty_statistics: Callable[[str, Sequence[float]], tuple[float, ...] | None] = _none_known
    """(key, statistics of a sample) to what they would be had the response been empty; see `registry.empty_statistics`."""

    def __post_init__(self) -> None:
        corpus = [key for key, score in self.scores.items() if score.corpus]
        if corpus and self.corpus_scorer is None:
            raise ValueError(f"{', '.join(corpus)}: a family with corpus scores needs a corpus_scorer")
        if sum(score.leading for score in self.scores.values()) > 1:
            raise ValueError(f"{', '.join(self.scores)}: a family has at most one leading score")

    def chosen(self, options: Options) -> dict[str, Any]:
        """Its own options out of a task's metadata, with defaults; the rest is ignored."""
        return {name: options.get(name, default) for name, default in self.options.items()}

    def build(self, options: Options) -> Metric:
        """The metric from a task's metadata; errors as in `from_options`."""
        return self.from_options(self.chosen(options))
