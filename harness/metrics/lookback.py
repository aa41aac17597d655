"""The factual rate: the share of a model's response windows that its own attention shows to be grounded (Lookback Lens).

One teacher-forced pass over prompts and responses after generation; see `harness.lookback.extraction` for the definition.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import HarnessError
from harness.metrics import signatures
from harness.metrics.base import CorpusScore, Family, FloatArray, Metric, Options, Sample, Score, is_true
from harness.stats.bootstrap import ScoreFunction
from harness.stats.held_out import HeldOut

if TYPE_CHECKING:
    from harness.lookback.classifier import Classifier
    from harness.lookback.scoring import Window
    from harness.models.load import LanguageModel

OPTIONS: Options = {
    "lookback_classifier": None,  # a file, or "shipped": the package's own for models like the evaluated one
    "lookback_model": None,  # reads the responses in place of the evaluated model
    "lookback_unproven": False,  # takes a classifier that was no better than chance on held-out documents
    "lookback_optional": False,  # a model that the named classifier does not fit has no factual rate, and is no error
}
SHIPPED = "shipped"
AT_HALF, AT_THRESHOLD = "factual_rate", "factual_rate_at_threshold"
MEAN_P, WHOLLY = "factual_mean_p", "factual_responses"
SCORES = {
    AT_HALF: Score(
        title="share of response windows that the model's attention shows to be grounded",
        kind="faithfulness",
        corpus=True,
        leading=True,
    ),
    AT_THRESHOLD: Score(
        title="share of response windows that the model's attention shows to be grounded, at the classifier's threshold",
        kind="faithfulness",
        corpus=True,
    ),
    MEAN_P: Score(
        title="mean probability that a response window is grounded, by the model's attention",
        kind="faithfulness",
        corpus=True,
    ),
    WHOLLY: Score(
        title="share of responses all of whose windows the model's attention shows to be grounded",
        kind="faithfulness",
    ),
}
_RULES = {AT_HALF: "p>=0.5", AT_THRESHOLD: "p>={threshold}", MEAN_P: "mean", WHOLLY: "all p>=0.5"}
_FORM = (
    "{key}|lookback|classifier:{classifier}:{digest}|windows:8/1|{rule}|attention:{attention}|reader:{reader}|ratios:{ratios}"
    "|version:1"
)

_log = logging.getLogger(__name__)
_UNSEEN = "the evaluated model runs in an engine, or behind an API, that does not show its attention"
_HOW_UNSEEN = (
    "To get the factual rate: fit a classifier for a local copy of the model (harness lookback fit --help) and pass both: "
    "--metadata lookback_classifier=FILE,lookback_model=PATH."
)
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


class Lookback(Metric):
    """The factual rate and its relatives, each in 0..1.

    Windows of all responses are pooled; the interval resamples responses. `factual_responses` is the share of responses
    whose windows are all factual.

    Args:
        classifier: A file, ``shipped``, or None.
        model: Path or hub name of a model that reads the responses in place of the evaluated one.
        unproven: Take a classifier that was no better than chance on held-out documents.
        optional: A model that the named classifier does not fit has no scores, with the reason, as one that none is shipped for.
    """

    scores = SCORES

    def __init__(
        self,
        classifier: str | None = None,
        model: str | None = None,
        *,
        optional: bool = False,
        unproven: bool = False,
    ) -> None:
        self._wanted = classifier
        self._unproven = unproven
        self._optional = optional
        self._model_path = model
        self._ready: tuple[LanguageModel, Classifier] | None = None
        self._label = ""

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
            if self._wanted not in (None, SHIPPED) and not self._optional:
                raise
            self._give_up(str(error))

    def _prepare(self, model: LanguageModel | None) -> None:
        from harness.lookback.classifier import fingerprint, load, shipped_for
        from harness.lookback.extraction import attention_kind, head_layout
        from harness.models.load import load_language_model

        if self._wanted is None:
            unseen = model is None and not self._model_path
            self._give_up(
                f"{_UNSEEN}. {_HOW_UNSEEN}" if unseen else f"no lookback classifier was given. {_HOW}"
            )
            return
        named = (
            None
            if self._wanted == SHIPPED
            else load(Path(self._wanted).expanduser(), unproven=self._unproven)
        )
        reader = load_language_model(self._model_path) if self._model_path else model
        if reader is None:
            raise HarnessError(
                _UNSEEN,
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

    def held_out(self) -> dict[str, HeldOut | None]:
        """See `harness.metrics.base.Metric`."""
        return dict.fromkeys(self.scores, self._ready[1].held_out) if self._ready else {}

    def _give_up(self, reason: str) -> None:
        sentences = [" ".join(line.split()).removesuffix(".") for line in reason.splitlines()]
        self.absent = dict.fromkeys(self.scores, ". ".join(sentences) + ".")
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
        """See `harness.metrics.base.Metric`; the statistics are a sum over windows and their number."""
        return pooled(sums)

    def signature(self, key: str) -> str:
        """See `harness.metrics.base.Metric`."""
        if self._ready is None:
            return f"{key}|lookback|classifier:none|version:1"
        _, classifier = self._ready
        return _form(key).format(
            classifier=self._label,
            digest=classifier.digest,
            threshold=f"{classifier.threshold:.6g}",
            attention=classifier.kind,
            reader=_reader(self._model_path),
            ratios=classifier.convention,
        )


def _form(key: str) -> str:
    return _FORM.replace("{key}", key).replace("{rule}", _RULES[key])


def _reader(model: str | None) -> str:
    return "other" if model else "evaluated"


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


def corpus_scorer(_options: Options, _key: str) -> ScoreFunction:
    """See `harness.metrics.base.Family`."""
    return pooled


def from_options(options: Options) -> Lookback:
    """Build from task metadata; see `OPTIONS`."""
    return Lookback(
        options["lookback_classifier"],
        options["lookback_model"],
        optional=is_true(options["lookback_optional"]),
        unproven=is_true(options["lookback_unproven"]),
    )


def contradiction(key: str, signature: str, options: Options) -> str | None:
    """See `harness.metrics.base.Family`: the names of classifier and reader are known, the classifier's numbers are not."""
    from harness.lookback.classifier import CLASSIFIERS

    wanted = options["lookback_classifier"]
    if wanted is None:
        return "has a score to state where the options name no classifier"
    form = _form(key)
    stated = signatures.read(form, signature)
    if stated is None:
        return f"is not of the form {form}"
    shipped = {path.stem for path in CLASSIFIERS.glob("*.safetensors")} if wanted == SHIPPED else set()
    known = stated["classifier"] in shipped | {Path(signatures.last_part(str(wanted))).stem}
    expected = {
        "classifier": None if known else str(wanted),
        "reader": _reader(options["lookback_model"]),
    }
    return signatures.differing(stated, expected)


FAMILY = Family(
    scores=SCORES,
    from_options=from_options,
    options=OPTIONS,
    contradiction=contradiction,
    corpus_scorer=corpus_scorer,
)
