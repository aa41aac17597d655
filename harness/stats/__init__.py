"""Intervals and paired tests: every uncertainty that a board prints comes from here."""

from harness.stats.bootstrap import Interval, bootstrap_interval, bootstrap_statistic
from harness.stats.wilson import wilson_interval

__all__ = ["Interval", "bootstrap_interval", "bootstrap_statistic", "wilson_interval"]
