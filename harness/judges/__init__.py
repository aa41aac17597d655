"""Judges: models that say how probable it is that a source supports a text.

>>> judge = load("hhem-2.1")
>>> judge.score([(article, summary), (article, sentence)])
"""

from harness.judges.judge import Counts, Identity, Judge, Pair
from harness.judges.load import load

__all__ = ["Counts", "Identity", "Judge", "Pair", "load"]
