"""``harness quickstart --real`` on a small stand-in for the pretrained model: the same path, from its rows to its page."""

import csv
import json
from pathlib import Path

import pytest
from harness_kd.studies.real import COLUMNS, Real, run

from harness.cli import main
from harness.errors import HarnessError
from harness.records import load_record
from tests.kd.conftest import make_model


@pytest.fixture
def settings(tmp_path: Path) -> Real:
    """Sixty rows, twelve meanings to describe, and a Llama of three layers that has learnt nothing."""
    model = make_model(tmp_path / "model", num_hidden_layers=3, max_position_embeddings=256)
    for name, meanings in (("devset.csv", 30), ("testset_w_refs.csv", 12)):
        with open(tmp_path / name, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["mr", "ref"])
            for number in range(meanings):
                for words in ("is a pub.", "is a riverside pub."):
                    writer.writerow([f"name[Inn {number}], eatType[pub]", f"Inn {number} {words}"])
    return Real(
        output=tmp_path / "out",
        e2e=tmp_path,
        model=model,
        layers=2,
        rows=40,
        documents=7,
        teacher_epochs=1,
        epochs=1,
        learning_rate=0.01,
    )


def test_from_rows_to_a_board_that_verifies_and_nothing_is_done_twice(settings: Real) -> None:
    board = run(settings, say=lambda line: None)
    spec = json.loads(board.with_suffix(".json").read_text())
    assert [row["label"] for row in spec["rows"]] == [
        "student, KD ratio 1",
        "student, SFT",
        "teacher",
        "teacher, untuned",
    ]
    assert spec["columns"] == list(COLUMNS)
    assert main(["verify", str(board.with_suffix(".json")), "--deep"]) == 0
    for row in spec["rows"]:
        assert len(load_record(board.parent / row["record"]).samples) == settings.documents
    models = settings.output / "models"
    config = json.loads((models / "student-kd" / "config.json").read_text())
    assert config["num_hidden_layers"] == 2
    assert (settings.output / "soft-labels" / "manifest.json").exists()
    before = {path: path.stat().st_mtime_ns for path in settings.output.rglob("*.safetensors")}
    run(settings, say=lambda line: None)
    assert before == {path: path.stat().st_mtime_ns for path in settings.output.rglob("*.safetensors")}


def test_another_setting_needs_another_folder(settings: Real) -> None:
    settings.output.mkdir()
    (settings.output / "quickstart.json").write_text(json.dumps({**settings.identity(), "seed": 1}))
    with pytest.raises(HarnessError, match="holds another quickstart: seed is 1, asked for 0"):
        run(settings, say=lambda line: None)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--real", "--noise", "0.2"], "--noise: not with --real"),
        (["--layers", "4"], "--layers: with --real alone"),
    ],
)
def test_options_of_the_other_study_are_refused(
    options: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["quickstart", *options]) == 2
    assert problem in capsys.readouterr().err
