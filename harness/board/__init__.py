"""Boards: tables that are a function of committed records, so that anyone can recompute each cell."""

from harness.board.markdown import render
from harness.board.publish import publish, verify
from harness.board.spec import BoardSpec
from harness.board.table import Board, Row, read_board

__all__ = ["Board", "BoardSpec", "Row", "publish", "read_board", "render", "verify"]
