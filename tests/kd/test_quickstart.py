"""The whole way from nothing to a verified board, on a few rows, with the shipped models."""

from pathlib import Path

import pytest
from harness_kd.studies.quickstart import Quickstart, describe, run

from harness.board import publish, verify
from harness.cli import main
from harness.errors import HarnessError


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Quickstart:
    return Quickstart(output=tmp_path_factory.mktemp("quickstart") / "out", rows=96, documents=24, epochs=1)


@pytest.fixture(scope="module")
def board(small: Quickstart) -> Path:
    return run(small, say=lambda _: None)


def test_the_board_has_every_row_its_verdict_and_its_conditions(board: Path) -> None:
    text = board.read_text()
    for label in ("teacher", "student, SFT", "student, KD ratio 10", "student, untuned", "references"):
        assert f"| {label} " in text
    assert "McNemar exact" in text
    assert "made-up miniature data" in text
    assert "clean references" in text


def test_every_cell_follows_from_the_records(board: Path) -> None:
    found = verify(board.with_suffix(".json"))
    assert sorted(row.kind for row in found.rows) == ["gold", *["measured"] * 4]
    assert len(found.comparisons) == 1


def test_a_second_call_does_nothing_again_and_gives_the_same_board(small: Quickstart, board: Path) -> None:
    def stamps() -> dict[Path, int]:
        kept = [path for path in small.output.rglob("*") if path.is_file() and path.name != "quickstart.json"]
        return {
            path: path.stat().st_mtime_ns
            for path in kept
            if path.suffix in (".safetensors", ".jsonl", ".arrow")
        }

    before, text = stamps(), board.read_text()
    assert run(small, say=lambda _: None).read_text() == text
    assert stamps() == before


def test_another_setting_in_the_same_folder_is_refused_by_name(small: Quickstart, board: Path) -> None:
    other = Quickstart(output=small.output, rows=96, documents=24, epochs=1, kd_ratio=1.0)
    with pytest.raises(HarnessError, match=r"kd_ratio is 10\.0, asked for 1\.0"):
        run(other, say=lambda _: None)


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(HarnessError, match="not empty"):
        run(Quickstart(output=tmp_path), say=lambda _: None)


def test_an_edited_board_fails_and_says_where(board: Path) -> None:
    text = board.read_text()
    try:
        board.write_text(text.replace("| 24 | ", "| 25 | ", 1))
        with pytest.raises(HarnessError, match=r"\| 25 \|"):
            verify(board.with_suffix(".json"))
    finally:
        board.write_text(text)


def test_prose_around_the_board_survives_publishing(board: Path) -> None:
    text = board.read_text()
    try:
        board.write_text("My words before.\n" + text + "My words after.\n")
        published = publish(board.with_suffix(".json")).read_text()
        assert published == "My words before.\n" + text + "My words after.\n"
    finally:
        board.write_text(text)


def test_an_edited_record_is_found_out(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = next(board.parent.glob("records/*/student-SFT-*.jsonl"))
    text = record.read_text()
    try:
        record.write_text(text.replace('"oracle_faithfulness":0.0', '"oracle_faithfulness":1.0', 1))
        assert main(["verify", str(board.with_suffix(".json"))]) == 2
        assert record.name in capsys.readouterr().err
    finally:
        record.write_text(text)


def test_compare_speaks_plainly(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sft = next(board.parent.glob("records/*/student-SFT-*.jsonl"))
    kd = next(board.parent.glob("records/*/student-KD-ratio-10-*.jsonl"))
    assert main(["compare", str(sft), str(kd), "--scores", "oracle_faithfulness", "chrf"]) == 0
    printed = capsys.readouterr().out
    assert "oracle_faithfulness" in printed.splitlines()[0]
    assert "McNemar exact" in printed  # of a rate
    assert "`chrf`" in printed


def test_records_name_no_path_of_this_machine(board: Path) -> None:
    for record in board.parent.glob("records/*/*.jsonl"):
        assert str(board.parent.parent) not in record.read_text()


def test_dry_run_prints_the_plan_and_writes_nothing(tmp_path: Path) -> None:
    plan = describe(Quickstart(output=tmp_path / "new"))
    assert "2000" in plan
    assert "evaluate 4 models and the references on 1000 articles" in plan
    assert not (tmp_path / "new").exists()
