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
from harness.board.spec import read_spec
from harness.cli import main
from harness.errors import HarnessError
from harness.records import Record, save_record
from harness.stats.rounding import rounded

MakeRecord = Callable[..., Record]
WriteBoard = Callable[..., Path]
JUDGE_SIGNATURE = (
    "judge:embedded@shipped|weights:ab52cc40dc0c|max_tokens:256|calibration:temperature(1.198)|dtype:float32|"
    "transformers:5.23.0|torch:2.13.0|version:1"
)
OF_A_JUDGE = {"factual_consistency_rate": f"factual_consistency_rate|share>=0.5|{JUDGE_SIGNATURE}"}
OF_A_LENS = "factual_responses|lookback|classifier:{}|windows:8/1|all p>=0.5|attention:causal|reader:evaluated|ratios:1|version:1"
GENERATOR = np.random.default_rng(0)
BASE = GENERATOR.beta(5, 3, 80)


def shifted(by: float, spread: float = 0.05) -> list[float]:
    return list(np.clip(BASE + by + GENERATOR.normal(0, spread, len(BASE)), 0, 1))


def test_rows_share_a_rank_unless_a_paired_test_shows_a_difference(
    make_record: MakeRecord, write_board: WriteBoard
) -> None:
    shifts = {"far below": -0.2, "best": 0.0, "twin": -0.001, "a little below": -0.06}
    path = write_board(*(make_record(name, {"quality": shifted(by)}) for name, by in shifts.items()))
    board = read_board(path)
    ranks = {row.label: row.rank for row in board.rows}
    assert ranks == {"best": 1, "twin": 1, "a little below": 3, "far below": 4}
    scores = {row.label: row.scores["quality"] for row in board.rows}
    best, below = scores["best"], scores["a little below"]
    assert best is not None
    assert below is not None
    assert (
        below.low < best.low < below.high < best.high
    )  # their own intervals overlap; their documents tell them apart


def test_lower_is_better_where_the_score_says_so(make_record: MakeRecord, write_board: WriteBoard) -> None:
    rows = [
        make_record(name, {"oracle_extrinsic": [float(i < count) for i in range(80)]})
        for name, count in (("much", 60), ("little", 9))
    ]
    board = read_board(write_board(*rows, columns=["oracle_extrinsic"]))
    assert [(row.label, row.rank) for row in board.rows] == [("little", 1), ("much", 2)]


def test_the_gold_row_has_no_rank_and_says_what_it_is(
    make_record: MakeRecord, write_board: WriteBoard
) -> None:
    gold = make_record("references", {"quality": [1.0] * 80}, provenance={"backend": "harness-gold"})
    path = write_board(make_record("model", {"quality": shifted(0)}), gold)
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
        counts={"shortened": 7},
        provenance={
            "decoding": {"temperature": 0.7},
            "software": {"commit": "abc-dirty", "lm_eval": "0.4.12"},
            "rows_dropped": {"no source": 3},
        },
    )
    board = read_board(write_board(make_record("plain", {"quality": shifted(0)}), odd))
    (row,) = (row for row in board.rows if row.label == "odd")
    notes = " ".join(board.footnotes[number - 1] for number in row.footnotes)
    for said in (
        "decoding differ: {'temperature': 0.0} and {'temperature': 0.7}",
        "7 sources were cut",
        "3 no source",
        "uncommitted",
    ):
        assert said in notes
    entry = row.entries["made_up"]
    assert (entry.record.n, entry.failed) == (80, 1)
    assert [other.footnotes for other in board.rows if other.label == "plain"] == [()]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"provenance": {"documents_sha256": "99" * 32}}, "documents differ"),
        ({"task_version": "2.0"}, r"made_up 2\.0, where one has 1\.0"),
    ],
)
def test_rows_on_other_data_are_refused(
    make_record: MakeRecord, write_board: WriteBoard, changes: dict[str, Any], said: str
) -> None:
    rows = make_record("one", {"quality": shifted(0)}), make_record("two", {"quality": shifted(1)}, **changes)
    with pytest.raises(HarnessError, match=said):
        publish(write_board(*rows))


def test_a_label_is_the_models_name_and_a_run_stands_once(
    make_record: MakeRecord, write_board: WriteBoard, capsys: pytest.CaptureFixture[str]
) -> None:
    sft, kd = make_record("sft", {"quality": shifted(-0.1)}), make_record("kd", {"quality": shifted(0)})
    path = write_board(sft, kd)
    publish(path)
    swapped = json.loads(path.read_text())
    for row, label in zip(swapped["rows"], ("kd", "sft"), strict=True):
        row["label"] = label
    path.write_text(json.dumps(swapped))
    for command in ("publish", "verify"):
        assert main([command, str(path)]) == 2
        assert "the row 'kd' has the record of 'sft'" in capsys.readouterr().err
    for rows, said in (((sft, sft), "stands twice"), ((sft, kd), "")):
        copied = write_board(*rows)
        assert main(["publish", str(copied)]) == (2 if said else 0)
        assert said in capsys.readouterr().err
    weights = sft.provenance["model"]
    renamed = make_record("better name", {"quality": shifted(0)}, provenance={"model": weights})
    assert main(["publish", str(write_board(sft, renamed))]) == 2
    assert "one run in two rows" in capsys.readouterr().err


def test_rows_that_read_their_own_attention_may_have_two_classifiers_with_a_footnote(
    make_record: MakeRecord, write_board: WriteBoard
) -> None:
    lens = OF_A_LENS
    rows = [
        make_record(
            name,
            {"oracle_faithfulness": flips(seed), "factual_responses": flips(seed + 9)},
            signatures={"factual_responses": lens.format(classifier)},
            metric_options={"lookback_classifier": classifier.split(":")[0]},
        )
        for seed, (name, classifier) in enumerate((("a", "small:1"), ("b", "large:2"), ("c", "small:1")))
    ]
    path = write_board(*rows, columns=["oracle_faithfulness", "factual_responses"])
    publish(path)
    board = read_board(path)
    assert {row.label: len(row.footnotes) for row in board.rows} == {"a": 0, "b": 1, "c": 0}
    assert board.footnotes == (
        "factual_responses: by large:2, made for this model's heads; not comparable with rows without this note.",
    )
    with pytest.raises(HarnessError, match="computed in two ways"):  # no ranks from such a score
        publish(write_board(*rows, columns=["factual_responses", "oracle_faithfulness"]))


def flips(seed: int) -> list[float | None]:
    return list((np.random.default_rng(seed).random(80) < 0.6).astype(float))


def test_rows_of_two_judges_are_refused(make_record: MakeRecord, write_board: WriteBoard) -> None:
    key = "factual_consistency_rate"
    other = {key: OF_A_JUDGE[key].replace("embedded@shipped", "hhem-2.1-open@8e4a2e6")}
    rows = [
        make_record("a", {key: flips(1)}),
        make_record("b", {key: flips(2)}, signatures=other, metric_options={"judge": "hhem-2.1-open"}),
    ]
    with pytest.raises(HarnessError, match=r"computed in two ways: .*judge:hhem-2\.1-open@8e4a2e6"):
        publish(write_board(*rows, columns=[key]))


def test_models_behind_the_scores_are_named_for_what_they_are(
    make_record: MakeRecord, write_board: WriteBoard
) -> None:
    columns = {"factual_consistency_rate": flips(1), "factual_responses": flips(2)}
    record = make_record(
        "a",
        columns,
        signatures={"factual_responses": OF_A_LENS.format("cnndm:abcd")},
        metric_options={"judge": "embedded", "lookback_classifier": "cnndm"},
    )
    path = write_board(record, columns=list(columns))
    assert read_board(path).readers == {
        "judge": ("embedded@shipped",),
        "lookback classifier": ("cnndm:abcd",),
    }
    assert "Judge: `embedded@shipped`. Lookback classifier: `cnndm:abcd`." in publish(path).read_text()


def test_one_silent_row_spoils_nothing(make_record: MakeRecord, write_board: WriteBoard) -> None:
    silent = make_record("silent", {"rougeL": [None] * 80, "factual_consistency_rate": [None] * 80})
    rows = [
        make_record("full", {"rougeL": shifted(0), "factual_consistency_rate": flips(1)}),
        make_record("no judge", {"rougeL": shifted(0.02)}),
        silent,
    ]
    path = write_board(
        *rows,
        columns=["rougeL", "factual_consistency_rate"],
        comparisons=[["full", "silent"], ["full", "no judge"]],
    )
    text = publish(path).read_text()
    verify(path)
    board = read_board(path)
    assert [(row.label, row.rank) for row in board.rows][-1] == ("silent", 3)
    assert {row.label: row.scores["factual_consistency_rate"] is None for row in board.rows} == {
        "full": False,
        "no judge": True,
        "silent": True,
    }
    assert "Answered nothing." in text
    assert "silent and full answered no document in common." in text
    assert "with failures counted as failures the difference is -" in text
    assert "Not compared, since one of the two has no such score: `factual_consistency_rate`" in text
    assert "nan" not in text


def test_answering_one_of_eight_shares_no_first_rank(
    make_record: MakeRecord, write_board: WriteBoard
) -> None:
    good = [1.0 if i % 10 else 0.0 for i in range(80)]
    rare = [1.0 if i % 8 == 0 else None for i in range(80)]
    key = "factual_consistency_rate"
    path = write_board(make_record("good", {key: good}), make_record("rare", {key: rare}), columns=[key])
    board = read_board(path)
    assert [(row.label, row.rank) for row in board.rows] == [("good", 1), ("rare", 2)]
    assert board.ranks_failures
    assert "a failed sample counts as the worst score there" in publish(path).read_text()


def test_a_board_of_three_documents_ranks_nobody(make_record: MakeRecord, write_board: WriteBoard) -> None:
    rows = make_record("a", {"quality": [0.1, 0.2, 0.3]}), make_record("b", {"quality": [0.9, 0.9, 0.8]})
    path = write_board(*rows, comparisons=[["a", "b"]])
    text = publish(path).read_text()
    assert {row.rank for row in read_board(path).rows} == {None}
    assert "Too few documents for a verdict between b and a on quality: n = 3" in text
    assert "No ranks" in text
    assert "nan" not in text.lower()


def test_several_tasks_stand_side_by_side(make_record: MakeRecord, write_board: WriteBoard) -> None:
    rows = [
        make_record(name, {"quality": shifted(by + more)}, task=task)
        for name, by in (("sft", -0.1), ("kd", 0.0))
        for task, more in (("news", 0.0), ("talk", -0.05))
    ]
    alone = make_record("one task", {"quality": shifted(0.05)}, task="news")
    path = write_board(*rows, alone, columns=["news/quality", "talk/quality"], comparisons=[["sft", "kd"]])
    text = publish(path).read_text()
    verify(path)
    board = read_board(path)
    assert [column.name for column in board.columns] == ["news/quality", "talk/quality"]
    (line,) = (
        line for line in text.splitlines() if "| one task" in line and "[" in line and "](" not in line
    )
    assert line.count("–") == 1
    (found,) = board.comparisons
    assert [item.tests for item in found.comparison.scores] == [2, 2]
    assert "kd is better than sft on quality in news" in text
    assert read_board(write_board(*rows)).columns == board.columns  # a key alone means every task


def test_ranks_of_a_corpus_score_follow_the_tests_of_the_comparisons(
    make_record: MakeRecord, write_board: WriteBoard
) -> None:
    from harness.metrics.base import Sample
    from harness.metrics.chrf import Chrf
    from harness.metrics.registry import score_of
    from harness.records.compare import compare
    from harness.records.failures import ranking
    from harness.records.record import SampleRecord, scored

    texts = [f"the {word} cat sat on mat {i}" for i, word in enumerate(["red", "blue", "old", "new"] * 15)]
    records = []
    for name, cut in (("whole", 0), ("cut", 4), ("same", 0)):
        responses = [text[cut:] if i % 2 else text for i, text in enumerate(texts)]
        if name == "same":
            responses[3] = responses[3] + "s"
        found = Chrf().score(
            [Sample(source="", references=(t,), response=r) for t, r in zip(texts, responses, strict=True)]
        )
        made = make_record(name, {"chrf": [float(item["chrf"]) for item in found]}, check=False)
        samples = tuple(
            SampleRecord(**{**vars(sample), "statistics": {"chrf": item["chrf"].statistics}})  # type: ignore[attr-defined]
            for sample, item in zip(made.samples, found, strict=True)
        )
        records.append(scored(type(made)(**{**vars(made), "samples": samples})))
    score = score_of("chrf")
    assert score is not None
    table = ranking(records, "chrf", score)
    assert table is not None
    for i, j in ((0, 1), (0, 2), (1, 2)):
        pair = compare({"made_up": records[i]}, {"made_up": records[j]}, [("made_up", "chrf")]).scores[0]
        assert pair.difference is not None
        assert table.p_values[i, j] == pytest.approx(pair.difference.p_value, rel=1e-9)
    assert table.p_values[0, 1] < 1e-3 < table.p_values[0, 2]  # one document tells nobody apart


def test_csv_and_json_hold_the_published_digits(make_record: MakeRecord, write_board: WriteBoard) -> None:
    record = make_record("=1+1", {"quality": shifted(0), "other": [10.0] * 80})
    path = write_board(record)
    publish(path)
    (line,) = csv.DictReader(path.with_suffix(".csv").open())
    assert float(line["quality"]) == record.scores["quality"]["value"] == rounded(float(line["quality"]))
    assert line["label"] == "'=1+1"
    content = json.loads(path.with_suffix(".results.json").read_text())
    assert content["rows"][0]["scores"]["quality"]["low"] == record.scores["quality"]["low"]
    assert content["rows"][0]["label"] == "=1+1"


@pytest.mark.parametrize("suffix", [".md", ".csv", ".results.json", ".html"])
def test_a_file_edited_by_hand_fails_and_says_where(
    make_record: MakeRecord, write_board: WriteBoard, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_board(make_record("a", {"quality": shifted(0)}))
    publish(path)
    assert len(verify(path).rows) == 1
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


def test_one_altered_digit_is_found_wherever_it_stands(
    make_record: MakeRecord, write_board: WriteBoard
) -> None:
    rows = [make_record(name, {"quality": shifted(by)}) for name, by in (("sft", -0.1), ("kd", 0.0))]
    path = write_board(*rows, comparisons=[["sft", "kd"]])
    publish(path)
    generator = np.random.default_rng(0)
    for suffix in (".results.json", ".csv", ".md", ".arrows.svg"):
        file = path.with_suffix(suffix)
        text = file.read_text()
        start = text.index("START -->") if suffix == ".md" else 0
        digits = [i for i, character in enumerate(text) if i > start and character.isdigit()]
        for place in generator.choice(digits, 25, replace=False):
            file.write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])
            with pytest.raises(HarnessError, match="differs from its records"):
                verify(path)
        file.write_text(text)
    verify(path)


def test_what_fails_leaves_nothing_behind(
    make_record: MakeRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [
        str(save_record(make_record(name, {"quality": shifted(0)}, task=task), tmp_path / "records"))
        for name, task in (("a", "one"), ("b", "one"))
    ]
    before = sorted(tmp_path.rglob("*"))
    spec = str(tmp_path / "new.json")
    for options in (["--columns", "nothing"], ["--compare", "a", "nobody"], ["--compare", "a", "a"]):
        assert main(["publish", spec, "--records", *files, *options]) == 2
        capsys.readouterr()
        assert sorted(tmp_path.rglob("*")) == before
    Path(files[0]).write_text("")
    assert main(["publish", spec, "--records", *files]) == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_names_are_text_whatever_they_hold(make_record: MakeRecord, write_board: WriteBoard) -> None:
    name = "<script>alert('x')</script> | **bold** [a](b) `c` _d_\nnext"
    hostile = make_record(
        name,
        {"quality": shifted(0)},
        task="../../<b>`x`-y",
        provenance={"software": {"commit": "<img src=x>|", "lm_eval": "<i>"}},
    )
    path = write_board(hostile)
    assert [file.parent.parent.name for file in path.parent.rglob("*.jsonl")] == [
        "records"
    ]  # no way out of the folder
    text = publish(path).read_text()
    assert "<img" not in text
    assert "`x`" not in text
    table = [line for line in text.splitlines() if "alert" in line and line.startswith("|")]
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
        ({"comparisons": [["a"]]}, "needs two labels"),
        ({"columns": []}, "no columns"),
        ({"columns": ["nothing"]}, "no row has the score nothing"),
        ({"columns": ["other/quality"]}, "of a task that no row has"),
        ({"cited": ["nowhere.json"]}, "no such file of cited results"),
        ({"cited": ["../x.json"]}, "outside the board's folder"),
        ({"samples": "many"}, "samples is not a number"),
        ({"title": 7}, "title is not text"),
        ({"notes": [None]}, "notes is not a list of texts"),
        ({"rows": [{"label": "a"}]}, "rows is not a list of objects"),
        ({"rows": [{"label": "a", "record": "javascript:alert(1)"}]}, "outside the board's folder"),
    ],
)
def test_a_wrong_specification_is_refused(
    make_record: MakeRecord, write_board: WriteBoard, changes: dict[str, Any], said: str
) -> None:
    path = write_board(make_record("a", {"quality": shifted(0)}))
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(HarnessError, match=said):
        publish(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "not JSON"),
        ("[]", "not a board specification"),
        ("{", "not JSON"),
        ('{"title": "\\ud800"}', "title is not text"),
        ('{"titel": "x"}', "unknown field 'titel'"),
    ],
)
def test_a_file_that_is_no_specification_is_one_clear_error(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "board.json"
    path.write_text(text)
    with pytest.raises(HarnessError, match=said):
        read_spec(path)


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
    path = write_board(make_record("a", {"quality": shifted(0)}), cited=["theirs.json"])
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
