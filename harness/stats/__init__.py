"""Intervals and paired tests: every uncertainty that a board prints comes from here."""

from harness.stats.bootstrap import Interval, bootstrap_interval, bootstrap_statistic
from harness.stats.paired import Difference, compare_means, compare_rates, compare_statistics, holm, mcnemar
from harness.stats.wilson import wilson_interval

__all__ = [
    "Difference",
    "Interval",
    "bootstrap_interval",
    "bootstrap_statistic",
    "compare_means",
    "compare_rates",
    "compare_statistics",
    "holm",
    "mcnemar",
    "wilson_interval",
]
