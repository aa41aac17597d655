"""The examples run as they stand, offline, and end in the result that they promise."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

Example = Callable[[str], str]
PERCENT = r"(\d+\.\d)%"


@pytest.fixture
def example(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Example:
    """Runs an example in an empty folder and returns what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(name: str) -> str:
        capsys.readouterr()
        runpy.run_path(str(root / "examples" / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_each_example_is_run_and_short(root: Path) -> None:
    tested = set(re.findall(r'example\("(\w+)"\)', Path(__file__).read_text("utf-8")))
    assert {path.stem for path in (root / "examples").glob("*.py")} == tested
    assert all(len(path.read_text("utf-8").splitlines()) < 50 for path in (root / "examples").glob("*.py"))


def test_evaluate_a_model(example: Example, tmp_path: Path) -> None:
    printed = example("evaluate_a_model")
    rows = re.findall(r"(?m)^(\S+) +(\d+\.\d{3}) +(\d+\.\d{3}) to (\d+\.\d{3}) +n = 100$", printed)
    scores = {key: tuple(map(float, numbers)) for key, *numbers in rows}
    assert {"oracle_faithfulness", "rougeL", "factual_consistency_rate"} <= scores.keys()
    assert all(low <= value <= high for value, low, high in scores.values())
    assert 0.7 < scores["oracle_faithfulness"][0] < 0.98  # a good teacher, and no perfect one
    assert re.search(r"(?m)^The first response, (not )?faithful: +[A-Z].+\.$", printed)
    assert (tmp_path / printed.rsplit(": ", 1)[1].strip()).is_dir()


def test_compare_two_models(example: Example) -> None:
    printed = example("compare_two_models")
    assert re.match(r"teacher is better than student on oracle_faithfulness: \+\d\d\.\d points", printed)
    rows = re.findall(r"(?m)^(\w+) +\+(0\.\d{3}) +\+(0\.\d{3}) to \+(0\.\d{3}) +p = 0\.0000", printed)
    assert [key for key, *_ in rows] == ["oracle_faithfulness", "rougeL"]
    assert all(float(low) < float(delta) < float(high) for _, delta, low, high in rows)


@pytest.mark.slow
def test_distil_a_student(example: Example) -> None:
    printed = example("distil_a_student")
    rows = re.findall(
        rf"(?m)^(\w[\w ]+\w) +faithful {PERCENT}, 95% interval {PERCENT} to {PERCENT}$", printed
    )
    alone, distilled = (tuple(map(float, numbers)) for _, *numbers in rows)
    assert all(low < value < high for value, low, high in (alone, distilled))
    assert 2 < distilled[0] - alone[0] < 20  # 8.6 points where this was written
    assert re.search(r"student (is better than|and) twin on oracle_faithfulness: \+", printed)
