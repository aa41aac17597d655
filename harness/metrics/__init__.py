"""Metrics on (source, references, response): pure functions of texts that know nothing of lm-eval.

`suite` scores a whole task at once, `registry` names the metric families, `base` says what a metric is.
"""

from harness.metrics.base import CorpusScore, Metric, Sample
from harness.metrics.suite import Suite, Summary

__all__ = ["CorpusScore", "Metric", "Sample", "Suite", "Summary"]
