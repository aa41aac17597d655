"""Records of version 2, as the former version wrote them, become records of version 3 that say the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.errors import HarnessError
from harness.files import canonical_json, sha256_bytes
from harness.records import Document, Record, load_documents, load_record, load_scored
from harness.records.check import problems
from harness.records.upgrade import upgrade

OPTIONAL = ("statistics", "lookback_windows", "prompt", "source_chars", "response_sha256")


def short_name(folder: Path, stem: str, text: str) -> Path:
    """A file as version 2 named it, by 12 digits of its hash."""
    path = folder / f"{stem}-{sha256_bytes(text.encode())[:12]}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def write_old(
    record: Record, folder: Path, change: Callable[[list[dict[str, Any]]], Any] | None = None
) -> Path:
    """A record of version 2: every digit, and ``null`` for what was not known."""
    fields = asdict(record)
    samples = [
        {
            name: value
            for name, value in sample.items()
            if name != "response_sha256" and (name not in OPTIONAL or value not in (None, {}))
        }
        for sample in fields.pop("samples")
    ]
    lines = [{"record": 2, **fields, "counts": fields["counts"] | {"shortened": None}}, *samples]
    if change:
        change(lines)
    return short_name(folder, record.model, "".join(canonical_json(line) + "\n" for line in lines))


@pytest.fixture
def old(score_texts: Callable[..., Any], tmp_path: Path) -> Path:
    """A folder with a board of two models and one record beside it, all of version 2."""
    made = [score_texts(model=model, exact=True) for model in ("student", "teacher", "other")]
    folder = tmp_path / "boards"
    records = folder / "records" / "kd_newsworld_factual"
    write_documents(made[0][1], records)
    paths = [write_old(record, records) for record, _ in made]
    spec = {
        "title": "Ünïcode",
        "columns": ["rougeL"],
        "rows": [
            {"label": label, "record": path.relative_to(folder).as_posix(), "note": "a note"}
            for label, path in zip(("student, KD", "teacher"), paths, strict=False)
        ],
        "comparisons": [],
        "notes": [],
    }
    (folder / "board.json").write_text(json.dumps(spec))
    (folder / "other.json").write_text("{not JSON")
    return folder


def write_documents(documents: list[Document], folder: Path) -> Path:
    lines = [{"doc_id": d.doc_id, "source": d.source, "references": list(d.references)} for d in documents]
    return short_name(folder, "documents", "".join(canonical_json(line) + "\n" for line in lines))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_records_are_converted_with_their_board(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    former = {path.stem[: -len("-123456789012")]: path.read_text() for path in old.rglob("*.jsonl")}
    assert main(["upgrade-records", str(old)]) == 0
    printed = capsys.readouterr().out
    assert printed.count(" -> ") == 4
    assert "harness publish" in printed
    spec = json.loads((old / "board.json").read_text())
    assert [row["label"] for row in spec["rows"]] == ["student, KD", "teacher"]
    assert spec["title"] == "Ünïcode"
    paths = [old / row["record"] for row in spec["rows"]]
    for row, path in zip(spec["rows"], paths, strict=True):
        record = load_record(path)
        assert record.model == row["label"]  # boards show no other name
        assert problems(load_scored(path), load_documents(record, path)) == []
        assert "shortened" not in record.counts
        assert row["note"] == "a note"
    assert len(list(old.rglob("*.jsonl"))) == 4  # the former files are gone
    before = [json.loads(line) for line in former["student"].splitlines()]
    after = load_record(paths[0])
    for key, score in before[0]["scores"].items():
        assert after.scores[key]["value"] == pytest.approx(score["value"], rel=1e-8, abs=1e-8)
        assert after.scores[key]["signature"] == score["signature"]
    for line, sample in zip(before[1:], after.samples, strict=True):
        assert sample.response == line["response"]
        assert sample.scores == pytest.approx(line["scores"], rel=1e-8, abs=1e-8)
        assert {key: list(counts) for key, counts in sample.statistics.items()} == line.get("statistics", {})
    (other,) = old.rglob("other-*.jsonl")
    assert load_record(other).model == "other"


def test_a_second_run_changes_nothing(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    upgrade(old)
    before = contents(old)
    assert main(["upgrade-records", str(old)]) == 0
    assert "no record of a former version" in capsys.readouterr().out
    assert contents(old) == before


def test_an_upgrade_that_was_stopped_is_finished(old: Path) -> None:
    """Stopped after the specification was written, before the former files were removed."""
    former = contents(old / "records")
    upgrade(old)
    done = contents(old)
    for path, data in former.items():
        Path(path).write_bytes(data)
    assert upgrade(old).specs == []
    assert contents(old) == done


def fails(old: Path, said: str) -> None:
    """The upgrade is refused and leaves everything as it was."""
    before = contents(old)
    with pytest.raises(HarnessError) as raised:
        upgrade(old)
    assert said in str(raised.value)
    assert contents(old) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda lines: lines[0]["scores"]["rougeL"].update(value=0.5),
            "rougeL value is 0.5, the samples give",
        ),
        (
            lambda lines: lines[0]["scores"]["rougeL"].update(high=0.99),
            "rougeL high is 0.99, the samples give",
        ),
        (lambda lines: lines[1]["scores"].update(rougeL=0.5), "rougeL value is"),
        (lambda lines: lines[1]["scores"].update(rougeL="high"), "not a record of version 2"),
        (lambda lines: lines[0]["bootstrap"].update(confidence=0.5), "confidence 0.5"),
        (lambda lines: lines[0]["counts"].update(answered=24), "make not 24"),
        (lambda lines: lines.pop(), "1 of 24 documents missing"),
        (lambda lines: lines.insert(1, lines[1]), "document 0 occurs twice"),
        (lambda lines: lines[0].update(record=1), "of version 1, not 2"),
        (lambda lines: lines[0].update(model=7), "model is not what a record holds"),
        (lambda lines: lines[0].update(scores={"rougeL": "high"}), "scores is not what a record holds"),
        (lambda lines: lines[0].update(metrics=None), "not a record of version 2"),
        (lambda lines: lines[0].pop("prompt"), "not a record of version 2"),
        (lambda lines: lines[1].update(judge="x"), "not a record of version 2"),
    ],
)
def test_what_a_former_record_should_not_say_is_refused(
    old: Path, score_texts: Callable[..., Any], change: Any, said: str
) -> None:
    record, _ = score_texts(model="forged", exact=True)
    write_old(record, old / "records" / "kd_newsworld_factual", change)
    fails(old, said)


def test_damage_is_refused(old: Path) -> None:
    path, *_ = sorted(old.rglob("teacher-*.jsonl"))
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"student", b"teacher"))
    path.write_bytes(whole[:-200])
    fails(old, "the content does not match the name")
    path.unlink()
    fails(old, "is on a board, and missing")


def test_one_record_has_one_name(old: Path) -> None:
    spec = json.loads((old / "board.json").read_text())
    spec["rows"][0]["label"] = "another"
    (old / "second.json").write_text(json.dumps(spec))
    fails(old, "is called 'another' and 'student, KD' by boards")


def test_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upgrade-records", str(tmp_path / "x")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_a_former_record_names_the_command_that_converts_it(old: Path) -> None:
    path, *_ = sorted(old.rglob("teacher-*.jsonl"))
    for reader in (load_record, load_scored):
        with pytest.raises(HarnessError, match="harness upgrade-records"):
            reader(path)
