"""Windows of many responses, scored in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tqdm import tqdm

from harness.lookback.classifier import Classifier
from harness.lookback.encoding import Encoded
from harness.lookback.extraction import Ratios, lookback_ratios
from harness.lookback.windows import Span, characters, features, sliding
from harness.models.load import LanguageModel


@dataclass(frozen=True)
class Window:
    """One window of a response."""

    span: Span
    """Characters of the stripped response."""
    p: float
    """Probability that it is factual."""


def ratios_of(lm: LanguageModel, encoded: Sequence[Encoded], *, progress: bool = True) -> list[Ratios]:
    """Lookback ratios of every passage, in order; passages of like length share a batch."""
    order = sorted(range(len(encoded)), key=lambda i: -len(encoded[i].passage.fed))
    found: dict[int, Ratios] = {}
    starts = range(0, len(order), lm.batch_size)
    for start in tqdm(starts, desc="lookback", disable=not progress or len(starts) < 2):
        batch = order[start : start + lm.batch_size]
        ratios = lookback_ratios(lm.model, [encoded[i].passage for i in batch])
        found |= dict(zip(batch, ratios, strict=True))
    return [found[i] for i in range(len(encoded))]


def score_windows(
    classifier: Classifier, encoded: Sequence[Encoded], ratios: Sequence[Ratios]
) -> list[list[Window]]:
    """The sliding windows of each response with their probabilities."""
    scored = []
    for one, found in zip(encoded, ratios, strict=True):
        spans = sliding(len(found))
        probabilities = classifier.probabilities(features(found, spans))
        places = characters(one.offsets, spans)
        scored.append([Window(span, float(p)) for span, p in zip(places, probabilities, strict=True)])
    return scored
