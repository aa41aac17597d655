"""Fitting a classifier on responses whose hallucinated spans are known, and measuring it.

Source: voidism/Lookback-Lens @ f2846ef (step03_lookback_lens.py): logistic regression, lbfgs, C = 1, no scaling. Deviations: the
stored threshold is the one of the best balanced accuracy on the *training* windows, where the original's is chosen on the test
windows; and training and test rows are split by document, so that no document is in both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.lookback.classifier import Classifier, fingerprint
from harness.lookback.encoding import Encoded, encode
from harness.lookback.extraction import CONVENTION, Ratios, attention_kind
from harness.lookback.rows import Row
from harness.lookback.scoring import ratios_of
from harness.lookback.windows import Span, features, predefined, sliding, token_labels, window_labels
from harness.models.load import LanguageModel
from harness.stats.held_out import HeldOut
from harness.stats.held_out import auroc as area

IntArray = NDArray[np.int64]
SCHEMES: Mapping[str, Callable[[IntArray], list[Span]]] = {
    "predefined": predefined,
    "sliding": lambda labels: sliding(len(labels)),
}
"""How a response is cut into what the classifier sees: its annotated spans and what is between them, or windows of 8."""


@dataclass(frozen=True)
class Example:
    """A response with its ratios and the label of each token."""

    row: Row
    encoded: Encoded
    ratios: Ratios
    labels: IntArray


def read_examples(lm: LanguageModel, rows: Sequence[Row], *, progress: bool = True) -> list[Example]:
    """Let the model read every row.

    Raises:
        HarnessError: If no row has a token of response.
    """
    placed = [
        (row, encoded)
        for row in rows
        if (encoded := encode(lm, row.prompt, row.document_end, row.response)) is not None
    ]
    if not placed:
        raise HarnessError("no row has a response to read", "Give rows with a prompt and a response.")
    ratios = ratios_of(lm, [encoded for _, encoded in placed], progress=progress)
    return [
        Example(row, encoded, found, token_labels(encoded.offsets, row.spans))
        for (row, encoded), found in zip(placed, ratios, strict=True)
    ]


def dataset(examples: Sequence[Example], scheme: str) -> tuple[NDArray[np.float64], IntArray]:
    """Features [n, L * H] and labels [n] (1: factual) of all spans or windows."""
    found, labels = [], []
    for example in examples:
        spans = SCHEMES[scheme](example.labels)
        found.append(features(example.ratios, spans))
        labels.append(window_labels(example.labels, spans))
    return np.concatenate(found), np.concatenate(labels)


def fit(lm: LanguageModel, examples: Sequence[Example], scheme: str, info: Mapping[str, Any]) -> Classifier:
    """Fit a classifier on examples that this model has read.

    Raises:
        HarnessError: If all windows have the same label.
    """
    from sklearn.linear_model import LogisticRegression

    x, y = dataset(examples, scheme)
    if len(set(y.tolist())) < 2:
        what = "factual" if y[0] else "hallucinated"
        raise HarnessError(
            f"all {len(y)} training windows are {what}",
            "Give rows of both kinds, for example responses sampled at temperature 1.",
        )
    regression = LogisticRegression(C=1.0, solver="lbfgs", max_iter=1000).fit(x, y)
    layers, heads = examples[0].ratios.shape[1:]
    weight = np.asarray(regression.coef_, np.float64).reshape(layers, heads)
    classifier = Classifier(
        weight=weight,
        bias=float(regression.intercept_[0]),
        kind=attention_kind(lm.model),
        convention=CONVENTION,
        made_for=fingerprint(lm.model.config),
        info={"scheme": scheme, "windows": len(y), "share_factual": round(float(y.mean()), 4), **info},
    )
    threshold = best_threshold(classifier.probabilities(x), y)
    return Classifier(**{**vars(classifier), "threshold": threshold})


def best_threshold(p: NDArray[np.float64], labels: IntArray) -> float:
    """The probability at which the mean of both classes' accuracies is best."""
    from sklearn.metrics import roc_curve

    false_rate, true_rate, thresholds = roc_curve(labels, p)
    return float(np.clip(thresholds[np.argmax(true_rate - false_rate)], 0.0, 1.0))


def auroc(scores: NDArray[np.float64], labels: IntArray) -> float | None:
    """Probability that a factual window scores above a hallucinated one, ties half; None if a class is missing."""
    found = area(scores, labels)
    return None if np.isnan(found) else found


def evaluate(classifier: Classifier, examples: Sequence[Example], scheme: str) -> float | None:
    """AUROC of a classifier on examples, read by a model of its layout."""
    x, y = dataset(examples, scheme)
    return auroc(classifier.probabilities(x), y)


def held_out(classifier: Classifier, examples: Sequence[Example], scheme: str = "sliding") -> HeldOut:
    """How well a classifier tells windows apart on documents that it was not fitted on; by default the windows that are scored."""
    scores: list[float] = []
    labels: list[int] = []
    documents: list[str] = []
    for example in examples:
        x, y = dataset([example], scheme)
        scores += classifier.probabilities(x).tolist()
        labels += y.tolist()
        documents += [example.row.context] * len(y)
    return HeldOut.measure(scores, labels, documents)


def split(rows: Sequence[Row], test_share: float) -> tuple[list[Row], list[Row]]:
    """(training rows, test rows): by the hash of the document, so that it is the same whatever else is in the file."""

    def place(row: Row) -> float:
        digest = hashlib.sha256(row.context.encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64

    test = [row for row in rows if place(row) < test_share]
    return [row for row in rows if place(row) >= test_share], test


def table(rows: Sequence[tuple[str, str, Mapping[str, float | None]]]) -> str:
    """AUROC in the layout of the paper's table: method, spans, then train, test and transfer."""
    lines = ["| method | spans | train | test | transfer |", "|---|---|---|---|---|"]
    for method, scheme, found in rows:
        cells = ["-" if (v := found.get(k)) is None else f"{v:.3f}" for k in ("train", "test", "transfer")]
        lines.append(f"| {method} | {scheme} | {' | '.join(cells)} |")
    return "\n".join(lines)
