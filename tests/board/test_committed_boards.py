"""Every board that is committed follows from its committed records."""

from pathlib import Path

import pytest

from harness.board import verify

ROOT = Path(__file__).resolve().parents[2]
SPECS = sorted(ROOT.glob("leaderboards/*.json"))


def test_there_is_a_board():
    assert SPECS


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)
def test_every_cell_follows_from_the_records(spec: Path):
    assert verify(spec) >= 2
