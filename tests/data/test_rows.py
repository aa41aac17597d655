"""One reader of rows, and what each of its users says of wrong ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from harness_kd.data.rows import load_rows

from harness.cli import main
from harness.data.rows import parse_rows, read_rows
from harness.errors import HarnessError
from harness.judges.pairs import read_pairs
from harness.judges.score_file import read_items
from harness.lookback.rows import read_rows as read_lookback_rows


def number_of(row: Mapping[str, Any]) -> int:
    if "n" not in row:
        raise ValueError(f"no n; it has {', '.join(row)}")
    return int(row["n"])


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_in_order_and_the_first_of_them(tmp_path: Path) -> None:
    path = write(tmp_path, {"n": 3}, {"n": 1}, {"m": 2})
    assert read_rows(path, number_of, "Give n.", limit=2) == [3, 1]
    with pytest.raises(HarnessError) as caught:
        read_rows(path, number_of, "Give n.")
    assert (caught.value.problem, caught.value.remedy) == (f"{path}, row 3: no n; it has m", "Give n.")


def test_wrong_rows_are_named_up_to_five_and_counted() -> None:
    rows = [{"n": 1}, *[{"m": i} for i in range(8)]]
    with pytest.raises(HarnessError) as caught:
        parse_rows(rows, "here", number_of, "Give n.")
    assert [f"here, row {i}: no n" in caught.value.problem for i in range(1, 9)] == [
        False,
        *[True] * 5,
        False,
        False,
    ]
    assert "and 3 more rows" in caught.value.problem
    with pytest.raises(HarnessError, match="here: holds no rows"):
        parse_rows([], "here", number_of, "Give n.")


def test_an_error_of_ones_own_is_not_taken_for_a_wrong_row() -> None:
    def parse(row: Mapping[str, Any]) -> None:
        raise HarnessError("no judge", "Get one.")

    with pytest.raises(HarnessError, match=r"^no judge"):
        parse_rows([{}], "here", parse, "")


def test_not_a_number_where_it_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"n": NaN}\n')
    assert read_rows(path, lambda row: row["n"] != row["n"], "", allow_nan=True) == [True]
    with pytest.raises(HarnessError, match="line 1"):
        read_rows(path, lambda row: row["n"], "")


READERS: dict[str, tuple[Callable[[Path], Any], dict[str, Any], str]] = {
    "judge fit": (read_pairs, {"source": "a", "summary": "b", "label": 1}, "no column source or premise"),
    "judge score": (read_items, {"source": "a", "summary": "b"}, "no source; it has: x"),
    "lookback fit": (read_lookback_rows, {"context": "a", "response": "b", "spans": []}, "no 'context'"),
    "train-kd": (
        lambda path: load_rows(str(path)),
        {"prompt": "a", "response": "b"},
        'no field "prompt"; it has x',
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_every_command_says_it_in_the_same_way(name: str, tmp_path: Path) -> None:
    read, good, said = READERS[name]
    assert len(read(write(tmp_path, good, good))) == 2
    with pytest.raises(HarnessError) as caught:
        read(write(tmp_path, good, *[{"x": 1}] * 7))
    assert f"rows.jsonl, row 2: {said}" in caught.value.problem
    assert "row 6" in caught.value.problem
    assert "row 7" not in caught.value.problem
    assert "and 2 more rows" in caught.value.problem
    with pytest.raises(HarnessError, match="holds no rows"):
        read(write(tmp_path))
    with pytest.raises(HarnessError, match="cannot be read"):
        read(tmp_path / "missing.jsonl")


def test_generate_says_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, {"prompt": "a"}, {"x": 1}, {"source": "b"})
    assert (
        main(["generate", str(tmp_path), "--data", str(path), "--output", str(tmp_path / "out.jsonl")]) == 2
    )
    error = capsys.readouterr().err
    assert "rows.jsonl, row 2: no prompt; it has x" in error
    assert "rows.jsonl, row 3: no prompt; it has source" in error
    assert "Each row needs prompt, messages, or a source and --template." in error


def test_items_without_an_id_are_numbered(tmp_path: Path) -> None:
    path = write(tmp_path, *({"source": "a", "summary": "b", **extra} for extra in ({}, {"id": "x"}, {})))
    assert [item.id for item in read_items(path)] == ["1", "x", "3"]
