"""Labels of a teacher with another tokenizer, for universal logit distillation.

The teacher reads the same texts in its own tokens, and its cache is an ordinary one. Response tokens are put beside each other in
their order, the teacher's first beside the student's first, as in the authors' code; where the student's response has more tokens,
the rest has no label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from harness_kd.data.examples import Example
from harness_kd.soft_labels.cache import SoftLabelCache
from harness_kd.soft_labels.labels import RANGE, SoftLabels


class RankedLabels:
    """A `harness_kd.soft_labels.online.LabelSource`: for each of the student's tokens the teacher's probabilities, descending."""

    def __init__(self, cache: SoftLabelCache, teachers: Mapping[bytes, Example]) -> None:
        """Translate keys.

        Args:
            teachers: Key of a student's example to the same text in the teacher's tokens.
        """
        self.manifest = cache.manifest
        self._cache, self._teachers = cache, teachers

    def of(self, batch: Sequence[Example]) -> list[SoftLabels]:
        """The labels of each example."""
        return [
            ranked(self._cache.get(self._teachers[example.key].key), example.targets) for example in batch
        ]


def ranked(labels: SoftLabels, targets: int) -> SoftLabels:
    """Labels of ``targets`` tokens with entries by rank; ids are ranks, and a log tail of +inf says that there is no label."""
    sizes = labels.entries_per_token()[:targets]
    ends = sizes.cumsum()
    parts = [np.sort(labels.log_probs[end - size : end])[::-1] for size, end in zip(sizes, ends, strict=True)]
    missing = targets - len(sizes)
    counts = np.zeros((targets, labels.counts.shape[1]), np.int64)
    # ranks stay far below one range of ids, so they all stand in the first
    counts[:, 0] = np.concatenate([sizes, np.ones(missing, np.int64)])
    if sizes.size and int(sizes.max()) >= RANGE:
        raise ValueError("more entries than ids in a range")
    width = labels.log_tail.shape[1]
    return SoftLabels(
        ids=np.concatenate([np.arange(size) for size in counts[:, 0]]).astype(np.uint16),
        log_probs=np.concatenate([*parts, np.zeros(missing, labels.log_probs.dtype)]),
        counts=counts.astype(np.uint16),
        log_tail=np.concatenate([labels.log_tail[:targets], np.full((missing, width), np.inf, np.float16)]),
        log_normalizer=np.concatenate([labels.log_normalizer[:targets], np.zeros(missing, np.float32)]),
    )
