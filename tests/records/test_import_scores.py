"""Scores that others published become records that say so, and whatever is wrong with the rows is named."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from statsmodels.stats.proportion import proportion_confint

from harness.cli import build_parser, command_groups, main
from harness.errors import HarnessError
from harness.metrics.base import Kind, Score
from harness.records.check import problems
from harness.records.described import describe
from harness.records.headlines import wrong_headlines
from harness.records.import_scores import Published, Scale, import_scores, load_ids
from harness.records.reading import load_record, load_scored
from harness.records.record import Record
from harness.records.score_rows import ScoreRow

PUBLISHED = Published(source="A board", url="https://example.org/board", accessed="2026-11-24")
STATED = ["--source", "A board", "--url", "https://example.org/board", "--accessed", "2026-11-24"]
ROWS: list[dict[str, Any]] = [
    {"document": 10, "model": "x/a", "response": "ten, by a", "judge": "j", "score": 1},
    {"document": 9, "model": "x/a", "response": "nine, by a", "judge": "j", "score": 0},
    {"document": "d", "model": "x/a", "response": "d, by a", "judge": "j", "score": 1},
    {"document": 9, "model": "x/b", "response": "nine, by b", "judge": "j", "score": 1},
    {"document": 10, "model": "x/b", "response": "", "judge": "j", "score": None},
]


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Rows in the format that the suffix says."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        plain = [{**row, "document": str(row["document"])} for row in rows]
        pq.write_table(pa.Table.from_pylist(plain), path)
    return path


def run(path: Path, *words: str) -> tuple[int, list[Record]]:
    """The command's status, and the records it wrote."""
    folder = path.parent / "records"
    status = main(["import-scores", str(path), "--records", str(folder), *STATED, *words])
    files = sorted(
        file for file in folder.rglob("*.jsonl") if not file.name.startswith(("ids-", "documents-"))
    )
    return status, [load_record(file) for file in files]


def row(document: str, model: str, score: float | None = None, **changes: Any) -> ScoreRow:
    fields = {"response": f"{document} by {model}", "response_sha256": None, "judge": "j"}
    scores = {} if score is None else {"faithful": score}
    place = f"{document} {model}"
    return ScoreRow(place=place, document=document, model=model, **{**fields, "scores": scores, **changes})


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_rows_become_one_record_for_each_model(tmp_path: Path, suffix: str) -> None:
    status, (a, b) = run(write(tmp_path / f"board{suffix}", ROWS), "--column", "score:faithful=score")
    assert status == 0
    assert (a.task, a.model, b.model) == ("board", "a", "b")
    assert a.provenance["model"] == {"name": "x/a"}
    assert [(s.doc_id, s.response, s.scores) for s in a.samples] == [
        (0, "nine, by a", {"faithful": 0.0}),
        (1, "ten, by a", {"faithful": 1.0}),
        (2, "d, by a", {"faithful": 1.0}),
    ]
    # b's empty score and the document that b has no row for have failed: neither counts as nought
    assert [s.scores for s in b.samples] == [{"faithful": 1.0}, {}, {}]
    assert b.counts == {"n": 3, "answered": 1, "failed": 2}
    assert (b.scores["faithful"]["value"], b.scores["faithful"]["n"]) == (1.0, 1)
    assert a.documents is None


def test_a_record_says_that_it_was_not_measured_here(tmp_path: Path) -> None:
    path = write(tmp_path / "board.jsonl", ROWS)
    _, (a, b) = run(path, "--column", "score:faithful=score", "--license", "CC0")
    assert a.measured_elsewhere
    assert (
        a.scores["faithful"]["signature"] == "faithful|published|judge:j|source:A board|accessed:2026-11-24"
    )
    stated = {name: a.provenance[name] for name in ("source", "url", "accessed", "license", "judges")}
    assert stated == {
        "source": "A board",
        "url": "https://example.org/board",
        "accessed": "2026-11-24",
        "license": "CC0",
        "judges": {"faithful": "j"},
    }
    assert a.provenance["files"] == {"board.jsonl": hashlib.sha256(path.read_bytes()).hexdigest()}
    # rows of one import are compared as rows on the same documents
    assert a.provenance["documents_sha256"] == b.provenance["documents_sha256"]


def test_headlines_are_those_of_the_samples(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    rates = [row(str(i), "m", float(generator.random() < 0.3)) for i in range(40)]
    shares = [row(str(i), "m", float(generator.random())) for i in range(40)]
    for name, rows in (("rates", rates), ("shares", shares)):
        (path,) = import_scores(rows, tmp_path, task=name, published=PUBLISHED)
        scored = load_scored(path)
        assert wrong_headlines(scored) == []
        assert problems(scored, None) == []
        values = [found.scores["faithful"] for found in rows]
        stated = scored.scores["faithful"]
        assert stated["value"] == pytest.approx(np.mean(values), abs=1e-8)
        assert stated["n"] == 40
        if name == "rates":
            low, high = proportion_confint(sum(values), 40, method="wilson")  # statsmodels
            assert (stated["low"], stated["high"]) == (
                pytest.approx(low, abs=1e-8),
                pytest.approx(high, abs=1e-8),
            )
        else:
            assert stated["low"] < stated["value"] < stated["high"]


def test_document_ids_are_numbered_in_the_stated_order_and_kept(tmp_path: Path) -> None:
    rows = [row(document, "m", 1.0) for document in ("b", "10", "a", "9", "010")]
    (path,) = import_scores(rows, tmp_path, task="t", published=PUBLISHED)
    assert load_ids(load_record(path), path) == {0: "9", 1: "10", 2: "010", 3: "a", 4: "b"}


def test_importing_twice_changes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "board.jsonl", ROWS)
    run(path)
    before = {file: file.read_bytes() for file in (tmp_path / "records").rglob("*") if file.is_file()}
    path = write(tmp_path / "board.jsonl", ROWS)
    run(path)
    assert {file: file.read_bytes() for file in (tmp_path / "records").rglob("*") if file.is_file()} == before


def test_several_judges_become_several_scores(tmp_path: Path) -> None:
    rows = [*ROWS, {**ROWS[0], "judge": "k 2", "score": 0}]
    _, (a, _) = run(write(tmp_path / "board.jsonl", rows), "--column", "score:faithful=score")
    assert a.scores.keys() == {"faithful_j", "faithful_k-2"}
    assert a.samples[1].scores == {"faithful_j": 1.0, "faithful_k-2": 0.0}
    assert a.scores["faithful_k-2"]["n"] == 1
    assert "judge:k 2" in a.scores["faithful_k-2"]["signature"]


def test_verdicts_in_words_and_other_names_of_columns(tmp_path: Path) -> None:
    rows = [
        {"id": "1", "system": "m", "text": "r", "verdict": "Inconsistent", "article": "s"},
        {"id": "2", "system": "m", "text": "q", "verdict": "Consistent", "article": "t"},
    ]
    words = ["--judge", "people", "--label", "Consistent=0", "--label", "Inconsistent=1", "--lower-is-better"]
    for pair in ("document=id", "model=system", "response=text", "source=article", "score:wrong=verdict"):
        words += ["--column", pair]
    status, (record,) = run(write(tmp_path / "board.csv", rows), *words)
    assert status == 0
    assert [sample.scores["wrong"] for sample in record.samples] == [1.0, 0.0]
    assert record.scores["wrong"]["higher_is_better"] is False
    (documents,) = (tmp_path / "records").rglob("documents-*.jsonl")
    assert [json.loads(line)["source"] for line in documents.read_text().splitlines()] == ["s", "t"]
    assert record.documents == documents.stem.removeprefix("documents-")


def test_a_hash_stands_for_a_response_that_was_not_published(tmp_path: Path) -> None:
    digest = hashlib.sha256("réponse".encode()).hexdigest()
    rows = [{"document": 1, "model": "m", "response_sha256": digest.upper(), "judge": "j", "score": 0.5}]
    _, (record,) = run(write(tmp_path / "board.jsonl", rows))
    assert (record.samples[0].response, record.samples[0].response_sha256) == (None, digest)


@pytest.mark.parametrize(
    ("low", "high", "unit"),
    [(0.0, 1.0, "share"), (0.0, 100.0, "of 100"), (1.0, 5.0, "points"), (None, None, "points")],
)
def test_range_direction_and_unit_are_in_the_record(
    tmp_path: Path, low: float | None, high: float | None, unit: str
) -> None:
    scale = Scale(higher_is_better=False, low=low, high=high, kind="overlap")
    rows = [row("1", "m", 1.0), row("2", "m", 0.5 + (low or 0.0))]
    (path,) = import_scores(rows, tmp_path, task="t", published=PUBLISHED, scale=scale)
    score = describe(load_record(path), "faithful")
    assert isinstance(score, Score)
    assert (score.higher_is_better, score.low, score.high, score.kind, score.unit) == (
        False,
        low,
        high,
        "overlap",
        unit,
    )


def test_models_whose_short_names_collide_keep_their_owners(tmp_path: Path) -> None:
    rows = [row("1", model, 1.0) for model in ("x/m", "y/m", "y/n")]
    paths = import_scores(rows, tmp_path, task="t", published=PUBLISHED)
    assert sorted(load_record(path).model for path in paths) == ["n", "x/m", "y/m"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"score": "good"}, "row 2: score: 'good' is no number"),
        ({"score": "nan"}, "row 2: score: 'nan' is no number"),
        ({"score": [1]}, "row 2: score: '[1]' is no number"),
        ({"score": 1.5}, "row 2: score is 1.5, outside 0 to 1"),
        ({"document": None}, "row 2: document: is empty"),
        ({"document": 1.5}, "row 2: document: '1.5' is no text"),
        ({"model": " "}, "row 2: model: is empty"),
        (
            {"document": 10, "response": "ten, by a"},
            "row 2: document '10' of model 'x/a' stands twice (also board.jsonl, row 1)",
        ),
        ({"document": 10, "judge": "k"}, "row 2: document '10' of model 'x/a' has another response"),
        ({"response": {"a": 1}}, "row 2: response: "),
        ({"response": "\ud83d"}, "row 2: response: half of a surrogate pair"),
        ({"response_sha256": "ab"}, "row 2: 'ab' is no SHA-256"),
        ({"response_sha256": "0" * 64}, "row 2: the response has another SHA-256"),
        ({"judge": None}, "row 2: no judge"),
    ],
)
def test_a_wrong_row_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    rows = [ROWS[0], {**ROWS[1], **change}]
    status, records = run(write(tmp_path / "board.jsonl", rows))
    error = capsys.readouterr().err
    assert (status, records) == (2, [])
    assert said in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("b.jsonl", '{"document": 1}\n', "no column 'model'; it has document"),
        ("b.jsonl", '{"document": 1, "model": "m", "score": 1}\n', "neither responses nor their SHA-256"),
        ("b.jsonl", '{"document": 1, "model": "m", "score": 1, "response": ""}\n', "nothing says who judged"),
        ("b.jsonl", "{", "b.jsonl, line 1: "),
        ("b.jsonl", "", "no rows"),
        ("b.csv", "document,model\n1\n", "row 1: 1 cells for 2 columns"),
        ("b.csv", "document,document\n", "column 'document' stands twice"),
        ("b.csv", 'document\n"a', "cannot be read"),
        ("b.parquet", "PAR", "cannot be read"),
        ("b.txt", "", "not .jsonl, .csv or .parquet"),
        ("none.csv", None, "cannot be read"),
    ],
)
def test_a_wrong_file_is_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    assert run(tmp_path / name)[0] == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--column", "texts=score"], "--column texts=...: no such role"),
        (["--column", "model=a", "--column", "model=b"], "--column model=... twice"),
        (["--range", "1", "0"], "the first must be less than the second"),
        (["--column", "score:x=nosuch"], "no column 'nosuch'; it has document, model"),
        (["--label", "x"], "'x' is not WORD=NUMBER"),
        (["--accessed", "yesterday"], "'yesterday' is no date"),
    ],
)
def test_wrong_options_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert run(write(tmp_path / "board.jsonl", ROWS), *words)[0] == 2
    assert said in capsys.readouterr().err


def test_a_board_of_published_scores_says_so_and_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        row(str(i), model, float(i % 4 < good))
        for i in range(40)
        for model, good in (("o/good", 3), ("o/bad", 1))
    ]
    paths = import_scores(rows, Path("records"), task="t", published=PUBLISHED)
    assert main(["publish", "board.json", "--records", *map(str, paths), "--compare", "bad", "good"]) == 0
    page = Path("board.md").read_text()
    assert "Not measured here: published by A board, https://example.org/board, accessed 2026-11-24." in page
    assert "| 1 | good <sup>1</sup> | 75.0" in page
    assert "good is better than bad on faithful" in page
    assert main(["verify", "board.json"]) == 0


def test_all_wrong_rows_are_named_at_once_but_not_thousands(tmp_path: Path) -> None:
    rows = [row(str(i), "m", 7.0) for i in range(1000)]
    with pytest.raises(HarnessError) as caught:
        import_scores(rows, tmp_path, task="t", published=PUBLISHED)
    assert caught.value.problem.count("outside 0 to 1") == 10
    assert "and 990 more" in caught.value.problem
    assert list(tmp_path.iterdir()) == []


def test_documents_must_have_one_text(tmp_path: Path) -> None:
    for rows, said in (
        ([row("1", "a", 1.0, source="s"), row("1", "b", 1.0, source="t")], "has another text than in"),
        ([row("1", "a", 1.0, source="s"), row("2", "a", 1.0)], "no source text, which other documents have"),
    ):
        with pytest.raises(HarnessError, match=said):
            import_scores(rows, tmp_path, task="t", published=PUBLISHED)


def test_the_command_offers_every_kind_of_score() -> None:
    for kind in get_args(Kind):
        words = ["import-scores", "f.csv", "--records", "r", *STATED, "--kind", kind]
        assert build_parser(command_groups()).parse_args(words).kind == kind


# a public leaderboard's layout, with made-up content


@pytest.fixture
def verdicts(root: Path) -> ModuleType:
    path = root / "benchmarks" / "published_verdicts.py"
    spec = importlib.util.spec_from_file_location("published_verdicts", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def leaderboard(tmp_path: Path, verdicts: ModuleType) -> Path:
    """Two models, three documents for each of four tasks; one model hallucinates in every second document."""
    table = "| Rank | Model | Org | # | Overall | A | B | C | D |\n|--|--|--|--|--|--|--|--|--|\n"
    for model, wrong in (("good", 0), ("bad", 2)):
        folder = tmp_path / "eval_results" / "owner" / model
        folder.mkdir(parents=True)
        words = ["Inconsistent", "Invalid"][:wrong] + ["Consistent"] * (3 - wrong)
        for task in verdicts.TASKS:
            prefix = "o3-mini_" if model == "good" else ""
            lines = [
                {"task": task, "source_id": str(i), "candidate_text": f"{model} {i}", "classification": word}
                for i, word in enumerate(words)
            ]
            write_to = folder / f"{prefix}{task}_hallucination_eval.txt"
            write_to.write_text("".join(json.dumps(line) + "\n" for line in lines))
        share = f"{100 * wrong / 3:.2f}%"
        cells = " | ".join([share, *[f"{share} ({wrong}/3)"] * 4])
        table += f"| 1 | [{model}](https://example.org) | O | ? | {cells} |\n"
    (tmp_path / "README.md").write_text(table)
    return tmp_path


def test_published_verdicts_give_the_published_rates(leaderboard: Path, root: Path) -> None:
    command = [sys.executable, "benchmarks/published_verdicts.py", "--data", str(leaderboard)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert "2 of 2 models have the published rates to the digit" in done.stdout
    assert "| 2 | bad | 66.67% |" in done.stdout
    # 8 discordant documents, all for one model: McNemar's exact p is 2 / 2 ** 8
    assert "| 0.0078 |" in done.stdout
    assert "1 of 1 at p <= 0.05 unadjusted" in done.stdout


def test_another_table_than_the_verdicts_give_is_noticed(leaderboard: Path, root: Path) -> None:
    readme = leaderboard / "README.md"
    readme.write_text(readme.read_text().replace("66.67% (2/3) |\n", "66.68% (2/3) |\n"))
    command = [sys.executable, "benchmarks/published_verdicts.py", "--data", str(leaderboard)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert "1 of 2 models have the published rates to the digit" in done.stdout
