"""The factual rate: the share of a model's response windows that its own attention shows to be grounded (Lookback Lens).

One teacher-forced pass over prompts and responses after generation; see `harness.lookback.extraction` for the definition.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import HarnessError
from harness.metrics.base import CorpusScore, FloatArray, Sample
from harness.stats.bootstrap import ScoreFunction

if TYPE_CHECKING:
    from harness.lookback.classifier import Classifier
    from harness.lookback.encoding import LanguageModel
    from harness.lookback.scoring import Window

OPTIONS: Mapping[str, Any] = {
    "lookback_classifier": None,  # a file, or "shipped": the package's own for models like the evaluated one
    "lookback_model": None,  # reads the responses in place of the evaluated model
}
SHIPPED = "shipped"
AT_HALF, AT_THRESHOLD = "factual_rate", "factual_rate_at_threshold"
MEAN_P, WHOLLY = "factual_mean_p", "factual_responses"

_log = logging.getLogger(__name__)
_HOW = (
    "To get the factual rate: fit a classifier for the model (harness lookback fit --help) and pass "
    "--metadata lookback_classifier=FILE."
)


class WindowShare(CorpusScore):
    """A response's share of windows, which carries the windows for the sample log."""

    windows: tuple[tuple[int, int, float], ...]
    """Start and end (characters of the stripped response) and probability of being factual, of each window."""

    def __new__(
        cls,
        score: float,
        statistics: Sequence[float],
        windows: Sequence[tuple[int, int, float]] = (),
    ) -> WindowShare:
        """A share with its counts and windows."""
        self = super().__new__(cls, score, statistics)
        self.windows = tuple(windows)
        return self

    def __getnewargs__(self) -> Any:  # pickled between ranks
        return float(self), self.statistics, self.windows


class Lookback:
    """The factual rate and its relatives, each in 0..1.

    Windows of all responses are pooled; the interval resamples responses. `factual_responses` is the share of responses
    whose windows are all factual.

    Args:
        classifier: A file, ``shipped``, or None.
        model: Path or hub name of a model that reads the responses in place of the evaluated one.
    """

    keys: Mapping[str, bool | None] = {AT_HALF: True, AT_THRESHOLD: True, MEAN_P: True, WHOLLY: True}
    corpus_keys = frozenset({AT_HALF, AT_THRESHOLD, MEAN_P})

    def __init__(self, classifier: str | None = None, model: str | None = None) -> None:
        self._wanted = classifier
        self._model_path = model
        self._ready: tuple[LanguageModel, Classifier] | None = None
        self._label = ""
        self.absent: dict[str, str] = {}

    def prepare(self, model: LanguageModel | None) -> None:
        """Find the reading model and the classifier that fits it, before anything is generated.

        Args:
            model: The evaluated model; None if its attention cannot be read.

        Raises:
            HarnessError: If a classifier was named and cannot be used.
        """
        try:
            self._prepare(model)
        except HarnessError as error:
            if self._wanted not in (None, SHIPPED):
                raise
            self._give_up(str(error))

    def _prepare(self, model: LanguageModel | None) -> None:
        from harness.lookback.classifier import fingerprint, load, shipped_for
        from harness.lookback.extraction import attention_kind, head_layout
        from harness.lookback.local import load_model

        if self._wanted is None:
            self._give_up(f"no lookback classifier was given. {_HOW}")
            return
        named = None if self._wanted == SHIPPED else load(Path(self._wanted).expanduser())
        reader = load_model(self._model_path) if self._model_path else model
        if reader is None:
            raise HarnessError(
                "the evaluated model runs in an engine that does not show its attention",
                "Name a local copy that reads the responses afterwards: --metadata lookback_model=PATH.",
            )
        if named is not None:
            self._label = Path(self._wanted).stem
            classifier = named
            if classifier.made_for and dict(classifier.made_for) != fingerprint(reader.model.config):
                _log.warning(
                    "%s was fitted on a model of another kind: %s", self._wanted, dict(classifier.made_for)
                )
        else:
            found = shipped_for(reader.model.config)
            if found is None:
                self._give_up(f"no shipped lookback classifier fits {reader.name}. {_HOW}")
                return
            self._label, classifier = found
        layout, kind = head_layout(reader.model), attention_kind(reader.model)
        problem = classifier.problem_with(layout, kind, reader.name)
        if problem is not None:
            raise problem
        self._ready = reader, classifier

    def _give_up(self, reason: str) -> None:
        sentences = [" ".join(line.split()).removesuffix(".") for line in reason.splitlines()]
        self.absent = dict.fromkeys(self.keys, ". ".join(sentences) + ".")
        _log.warning("no factual rate: %s", self.absent[AT_HALF])

    def score(self, samples: Sequence[Sample]) -> list[dict[str, float]]:
        """See `harness.metrics.base.Metric`; a response of no token, or a prompt without its document, has no score."""
        scores: list[dict[str, float]] = [{} for _ in samples]
        if self._ready is None:
            return scores
        reader, classifier = self._ready
        from harness.lookback.encoding import encode
        from harness.lookback.scoring import ratios_of, score_windows

        placed = {
            i: encoded
            for i, sample in enumerate(samples)
            if sample.document_end is not None
            and (encoded := encode(reader, sample.prompt, sample.document_end, sample.raw))
        }
        ratios = ratios_of(reader, list(placed.values()))
        windows = score_windows(classifier, list(placed.values()), ratios)
        for i, found in zip(placed, windows, strict=True):
            scores[i] = _scores(found, classifier.threshold)
        self._report(len(samples), [encoded.round_trip for encoded in placed.values()])
        return scores

    def _report(self, n: int, round_trips: Sequence[bool]) -> None:
        if round_trips:
            share = sum(round_trips) / len(round_trips)
            level = logging.INFO if share > 0.99 else logging.WARNING
            _log.log(
                level, "lookback: %.1f%% of responses are the same text after tokenising again", 100 * share
            )
        if n > len(round_trips):
            _log.warning(
                "lookback: %d responses had no token or no document to look at", n - len(round_trips)
            )

    def corpus_scores(self, _key: str, sums: FloatArray, /) -> FloatArray:
        """See `harness.metrics.base.CorpusMetric`; the statistics are a sum over windows and their number."""
        return pooled(sums)

    def signature(self, key: str) -> str:
        """See `harness.metrics.base.Metric`."""
        if self._ready is None:
            return f"{key}|lookback|classifier:none|version:1"
        _, classifier = self._ready
        rule = {
            AT_HALF: "p>=0.5",
            AT_THRESHOLD: f"p>={classifier.threshold:.6g}",
            MEAN_P: "mean",
            WHOLLY: "all p>=0.5",
        }[key]
        reader = "other" if self._model_path else "evaluated"
        return (
            f"{key}|lookback|classifier:{self._label}:{classifier.digest}|windows:8/1|{rule}"
            f"|attention:{classifier.kind}|reader:{reader}|ratios:{classifier.convention}|version:1"
        )


def _scores(windows: Sequence[Window], threshold: float) -> dict[str, float]:
    p = np.array([window.p for window in windows]).round(
        4
    )  # as logged: the log then gives the headline exactly
    n = len(p)
    at_half, at_threshold = (p >= 0.5).sum(), (p >= threshold).sum()
    logged = [(*window.span, float(rounded)) for window, rounded in zip(windows, p, strict=True)]
    return {
        AT_HALF: WindowShare(at_half / n, (float(at_half), n), logged),
        AT_THRESHOLD: CorpusScore(at_threshold / n, (float(at_threshold), n)),
        MEAN_P: CorpusScore(float(p.mean()), (float(p.sum()), n)),
        WHOLLY: float(at_half == n),
    }


def pooled(sums: FloatArray) -> FloatArray:
    """Sums over windows, shape [b, 2], to means over windows, shape [b]."""
    shares: FloatArray = sums[:, 0] / sums[:, 1]
    return shares


def corpus_scorer(_options: Mapping[str, Any], key: str) -> ScoreFunction | None:
    """See `harness.metrics.registry.corpus_scorer`."""
    return partial(pooled) if key in Lookback.corpus_keys else None


def from_options(options: Mapping[str, Any]) -> Lookback:
    """Build from task metadata."""
    return Lookback(options["lookback_classifier"], options["lookback_model"])
