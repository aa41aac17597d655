"""Calibration: from a judge's raw score to a probability that can be believed, and how far off it is (ECE).

Temperature scaling (Guo et al., 2017) divides the logit by one number; isotonic regression (Zadrozny and Elkan, 2002) fits any
rising curve and needs more data. Both are fitted on pairs that training has not seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from harness.errors import HarnessError
from harness.stats.bootstrap import FloatArray

Method = Literal["none", "temperature", "isotonic"]
METHODS: tuple[Method, ...] = ("none", "temperature", "isotonic")
N_BINS = 10
_EDGE = 1e-7


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A rising map of scores, 0..1 to 0..1."""

    method: Method = "none"
    temperature: float = 1.0
    """Logits are divided by it; above 1 makes a judge less sure."""
    raw: tuple[float, ...] = ()
    """Isotonic: raw scores, rising, between which the map is linear."""
    calibrated: tuple[float, ...] = ()
    """Isotonic: their calibrated scores."""

    @property
    def name(self) -> str:
        """For signatures: the method with what it was fitted to."""
        if self.method == "temperature":
            return f"temperature({self.temperature:.4g})"
        return self.method if self.method == "none" else f"isotonic({len(self.raw)})"

    def apply(self, scores: Sequence[float]) -> list[float]:
        """Calibrated scores; NaN stays NaN, and without a method nothing is touched."""
        if self.method == "none":
            return list(scores)
        values = np.asarray(scores, dtype=np.float64)
        if self.method == "temperature":
            found = _sigmoid(_logit(values) / self.temperature)
        else:
            found = np.where(np.isnan(values), np.nan, np.interp(values, self.raw, self.calibrated))
        return [float(value) for value in found]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``judge.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Calibration:
        """From `to_dict`'s data.

        Raises:
            HarnessError: If the data are no calibration.
        """
        try:
            values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
            made = cls(**values)
            points = np.array([made.raw, made.calibrated], dtype=np.float64)
            good = made.method in METHODS and made.temperature > 0 and bool((np.diff(points) >= 0).all())
            good = good and (made.method != "isotonic" or len(made.raw) > 1)
        except (TypeError, ValueError):
            good = False
        if not good:
            raise HarnessError(
                "judge.json: its calibration is not one", "Fit the judge again: harness judge fit."
            )
        return made


def fit(method: Method, scores: Sequence[float], labels: Sequence[int]) -> Calibration:
    """Fit a calibration.

    Args:
        method: ``temperature`` minimises the log loss; ``isotonic`` the squared error; ``none`` fits nothing.
        scores: Raw scores in 0..1 of pairs that training has not seen.
        labels: 1 for consistent, 0 for not.
    """
    if method == "none":
        return Calibration()
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if method == "temperature":
        from scipy.optimize import minimize_scalar

        logits = _logit(values)

        def log_loss(log_temperature: float) -> float:
            scaled = logits / math.exp(log_temperature)
            return float(np.mean(np.logaddexp(0.0, np.where(truth == 1, -scaled, scaled))))

        best = minimize_scalar(log_loss, bounds=(-3.0, 3.0), method="bounded")
        return Calibration(method="temperature", temperature=math.exp(float(best.x)))
    from sklearn.isotonic import IsotonicRegression

    curve = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(values, truth)
    return Calibration(
        method="isotonic",
        raw=tuple(map(float, curve.X_thresholds_)),
        calibrated=tuple(map(float, curve.y_thresholds_)),
    )


@dataclass(frozen=True)
class Bin:
    """One bin of a reliability plot."""

    mean_score: float
    share_consistent: float
    n: int


def bins(scores: Sequence[float], labels: Sequence[int], n_bins: int = N_BINS) -> list[Bin]:
    """The non-empty bins of equal width over 0..1; a score on an edge belongs to the upper bin."""
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    which = np.minimum((values * n_bins).astype(int), n_bins - 1)
    found = []
    for index in range(n_bins):
        inside = which == index
        if inside.any():
            found.append(Bin(float(values[inside].mean()), float(truth[inside].mean()), int(inside.sum())))
    return found


def ece(scores: Sequence[float], labels: Sequence[int], n_bins: int = N_BINS) -> float:
    """Expected calibration error, 0..1: mean distance of score and share of consistent pairs, over bins by their size.

    Source: Naeini et al. (2015), on the probability of consistent rather than of the predicted class.
    """
    found = bins(scores, labels, n_bins)
    total = sum(b.n for b in found)
    return math.fsum(b.n * abs(b.mean_score - b.share_consistent) for b in found) / total


def reliability_plot(scores: Sequence[float], labels: Sequence[int], *, title: str) -> bytes:
    """A reliability diagram as PNG: share of consistent pairs against mean score, with the number of pairs below."""
    import io

    from matplotlib.figure import Figure

    found = bins(scores, labels)
    figure = Figure(figsize=(4.2, 4.6), layout="constrained")
    top, low = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    top.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    top.plot([b.mean_score for b in found], [b.share_consistent for b in found], marker="o")
    top.set(ylabel="share consistent", title=f"{title}\nECE {ece(scores, labels):.3f}, n = {len(labels)}")
    low.hist(list(scores), bins=N_BINS, range=(0, 1))
    low.set(xlabel="score", ylabel="pairs", xlim=(0, 1))
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120)
    return stream.getvalue()


def _logit(values: FloatArray) -> FloatArray:
    clipped = np.clip(values, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(clipped) - np.log1p(-clipped), dtype=np.float64)


def _sigmoid(values: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-values)), dtype=np.float64)
