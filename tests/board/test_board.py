"""Ranks, footnotes, refusals and files of boards."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.board import publish, read_board, verify
from harness.board.cited import read_cited
from harness.board.markdown import escape
from harness.cli import main
from harness.errors import HarnessError
from harness.records import Record, save_record

MakeRecord = Callable[..., Record]
WriteBoard = Callable[..., Path]
GENERATOR = np.random.default_rng(0)
BASE = GENERATOR.beta(5, 3, 80)


def shifted(by: float, spread: float = 0.05) -> list[float]:
    return list(np.clip(BASE + by + GENERATOR.normal(0, spread, len(BASE)), 0, 1))


def test_rows_share_a_rank_unless_a_paired_test_shows_a_difference(
    make_record: MakeRecord, write_board: WriteBoard
) -> None:
    records = {
        "far below": make_record("a", {"quality": shifted(-0.2)}),
        "best": make_record("b", {"quality": shifted(0.0)}),
        "twin": make_record("c", {"quality": shifted(-0.001)}),
        "a little below": make_record("d", {"quality": shifted(-0.06)}),
    }
    board = read_board(write_board(records))
    ranks = {row.label: row.rank for row in board.rows}
    assert ranks == {"best": 1, "twin": 1, "a little below": 3, "far below": 4}
    scores = {row.label: row.scores["quality"] for row in board.rows}
    best, below = scores["best"], scores["a little below"]
    assert best is not None
    assert below is not None
    assert best.low < below.high  # their own intervals overlap; their documents tell them apart


def test_lower_is_better_where_the_score_says_so(make_record: MakeRecord, write_board: WriteBoard) -> None:
    records = {
        name: make_record(name, {"quality": shifted(by)}) for name, by in (("much", 0.0), ("little", -0.3))
    }
    for record in records.values():
        record.scores["quality"]["higher_is_better"] = False
    assert [(row.label, row.rank) for row in read_board(write_board(records)).rows] == [
        ("little", 1),
        ("much", 2),
    ]


def test_the_gold_row_has_no_rank_and_says_what_it_is(
    make_record: MakeRecord, write_board: WriteBoard
) -> None:
    gold = make_record("gold", {"quality": [1.0] * 80}, provenance={"backend": "harness-gold"})
    path = write_board({"model": make_record("m", {"quality": shifted(0)}), "references": gold})
    board = read_board(path)
    assert [(row.label, row.kind, row.rank) for row in board.rows] == [
        ("references", "gold", None),
        ("model", "measured", 1),
    ]
    text = publish(path).read_text()
    assert "| - | references <sup>1</sup> |" in text
    assert "as if a model had written them" in text


def test_every_deviation_has_a_footnote(make_record: MakeRecord, write_board: WriteBoard) -> None:
    odd = make_record(
        "odd",
        {"quality": [None, *shifted(0)[1:]]},
        counts={"n": 80, "shortened": 7},
        provenance={
            "decoding": {"temperature": 0.7},
            "software": {"commit": "abc-dirty", "lm_eval": "0.4.12"},
            "rows_dropped": {"no source": 3},
        },
    )
    path = write_board({"plain": make_record("p", {"quality": shifted(0)}), "odd": odd})
    (row,) = (row for row in read_board(path).rows if row.label == "odd")
    board = read_board(path)
    notes = " ".join(board.footnotes[number - 1] for number in row.footnotes)
    for said in (
        "decoding differ: {'temperature': 0.0} and {'temperature': 0.7}",
        "7 sources were cut",
        "3 no source",
    ):
        assert said in notes
    assert "uncommitted" in notes
    assert (row.n, row.failed) == (80, 1)
    assert [other.footnotes for other in board.rows if other.label == "plain"] == [()]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"provenance": {"documents_sha256": "99" * 32}}, "documents differ"),
        ({"task_version": "2.0"}, r"made_up 2\.0, where one has made_up 1\.0"),
    ],
)
def test_rows_on_other_data_are_refused(
    make_record: MakeRecord, write_board: WriteBoard, changes: dict[str, Any], said: str
) -> None:
    values = {"quality": shifted(0)}
    with pytest.raises(HarnessError, match=said):
        publish(write_board({"one": make_record("a", values), "two": make_record("b", values, **changes)}))


def test_rows_that_read_their_own_attention_may_have_two_classifiers_with_a_footnote(
    make_record: MakeRecord, write_board: WriteBoard
) -> None:
    values = {"quality": shifted(0), "focus": shifted(0)}
    records = {name: make_record(name, values) for name in ("a", "b", "c")}
    for name, classifier in (("a", "small:1"), ("b", "large:2"), ("c", "small:1")):
        records[name].scores["focus"]["signature"] = (
            f"focus|lookback|classifier:{classifier}|reader:evaluated"
        )
    path = write_board(records, columns=["quality", "focus"])
    publish(path)
    board = read_board(path)
    assert {row.label: len(row.footnotes) for row in board.rows} == {"a": 0, "b": 1, "c": 0}
    assert board.footnotes == (
        "focus: by large:2, made for this model's heads; not comparable with rows without this note.",
    )
    with pytest.raises(HarnessError, match="computed in two ways"):  # no ranks from such a score
        publish(write_board(records, columns=["focus", "quality"]))


def test_rows_of_two_judges_are_refused(make_record: MakeRecord, write_board: WriteBoard) -> None:
    records = {name: make_record(name, {"quality": shifted(0)}) for name in ("a", "b")}
    records["b"].scores["quality"]["signature"] = "quality|judge:x|revision:2"
    with pytest.raises(HarnessError, match=r"computed in two ways: quality\|judge:x\|revision:2"):
        publish(write_board(records))


def test_judges_and_revisions_stand_in_the_header(make_record: MakeRecord, write_board: WriteBoard) -> None:
    record = make_record("a", {"quality": shifted(0)})
    record.scores["quality"]["signature"] = "quality|judge:hhem|revision:8e4a2e6|version:1"
    assert "Judge: `hhem @ 8e4a2e6`." in publish(write_board({"a": record})).read_text()


def test_csv_and_json_hold_every_digit(make_record: MakeRecord, write_board: WriteBoard) -> None:
    record = make_record("a", {"quality": shifted(0), "length": [10.0] * 80})
    path = write_board({"=1+1": record})
    publish(path)
    (line,) = csv.DictReader(path.with_suffix(".csv").open())
    assert float(line["quality"]) == record.scores["quality"]["value"]
    assert line["label"] == "'=1+1"
    content = json.loads(path.with_suffix(".results.json").read_text())
    assert content["rows"][0]["scores"]["quality"]["low"] == record.scores["quality"]["low"]
    assert content["rows"][0]["label"] == "=1+1"


@pytest.mark.parametrize("suffix", [".md", ".csv", ".results.json"])
def test_a_file_edited_by_hand_fails_and_says_where(
    make_record: MakeRecord, write_board: WriteBoard, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_board({"a": make_record("a", {"quality": shifted(0)})})
    publish(path)
    assert verify(path) == 1
    file = path.with_suffix(suffix)
    text = file.read_text()
    file.write_text(text.replace("80", "81", 1))
    assert main(["verify", str(path)]) == 2
    said = capsys.readouterr().err
    assert file.name in said
    assert "81" in said
    file.unlink()
    assert main(["verify", str(path)]) == 2
    assert "harness publish" in capsys.readouterr().err


def test_names_are_text_whatever_they_hold(make_record: MakeRecord, write_board: WriteBoard) -> None:
    name = "<script>alert('x')</script> | **bold** [a](b) `c` _d_\nnext"
    hostile = make_record(
        "<script>",
        {"quality": shifted(0)},
        task="../../<b>`x`|y",
        provenance={"software": {"commit": "<img src=x>|", "lm_eval": "<i>"}},
    )
    path = write_board({name: hostile})
    assert [file.parent.parent.name for file in path.parent.rglob("*.jsonl")] == [
        "records"
    ]  # no way out of the folder
    text = publish(path).read_text()
    assert "<img" not in text
    assert "`x`" not in text
    table = [line for line in text.splitlines() if "alert" in line]
    assert table
    for line in table:
        assert "<script>" not in line
        assert "**bold**" not in line
        assert "](b)" not in line
    titles = next(line for line in text.splitlines() if line.startswith("| rank"))
    assert table[0].replace("\\|", "").count("|") == titles.count("|")
    assert escape("a_b __c__") == "a_b &#95;_c_&#95;"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"comparisons": [["a", "b"]]}, "'b', which is no row"),
        ({"columns": []}, "no columns"),
        ({"cited": ["nowhere.json"]}, "no such file of cited results"),
    ],
)
def test_a_wrong_specification_is_refused(
    make_record: MakeRecord, write_board: WriteBoard, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(HarnessError, match=said):
        publish(write_board({"a": make_record("a", {"quality": shifted(0)})}, **changes))


def test_cited_results_need_a_source_and_a_date(
    make_record: MakeRecord, write_board: WriteBoard, tmp_path: Path
) -> None:
    table: dict[str, Any] = {
        "title": "Theirs",
        "source": "Someone <b>",
        "url": "https://example.org/x",
        "accessed": "2026-11-24",
        "how": "a table",
        "columns": ["x", "y"],
        "rows": [{"label": "m", "values": [1.5, None]}],
    }
    file = tmp_path / "theirs.json"
    file.write_text(json.dumps(table))
    path = write_board({"a": make_record("a", {"quality": shifted(0)})}, cited=["theirs.json"])
    text = publish(path).read_text()
    assert "**Not measured here: Theirs.** Someone &lt;b&gt;" in text
    assert "| m | 1.5 |  |" in text
    assert "not_measured_here" in path.with_suffix(".results.json").read_text()
    for change, said in (
        ({"accessed": "today"}, "isoformat"),
        ({"source": " "}, "source is empty"),
        ({"url": "javascript:alert(1)"}, "is no web address"),
        ({"rows": [{"label": "m", "values": [1]}]}, "1 values for 2 columns"),
    ):
        file.write_text(json.dumps(table | change))
        with pytest.raises(HarnessError, match=said):
            read_cited(file)
    file.write_text(json.dumps({"title": "x"}))
    with pytest.raises(HarnessError, match="not a file of cited results"):
        read_cited(file)


def test_a_new_board_from_records_alone(
    make_record: MakeRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [
        str(save_record(make_record(name, {"quality": shifted(by)}), tmp_path / "records"))
        for name, by in (("sft", -0.1), ("kd", 0.0))
    ]
    spec = str(tmp_path / "new.json")
    assert main(["publish", spec, "--records", *files, "--compare", "sft", "kd", "--title", "Mine"]) == 0
    text = (tmp_path / "new.md").read_text()
    assert text.startswith("# Mine")
    assert "kd is better than sft on quality" in text
    assert main(["verify", spec]) == 0
    assert main(["publish", spec, "--records", *files]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["publish", str(tmp_path / "sub" / "x.json"), "--records", *files]) == 2
    assert "lies outside" in capsys.readouterr().err
    assert main(["publish", spec, "--title", "Yours"]) == 2
    assert "--records" in capsys.readouterr().err


def test_models_behind_the_scores_are_named_as_their_signatures_do(
    make_record: MakeRecord, write_board: WriteBoard
) -> None:
    record = make_record("a", {key: shifted(0) for key in ("quality", "rate", "bert")})
    for key, signature in (
        ("quality", "quality|mean|judge:hhem-2.1-open@8e4a2e6e96c7|weights:0123|version:1"),
        ("rate", "rate|lookback|classifier:cnndm:abcd|windows:8/1|version:1"),
        ("bert", "bert|model:roberta-large|layer:17"),
    ):
        record.scores[key]["signature"] = signature
    board = read_board(write_board({"a": record}, columns=["quality", "rate", "bert"]))
    assert board.judges == (
        "hhem-2.1-open@8e4a2e6e96c7",
        "lookback classifier cnndm:abcd",
        "encoder roberta-large",
    )
