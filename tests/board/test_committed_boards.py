"""Every board that is committed follows from its committed records."""

from pathlib import Path

import pytest

from harness.board import verify
from harness.board.spec import read_spec

ROOT = Path(__file__).resolve().parents[2]
SPECS = sorted(path for path in ROOT.glob("leaderboards/*.json") if "." not in path.stem)


def test_there_is_a_board():
    assert SPECS


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)
def test_every_cell_follows_from_the_records(spec: Path):
    assert verify(spec) == len(read_spec(spec)[0].rows)
