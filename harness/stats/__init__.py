"""Intervals and paired tests: every uncertainty that a board prints comes from here."""

from harness.stats.bootstrap import Interval, bootstrap_interval, bootstrap_intervals, bootstrap_statistic
from harness.stats.jackknife import pseudo_values
from harness.stats.mcnemar import mcnemar
from harness.stats.multiple import holm
from harness.stats.paired import (
    FEWEST_FOR_VERDICT,
    Difference,
    compare_means,
    compare_rates,
    compare_statistics,
)
from harness.stats.pairwise import pairwise_p_statistics, pairwise_p_values
from harness.stats.rounding import agrees, rounded, rounded_tree
from harness.stats.wilson import wilson_interval

__all__ = [
    "FEWEST_FOR_VERDICT",
    "Difference",
    "Interval",
    "agrees",
    "bootstrap_interval",
    "bootstrap_intervals",
    "bootstrap_statistic",
    "compare_means",
    "compare_rates",
    "compare_statistics",
    "holm",
    "mcnemar",
    "pairwise_p_statistics",
    "pairwise_p_values",
    "pseudo_values",
    "rounded",
    "rounded_tree",
    "wilson_interval",
]
