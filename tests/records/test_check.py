"""Attempts to make a record say what is not so. Each forgery is renamed by its true hash, so that only a check can find it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.files import canonical_json, sha256_bytes
from harness.records import (
    Document,
    Record,
    load_documents,
    load_record,
    load_scored,
    save_documents,
    save_record,
)
from harness.records.check import problems

Lines = list[dict[str, Any]]


@pytest.fixture(scope="module")
def honest(score_texts: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record with its documents beside it."""
    record, documents = score_texts(("oracle", "rouge", "chrf", "surface"))
    folder = tmp_path_factory.mktemp("honest")
    save_documents(documents, record.task, folder)
    return save_record(record, folder)


def named(folder: Path, data: bytes, stem: str = "student") -> Path:
    """A file of these bytes under the name that its hash gives it."""
    path = folder / f"{stem}-{sha256_bytes(data)}.jsonl"
    path.write_bytes(data)
    return path


def read(path: Path) -> Record:
    """Read a record in both ways and check it, as a board does."""
    columns = load_scored(path)
    record = load_record(path)
    HarnessError.raise_for(problems(columns, load_documents(record, path)), "x")
    return record


def forged(honest: Path, change: Callable[[Lines], Any]) -> Path:
    """The record with its lines changed, in canonical form and rightly named."""
    lines: Lines = [json.loads(line) for line in honest.read_text().splitlines()]
    changed = change(lines)
    lines = changed if isinstance(changed, list) else lines
    return named(honest.parent, "".join(canonical_json(line) + "\n" for line in lines).encode())


def edited(*path: Any, to: Any) -> Callable[[Lines], None]:
    """Set one value: line, then keys."""

    def change(lines: Lines) -> None:
        place: Any = lines
        for step in path[:-1]:
            place = place[step]
        assert not isinstance(place, list) or place[path[-1]] != to
        place[path[-1]] = to

    return change


def without(*path: Any) -> Callable[[Lines], None]:
    """Leave one value out: line, then keys."""

    def change(lines: Lines) -> None:
        place: Any = lines
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return change


def each(change: Callable[[dict[str, Any]], Any]) -> Callable[[Lines], None]:
    """Change every sample that has scores."""

    def change_all(lines: Lines) -> None:
        for line in lines[1:]:
            if "rougeL" in line["scores"]:
                change(line)

    return change_all


def renamed(lines: Lines) -> None:
    """One score under a name of its own, with its headline."""
    for line in lines:
        if "rougeL" in line["scores"]:
            line["scores"]["better"] = line["scores"].pop("rougeL")


def test_the_honest_record_passes(honest: Path) -> None:
    record = read(honest)
    assert record.counts["failed"] == 4
    assert {"oracle_faithfulness", "rougeL", "chrf", "length", "answer_rate"} <= set(record.scores)


HEADLINE = ("scores", "rougeL")
FORGERIES: dict[str, tuple[Callable[[Lines], Any], str]] = {
    # headlines
    "a digit of a headline": (edited(0, *HEADLINE, "value", to=0.5), "rougeL value is 0.5, the samples give"),
    "a digit of a limit": (edited(0, *HEADLINE, "low", to=0.5), "rougeL low is 0.5, the samples give"),
    "n of a headline": (edited(0, *HEADLINE, "n", to=24), "rougeL n is 24, the samples give 20"),
    "a headline without samples": (
        lambda lines: lines[0]["scores"].update(rouge1=lines[0]["scores"]["rougeL"]),
        "rouge1",
    ),
    "a score without headline": (without(0, "scores", "length"), "samples have length"),
    "a digit of a sample": (edited(1, "scores", "rougeL", to=0.9), "rougeL value is"),
    "more digits than are published": (edited(1, "scores", "coverage", to=0.123456789012), "is not rounded"),
    # documents
    "a document twice": (lambda lines: [*lines[:2], *lines[1:]], "document 0 occurs twice"),
    "documents out of order": (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "out of order"),
    "an unknown document": (edited(24, "doc_id", to=99), "unknown (first: 99)"),
    "a missing document": (lambda lines: lines[:-1], "missing (first: 23)"),
    "a document below 0": (edited(1, "doc_id", to=-1), "doc_id is no number"),
    "no documents": (edited(0, "documents", to=None), "no hash of the documents"),
    # counts
    "n": (edited(0, "counts", "n", to=23), "counts say n = 23"),
    "answered": (edited(0, "counts", "answered", to=22), "answered 22 and failed 4 make not 24"),
    "a kind of failure": (edited(0, "counts", "empty", to=9), "the kinds of failure do not make 4"),
    "failures hidden in both": (
        lambda lines: lines[0]["counts"].update(answered=24, failed=0, empty=0, short=0, refused=0),
        "20 samples have a length, 24 were answered",
    ),
    "no kinds": (without(0, "counts", "refused"), "counts have no refused"),
    "a count below 0": (edited(0, "counts", "short", to=-1), "counts is not what a record holds"),
    # definitions
    "out of range": (edited(1, "scores", "rougeL", to=1.5), "1.5 is outside 0 to 1"),
    "below the range": (edited(1, "scores", "length", to=-3.0), "-3 is outside 0 to any"),
    "a direction flipped": (
        edited(0, "scores", "oracle_intrinsic", "higher_is_better", to=True),
        "higher_is_better is True, by definition False",
    ),
    "a direction given": (edited(0, "scores", "length", "higher_is_better", to=True), "by definition None"),
    "a score of no family": (renamed, "no metric family here has such a score"),
    "an unknown family": (edited(0, "metrics", 0, to="trust"), "unknown metric family 'trust'"),
    # settings
    "confidence": (edited(0, "bootstrap", "confidence", to=0.5), "confidence 0.5; they are made with 0.95"),
    "seed": (edited(0, "bootstrap", "seed", to=7), "seed 7; they are made with 12345"),
    "a seed of another type": (edited(0, "bootstrap", "seed", to="x"), "seed x"),
    "few resamples": (edited(0, "bootstrap", "n_resamples", to=50), "n_resamples 50; they are made with 1000"),
    "endless resamples": (edited(0, "bootstrap", "n_resamples", to=10**9), "n_resamples 1000000000"),
    "a setting more": (lambda lines: lines[0]["bootstrap"].update(method="mine"), "bootstrap has"),
    "signature against options": (
        edited(0, "metric_options", to={"rouge_stemmer": True}),
        "is not what the options give",
    ),
    "options against signature": (
        edited(0, *HEADLINE, "signature", to="rougeL|f1|refs:best|stem:porter|tok:rouge_score+scripts|version:1"),
        "is not what the options give",
    ),
    "no family at all": (edited(0, "metrics", to=[]), "is none of lm-eval's on kd_newsworld_factual"),
    "measured elsewhere": (edited(0, "provenance", "measured", to="elsewhere"), "computed by no metric family here"),
    "published by others": (
        lambda lines: (lines[0].update(metrics=[]), lines[0]["provenance"].update(measured="elsewhere"))[0],
        "is none of published scores",
    ),
    "a date before time": (edited(0, "provenance", "date", to=-1), "date -1 is no time"),
    "a date after time": (edited(0, "provenance", "date", to=10**15), "is no time"),
    # counts behind corpus scores
    "counts of another text": (edited(1, "statistics", "chrf", 2, to=0), "its counts give"),
    "counts left out": (each(lambda line: line["statistics"].pop("chrf")), "a corpus score without its counts"),
    "counts of one sample left out": (without(1, "statistics", "chrf"), "are not the same"),
    "counts of a mean": (each(lambda line: line["statistics"].update(rougeL=[1, 2])), "is no corpus score"),
    "counts below 0": (edited(1, "statistics", "chrf", 0, to=-1), "are not the counts behind its score"),
    "counts of another length": (edited(1, "statistics", "chrf", to=[1, 2]), "are not the counts behind its score"),
    # types and texts
    "half of a surrogate pair": (edited(1, "response", to="\ud800"), "half of a surrogate pair"),
    "a huge score": (edited(1, "scores", "length", to=1e300), "are not decimal numbers"),
    "a huge whole number": (edited(1, "scores", "length", to=10**400), "are not decimal numbers"),
    "a huge count": (edited(1, "statistics", "chrf", 0, to=10**400), "are not the counts"),
    "a huge document": (edited(1, "doc_id", to=10**30), "doc_id is no number"),
    "a whole number for a score": (edited(1, "scores", "length", to=3), "are not decimal numbers"),
    "text for a score": (edited(1, "scores", "length", to="3"), "are not decimal numbers"),
    "a window beyond the response": (
        lambda lines: lines[1].update(lookback_windows=[[0, 10**6, 0.5]]),
        "lies outside the response",
    ),
    "a probability above 1": (lambda lines: lines[1].update(lookback_windows=[[0, 3, 1.5]]), "outside 0..1"),
    "a mark beyond the response": (
        lambda lines: lines[1].update(unsupported_spans=[[0, 10**6, "name"]]),
        "unsupported span is empty, or lies outside",
    ),
    "no marks": (lambda lines: lines[1].update(unsupported_spans=[]), "unsupported span is empty"),
    "a mark of no kind": (
        lambda lines: lines[1].update(unsupported_spans=[[0, 1, "verb"]]),
        "unsupported_spans are not start, end and kind",
    ),
    "a field of no meaning": (lambda lines: lines[1].update(prompt=None), "says nothing is left out"),
    "a field more": (lambda lines: lines[0].update(trusted=True), "unknown field 'trusted'"),
    "a field less": (without(0, "counts"), "counts is missing"),
    "scores that are a list": (edited(0, "scores", to=[]), "scores is not what a record holds"),
    "another version": (edited(0, "record", to=2), "harness upgrade-records"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "said"), FORGERIES.values(), ids=FORGERIES)
def test_a_forgery_is_refused(honest: Path, change: Callable[[Lines], Any], said: str) -> None:
    path = forged(honest, change)
    try:
        with pytest.raises(HarnessError) as raised:
            read(path)
    finally:
        path.unlink()
    assert said in str(raised.value)


RAW: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a blank line": (lambda data: data.replace(b"\n", b"\n\n", 1), "line 2: not JSON"),
    "a blank in a line": (lambda data: data.replace(b'"doc_id":0', b'"doc_id": 0'), "not in canonical form"),
    "another order of keys": (
        lambda data: data.replace(b'{"doc_id":0,', b"{", 1).replace(b"}}\n", b'},"doc_id":0}\n', 2),
        "canonical form",
    ),
    "no end": (lambda data: data[:-1], "no line end"),
    "nothing": (lambda _: b"", "an empty record"),
    "NaN": (lambda data: data.replace(b'"length":', b'"length":NaN,"x":', 1), "not JSON"),
    "infinity": (lambda data: data.replace(b'"answer_rate":1.0', b'"answer_rate":1e999', 1), "not JSON"),
    "a key twice": (
        lambda data: data.replace(b'{"doc_id":0', b'{"doc_id":0,"doc_id":0', 1),
        "canonical form",
    ),
    "deep JSON": (lambda data: data + b"[" * 100_000 + b"]" * 100_000 + b"\n", "not JSON"),
    "a number of ten thousand digits": (
        lambda data: data.replace(b'"doc_id":0', b'"doc_id":' + b"9" * 10_000, 1),
        "not JSON",
    ),
    "no UTF-8": (lambda data: data.replace(b"Article", b"\xff\xfe", 1), "not JSON"),
    "a list": (lambda data: data + b"[]\n", "not in canonical form"),
}


@pytest.mark.parametrize(("change", "said"), RAW.values(), ids=RAW)
def test_bytes_in_another_form_are_refused(
    honest: Path, tmp_path: Path, change: Callable[[bytes], bytes], said: str
) -> None:
    data = change(honest.read_bytes())
    assert data != honest.read_bytes()
    path = named(tmp_path, data)
    for reader in (load_record, load_scored):
        with pytest.raises(HarnessError) as raised:
            reader(path)
        assert said in str(raised.value)


def test_a_name_is_the_whole_hash(honest: Path, tmp_path: Path) -> None:
    data = honest.read_bytes()
    digest = sha256_bytes(data)
    other = ("0" if digest[-1] != "0" else "1") * 1
    for name, said in (
        (digest[:12], "former version"),  # two files can be made to share it
        (digest[:63], "former version"),
        (digest[:-1] + other, "does not match the name"),
        ("x" + digest, "does not match the name"),
    ):
        path = tmp_path / f"student-{name}.jsonl"
        path.write_bytes(data)
        with pytest.raises(HarnessError, match=said):
            load_scored(path)


def test_documents_are_as_strict(honest: Path, tmp_path: Path) -> None:
    record = load_record(honest)
    (file,) = honest.parent.glob("documents-*.jsonl")
    first, *rest = file.read_bytes().splitlines(keepends=True)
    for data, said in (
        (first + first + b"".join(rest), "occurs twice"),
        (b"\n" + first, "not JSON"),
        (b'{"doc_id":0}\n', "no doc_id, source and references"),
        (b'{"doc_id":0,"references":["\\ud800"],"source":""}\n', "half of a surrogate pair"),
    ):
        path = named(tmp_path, data, "documents")
        digest = path.stem.removeprefix("documents-")
        with pytest.raises(HarnessError, match=said):
            load_documents(replace(record, documents=digest), tmp_path / "student-x.jsonl")


def test_what_cannot_be_known_without_documents_is_not_claimed(honest: Path) -> None:
    columns = load_scored(honest)
    assert problems(columns, None) == []
    fewer = {doc_id: Document(doc_id=doc_id, source="", references=()) for doc_id in range(20)}
    assert "4 of 20 documents unknown (first: 20, 21, 22)" in problems(columns, fewer)
