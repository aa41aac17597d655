"""Local data of every layout, and what is said of bad data."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from harness.data.documents import DataSpec, load
from harness.errors import HarnessError
from harness.records.samples import read_samples
from tests.lmeval.conftest import ARTICLES, write_rows

FIELDS = {"source": ["article", "document"], "references": ["highlights", "summary"]}
ROWS = [{"article": f"Article {i}.\nMore.", "highlights": f"Summary {i}"} for i in range(4)]


def spec(path: Path, **settings: Any) -> DataSpec:
    return DataSpec(**{"path": "org/name", "data_dir": str(path), "fields": FIELDS, **settings})


def write_csv(path: Path) -> None:
    with open(path, "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, ["article", "highlights"])
        writer.writeheader()
        writer.writerows(ROWS)


WRITERS = {
    "rows.jsonl": lambda path: write_rows(path, ROWS),
    "rows.json": lambda path: path.write_text(json.dumps(ROWS)),
    "keyed.json": lambda path: path.write_text(json.dumps({f"k{i}": row for i, row in enumerate(ROWS)})),
    "rows.csv": write_csv,
    "rows.parquet": lambda path: datasets.Dataset.from_list(ROWS).to_parquet(path),
    "saved": lambda path: datasets.Dataset.from_list(ROWS).save_to_disk(path),
    "splits": lambda path: datasets.DatasetDict(
        {"train": datasets.Dataset.from_list(ROWS[:1]), "test": datasets.Dataset.from_list(ROWS)}
    ).save_to_disk(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_documents_and_hash(tmp_path: Path, name: str) -> None:
    reference = load(spec(write_rows(tmp_path / "reference.jsonl", ROWS)))
    WRITERS[name](tmp_path / name)
    found = load(spec(tmp_path / name))
    assert [row["source"] for row in found.rows] == [row["article"] for row in ROWS]
    assert [row["references"] for row in found.rows] == [[row["highlights"]] for row in ROWS]
    assert found.sha256 == reference.sha256
    assert found.file_sha256
    assert (found.rows_read, found.dropped) == (4, {})
    assert found.source == f"local:{name}"
    assert str(tmp_path) not in json.dumps(found.provenance())


def test_the_file_of_a_folder_is_found_by_its_fields_then_by_the_split(tmp_path: Path) -> None:
    write_rows(tmp_path / "outputs_test.jsonl", [{"system": "x", "summary": "y"}])
    write_rows(tmp_path / "train.jsonl", ROWS[:1])
    write_rows(tmp_path / "test.jsonl", ROWS)
    (tmp_path / "notes.json").write_text("[1, 2]")
    (tmp_path / "broken.jsonl").write_text("{")
    assert load(spec(tmp_path)).source == "local:test.jsonl"


def test_shards_are_read_together_and_rivals_are_not(tmp_path: Path) -> None:
    for i in range(2):
        write_rows(tmp_path / f"test-0000{i}-of-00002.jsonl", ROWS[2 * i : 2 * i + 2])
    assert load(spec(tmp_path)).rows_read == 4
    write_rows(tmp_path / "test_new.jsonl", ROWS)
    with pytest.raises(HarnessError, match="several files fit"):
        load(spec(tmp_path))


def test_rows_without_a_field_are_all_counted_and_the_first_named(tmp_path: Path) -> None:
    rows = [*ROWS, *({"article": "x", "text": "y"} for _ in range(7))]
    with pytest.raises(HarnessError) as caught:
        load(spec(write_rows(tmp_path / "rows.jsonl", rows)))
    problem = caught.value.problem
    assert problem.startswith("7 rows lack a field")
    assert (
        "rows.jsonl, row 5: no field for references (highlights, summary); it has: article, text" in problem
    )
    assert "row 9" in problem
    assert "row 10" not in problem
    assert "reference_field=NAME" in caught.value.remedy


def test_empty_texts_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = [*ROWS, {"article": " ", "highlights": "x"}, {"article": "x", "highlights": ""}]
    found = load(spec(write_rows(tmp_path / "rows.jsonl", rows)))
    assert (len(found.rows), found.rows_read) == (4, 6)
    assert found.dropped == {"empty references": 1, "empty source": 1}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.jsonl", "", "no usable document in 0 rows"),
        ("rows.jsonl", '{"article": "x"', "line 1"),
        ("rows.json", '{"a": 1}', "expected a list of objects"),
        ("rows.json", "[" * 100_000, "recursion"),
        ("rows.jsonl", '{"article": ' + "[" * 100_000, "recursion"),
        (
            "rows.json",
            '[{"article": "a \\ud800 b", "highlights": "x"}]',
            "row 1: its source is half of a surrogate pair",
        ),
        (
            "rows.jsonl",
            '{"article": "a", "highlights": "\\uDC00"}',
            "row 1: its reference is half of a surrogate pair",
        ),
        (
            "rows.jsonl",
            '{"article": "a", "highlights": "x", "id": "\\uDC00"}',
            "row 1: half of a surrogate pair",
        ),
        ("rows.parquet", "no parquet", "cannot be read"),
        ("rows.txt", "x", "unknown kind of file"),
    ],
)
def test_unreadable_files_are_one_clear_error(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(HarnessError) as caught:
        load(spec(tmp_path / name))
    assert name in caught.value.problem
    assert said in str(caught.value)


@pytest.mark.parametrize("bad", ['c,"d', 'c,"d "quoted" e', '"c,d'])
def test_a_quote_that_is_not_closed_swallows_no_rows(tmp_path: Path, bad: str) -> None:
    (tmp_path / "rows.csv").write_text(f"article,highlights\na,b\n\n{bad}\ne,f\ng,h\n")
    with pytest.raises(HarnessError, match=r"row 2, which begins in line 4: a quote is not closed"):
        load(spec(tmp_path / "rows.csv"))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("5", "the number 5"),
        ("true", "true"),
        ('{"a": 1, "b": 2}', r"an object \(a, b\)"),
        ('["x", 1.5]', "the number 1.5"),
        ("NaN", None),
        ("[-Infinity]", None),
    ],
)
@pytest.mark.parametrize("suffix", ["json", "jsonl"])
@pytest.mark.parametrize("field", ["article", "highlights"])
def test_what_is_no_text_becomes_none(
    tmp_path: Path, value: str, said: str | None, suffix: str, field: str
) -> None:
    good = json.dumps(ROWS[0])
    bad = json.dumps(ROWS[1] | {field: "@"}).replace('"@"', value)
    text = f"[{good}, {bad}]" if suffix == "json" else f"{good}\n{bad}\n"
    (tmp_path / f"rows.{suffix}").write_text(text)
    what = "source" if field == "article" else "reference"
    with pytest.raises(
        HarnessError, match=f"row 2: its {what} is {said}, no text" if said else "Infinity|NaN"
    ):
        load(spec(tmp_path / f"rows.{suffix}"))


def test_rows_without_text_and_rows_without_field_are_told_with_their_remedies(tmp_path: Path) -> None:
    rows = [ROWS[0], *({"article": n, "highlights": "x"} for n in range(7)), {"text": "x"}]
    with pytest.raises(HarnessError) as caught:
        load(spec(write_rows(tmp_path / "rows.jsonl", rows)))
    lacking, hold, *named = caught.value.problem.splitlines()
    assert "row 9: no field for source" in lacking
    assert hold == "7 rows hold no text; the first:"
    assert [f"row {n}: its source is the number {n - 2}" in named[n - 2] for n in range(2, 7)] == [True] * 5
    assert [line.split()[0] for line in caught.value.remedy.splitlines()] == ["Rename", "Write"]


def test_null_is_no_reference_and_no_paragraph(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="row 1: its source is null, no text"):
        load(spec(write_rows(tmp_path / "bad.jsonl", [{"article": ["a", None], "summary": "x"}])))
    rows = [{"article": "a", "summary": [None, "x"]}, {"article": "b", "summary": [None]}]
    found = load(spec(write_rows(tmp_path / "rows.jsonl", rows)))
    assert [row["references"] for row in found.rows] == [["x"]]
    assert found.dropped == {"empty references": 1}


def test_missing_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="no data at"):
        load(spec(tmp_path / "nowhere"))
    with pytest.raises(HarnessError, match="there are no data files"):
        load(spec(tmp_path))
    datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}).save_to_disk(tmp_path / "saved")
    with pytest.raises(HarnessError, match=r"no split 'test' \(it has: train\)"):
        load(spec(tmp_path / "saved"))


def test_without_a_hub_the_error_names_the_local_way(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="cannot load the data set org/name") as caught:
        load(DataSpec(path="org/name", fields=FIELDS))
    assert "data_dir=PATH" in caught.value.remedy


def test_sentence_marks_become_lines(tmp_path: Path) -> None:
    rows = [{"article": "x", "summary": "<t> one . </t>  <t> two . </t>"}]
    found = load(spec(write_rows(tmp_path / "rows.jsonl", rows), sentence_marks=("<t>", "</t>")))
    assert found.rows[0]["reference"] == "one .\ntwo ."


def test_rows_of_one_source_become_one_document(tmp_path: Path) -> None:
    """DialogSum's hub copy has a row per reference, its repository one row with three."""
    many = [{"id": f"t_{i}", "article": "d", "summary": f"s{i}"} for i in (1, 2, 3)]
    one = [{"id": "t", "article": "d", "s1": "s1", "s2": "s2", "s3": "s3"}]
    fields = FIELDS | {"references": [["s1", "s2", "s3"], "summary"]}
    found = [
        load(spec(write_rows(tmp_path / name, rows), merge=True, fields=fields))
        for name, rows in (("many.jsonl", many), ("one.jsonl", one))
    ]
    assert [row["references"] for row in found[0].rows] == [["s1", "s2", "s3"]]
    assert found[0].sha256 == found[1].sha256


def test_the_best_answer_comes_first_and_no_answer_twice(tmp_path: Path) -> None:
    """TruthfulQA: lists on the hub, semicolons in the original csv."""
    hub = [{"article": "q", "best": "b", "correct": ["a", "b", "c"]}]
    table = [{"article": "q", "Best": "b", "Correct": "a; b; c"}]
    fields = FIELDS | {"references": [["best", "correct"], ["Best", "Correct"]]}
    for name, rows in (("hub.jsonl", hub), ("table.jsonl", table)):
        found = load(spec(write_rows(tmp_path / name, rows), separator=";", fields=fields))
        assert found.rows[0]["references"] == ["b", "a", "c"]


def test_both_of_hotpotqas_layouts_give_titled_paragraphs(tmp_path: Path) -> None:
    hub = {"title": ["T", "U"], "sentences": [["One. ", "Two."], ["Three."]]}
    original = [["T", ["One. ", "Two."]], ["U", ["Three."]]]
    rows = [{"article": context, "highlights": "x"} for context in (hub, original)]
    found = [load(spec(write_rows(tmp_path / f"{i}.jsonl", [row]))) for i, row in enumerate(rows)]
    assert found[0].rows[0]["source"] == "T: One. Two.\nU: Three."
    assert found[0].sha256 == found[1].sha256


def test_a_column_can_hold_a_query_and_a_text(tmp_path: Path) -> None:
    rows = [{"input": "What?\nLine one.\nLine two.", "summary": "x"}]
    fields = {"question": ["input|head"], "source": ["input|tail"], "references": ["summary"]}
    found = load(spec(write_rows(tmp_path / "rows.jsonl", rows), fields=fields))
    assert (found.rows[0]["question"], found.rows[0]["source"]) == ("What?", "Line one.\nLine two.")


def test_the_news_world_is_made_to_measure() -> None:
    settings = {"path": "newsworld", "fields": {"source": ["article"], "references": ["references"]}}
    first, again, other = (load(DataSpec(**settings, n_documents=5, seed=seed)) for seed in (0, 0, 1))
    assert first.sha256 == again.sha256 != other.sha256
    assert first.source == "newsworld:test:n=5:seed=0"


@pytest.mark.parametrize(
    ("task", "folder", "count"),
    [
        ("kd_cnndm_factual", "realsumm", 100),
        ("kd_xsum_factual", "lookback_lens", 1000),
        ("kd_dialogsum_factual", "dialogsum", 500),
        ("kd_hotpotqa_closed_factual", "hotpotqa", 7405),
        ("kd_truthfulqa_factual", "truthfulqa", 817),
        ("kd_pubmedqa_factual", "pubmedqa", 1000),
    ],
)
def test_real_copies_are_read_as_they_are(
    shared_data: Path, load_task: Any, task: str, folder: str, count: int
) -> None:
    loaded = load_task(task, data_dir=str(shared_data / folder))
    assert len(loaded.eval_docs) == loaded.documents.rows_read == count
    assert all(row["references"] for row in loaded.eval_docs)


def test_a_copy_without_the_context_is_refused_by_name(shared_data: Path, load_task: Any) -> None:
    with pytest.raises(HarnessError, match=r"hotpot_dev_v1_simplified\.json lacks source \(context\)"):
        load_task("kd_hotpotqa_factual", data_dir=str(shared_data / "hotpotqa"))


def test_data_with_a_source_need_no_references(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"article": row["article"]} for row in ROWS]
    bare = load(spec(write_rows(tmp_path / "bare.jsonl", rows)))
    empty = load(spec(write_rows(tmp_path / "empty.jsonl", [{**row, "summary": " "} for row in rows])))
    for found in (bare, empty):
        assert [row["source"] for row in found.rows] == [row["article"] for row in ROWS]
        assert all((row["references"], row["reference"]) == ([], "") for row in found.rows)
        assert found.dropped == {}
    assert "no row has a reference" in caplog.text
    # a column that the user named must be there, and without a source there is nothing else to be measured by
    closed = {"question": ["article"], "references": ["summary"]}
    for changed in ({"references_named": True}, {"fields": closed}):
        with pytest.raises(HarnessError, match="no field for references"):
            load(spec(tmp_path / "bare.jsonl", **changed))


def test_overlap_is_absent_and_said_to_be_where_there_are_no_references(
    tmp_path: Path, load_task: Callable[..., Any], run_with_answers: Callable[..., dict[str, Any]]
) -> None:
    rows = [{"text": f"{article} Anna Bell spoke."} for article in ARTICLES]
    path = write_rows(tmp_path / "mine.jsonl", rows)
    task = load_task("kd_custom_factual", data_dir=str(path), answer_min_words=0)
    results = run_with_answers(task, lambda doc: f"{doc['source'][:30]}. Then Olaf Scholz spoke to Bell.")
    metadata = results["configs"]["kd_custom_factual"]["metadata"]
    assert {"rougeL", "rougeLsum", "chrf", "chrf++"} <= metadata["absent"].keys()
    assert metadata["absent"]["rougeL"] == "The data have no references."
    assert {"supported_responses", "unsupported_rate", "coverage", "length", "answer_rate"} <= metadata[
        "scores"
    ].keys()
    assert not {"rougeL", "chrf"} & metadata["scores"].keys()
    assert metadata["scores"]["supported_responses"]["value"] == 0
    samples = results["samples"]["kd_custom_factual"]
    assert all("unsupported_spans" in sample for sample in samples)
    logged = [
        {**s, "arguments": {"gen_args_0": {"arg_0": s["arguments"][0][0]}}} for s in samples
    ]  # as in a file
    read, documents, _ = read_samples(logged)
    assert [document.references for document in documents] == [()] * len(rows)
    for sample, document in zip(read, documents, strict=True):
        assert [sample.response[a:b] for a, b, _ in sample.unsupported_spans or ()] == ["Olaf Scholz"], (
            document.source
        )
    other = write_rows(tmp_path / "other.jsonl", [{"text": "Another."}, {"text": "One more."}])
    with pytest.raises(HarnessError, match="no references to show as answers"):
        run_with_answers(
            load_task("kd_custom_factual", data_dir=str(path), fewshot_data=str(other)),
            lambda doc: "x",
            num_fewshot=1,
        )
