"""Corpus scores made linear: what each document contributes to a score of sums.

Source: Tukey (1958); Efron and Tibshirani (1993), sections 11.1 and 11.5 (pseudo-values), for n large the delta method.
"""

from __future__ import annotations

import numpy as np

from harness.stats.bootstrap import ScoreFunction
from harness.stats.ties import FloatArray


def pseudo_values(statistics: FloatArray, fn: ScoreFunction) -> FloatArray:
    """Return one value per document whose mean is the corpus score and whose variance over n is the variance of that score.

    Jackknife pseudo-values, n s - (n - 1) s_without_i, moved by a constant (the jackknife's estimate of bias) so that their mean
    is the score itself. Of a mean they are the scores of the documents.

    Args:
        statistics: Sufficient statistics per document, shape [n, k].
        fn: Maps summed statistics [b, k] to scores [b]; called once with n + 1 rows.

    Returns:
        Shape [n], in the unit of `fn`; for a single document its score.

    Raises:
        ValueError: If the score is not finite for all documents, or for all but one.
    """
    table = np.asarray(statistics, dtype=np.float64)
    n, total = len(table), table.sum(axis=0)
    sums = np.concatenate([total[None, :], total - table]) if n > 1 else total[None, :]
    scores = fn(sums)
    if not np.isfinite(scores).all():
        raise ValueError("the corpus score of some documents is not finite")
    if n == 1:
        return np.array(scores, dtype=np.float64)
    without = scores[1:]
    values: FloatArray = scores[0] + (n - 1) * (without.mean() - without)
    return values
