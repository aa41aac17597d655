"""Boards: markdown tables that are a function of committed records, so that anyone can recompute each cell."""

from harness.board.compare import Comparison, compare
from harness.board.markdown import render
from harness.board.spec import BoardSpec, publish, verify

__all__ = ["BoardSpec", "Comparison", "compare", "publish", "render", "verify"]
