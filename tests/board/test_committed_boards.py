"""Every board that is committed follows from its committed records, and those from the texts that they hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.board import verify
from harness.board.spec import read_spec
from harness.cli import main
from harness.metrics.lookback import SCORES as OF_THE_LENS
from harness.records import load_documents, load_record
from harness.records.deep import recompute

ROOT = Path(__file__).resolve().parents[2]
SPECS = sorted(path for path in ROOT.glob("leaderboards/*.json") if "." not in path.stem)
RECORDS = [spec.parent / row["record"] for spec in SPECS for row in read_spec(spec).rows]


def test_there_is_a_board() -> None:
    assert SPECS
    assert RECORDS


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)
def test_every_cell_follows_from_the_records(spec: Path) -> None:
    assert len(verify(spec).spec.rows) == len(read_spec(spec).rows)


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem[:-53])
def test_every_score_by_rule_is_that_of_its_text(path: Path) -> None:
    record = load_record(path)
    found = recompute(record, load_documents(record, path))
    assert found.problems == []
    judged = {key for key in record.scores if key.startswith("factual_consistency")}
    assert found.left.keys() == (OF_THE_LENS.keys() | judged) & record.scores.keys()
    assert {
        "oracle_faithfulness",
        "rougeL",
        "rougeLsum",
        "chrf",
        "chrf++",
        "length",
        "coverage",
        "density",
    } <= set(found.keys)


@pytest.mark.slow
@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)
def test_the_judge_says_the_same_again(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--deep", "--judge", str(spec)]) == 0
    printed = capsys.readouterr().out
    for line in printed.splitlines():
        if "not computed again" in line:
            assert "model's attention" in line
    assert printed.count("factual_consistency_rate") == printed.count("    computed again from the texts")


def test_judge_needs_deep(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--judge", str(SPECS[0])]) == 2
    assert "Add --deep" in capsys.readouterr().err
