"""Records in Every Eval Ever's schema: its own validator accepts them, and they say nothing that no record knows.

The validator needs Python 3.12, so it stands in an environment of its own; ``EVERY_EVAL_EVER`` names its command:

    python3.12 -m venv eee && eee/bin/pip install every-eval-ever==0.3.0
    EVERY_EVAL_EVER=eee/bin/every_eval_ever python -m pytest tests/board/test_every_eval_ever.py
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.board.every_eval_ever import Publisher, export
from harness.cli import main
from harness.errors import HarnessError
from harness.records import Document, Record, load_record, save_documents, save_record
from harness.records.documents import encode_documents
from harness.records.import_scores import Published, Scale, import_scores
from harness.records.score_rows import ScoreRow

MakeRecord = Callable[..., Record]
US = Publisher(organization="Some lab", relationship="third_party", developer="lab")
COLUMNS = {
    "rougeL": [0.25, 0.5, None, 1.0],
    "oracle_extrinsic": [0.0, 1.0, None, 0.0],
    "length": [3.0, 4.0, None, 6.0],
}
DOCUMENTS = [Document(doc_id=i, source=f"article {i}", references=(f"summary {i}",)) for i in range(4)]
NOW = 1_800_000_000


@pytest.fixture
def saved(make_record: MakeRecord, tmp_path: Path) -> Callable[..., Path]:
    """Saves a record with its documents."""

    def save(*, documents: bool = True, **changes: Any) -> Path:
        digest = hashlib.sha256(encode_documents(DOCUMENTS)).hexdigest()
        record = make_record("student", COLUMNS, documents=digest, prompt="Article: {source}", **changes)
        if documents:
            save_documents(DOCUMENTS, record.task, tmp_path / "records")
        return save_record(record, tmp_path / "records")

    return save


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    """A record of scores that others published, on a scale from 1 to 5, of a response whose text they kept."""
    rows = [
        ScoreRow(
            place=f"row {i}",
            document=f"d{i}",
            model="owner/system",
            response=None,
            response_sha256=hashlib.sha256(b"x").hexdigest(),
            judge="people",
            scores={"faithful": score},
            source=f"article {i}",
        )
        for i, score in enumerate([1.0, 4.0, 5.0])
    ]
    published = Published(source="A board", url="https://example.org", accessed="2026-11-24")
    (path,) = import_scores(
        rows, tmp_path, task="theirs", published=published, scale=Scale(low=1.0, high=5.0)
    )
    return path


def exported(path: Path, output: Path, **changes: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The aggregate and the sample lines of one record."""
    (first, *rest), _ = export([path], output, US, now=NOW, **changes)
    lines = [json.loads(line) for file in rest for line in file.read_text("utf-8").splitlines()]
    return json.loads(first.read_text("utf-8")), lines


def values(tree: Any) -> Iterator[Any]:
    """Every value of plain data, at any depth."""
    for value in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield value
        yield from values(value)


def validated(folder: Path) -> subprocess.CompletedProcess[str]:
    """The schema's own validator over a folder, which exits with 1 on errors and with 2 on warnings."""
    command = shutil.which(os.environ.get("EVERY_EVAL_EVER", "every_eval_ever"))
    if command is None:
        pytest.skip("no every_eval_ever command (see the head of this file)")
    files = [file.relative_to(folder).as_posix() for file in sorted(folder.glob("data/*/*/*/*"))]
    return subprocess.run(
        [command, "validate", "--format", "json", *files],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_their_validator_accepts_it_without_a_warning(
    saved: Callable[..., Path], imported: Path, tmp_path: Path
) -> None:
    export([saved(), imported], tmp_path / "out", US, now=NOW)
    done = validated(tmp_path / "out")
    assert done.returncode == 0, done.stdout
    assert [(file["valid"], file["errors"], file["warnings"]) for file in json.loads(done.stdout)] == [
        (True, [], [])
    ] * 4


def test_their_validator_would_refuse_a_wrong_file(saved: Callable[..., Path], tmp_path: Path) -> None:
    (aggregate, _), _ = export([saved()], tmp_path / "out", US, now=NOW)
    content = json.loads(aggregate.read_text())
    content["evaluation_results"][0]["score_details"]["score"] = 7.0
    aggregate.write_text(json.dumps(content))
    assert validated(tmp_path / "out").returncode == 1


@pytest.mark.slow
def test_the_records_of_the_committed_boards_are_valid(root: Path, tmp_path: Path) -> None:
    board = root / "leaderboards" / "newsworld.json"
    records = [board.parent / row["record"] for row in json.loads(board.read_text())["rows"]]
    written, left_out = export(records, tmp_path, US, now=NOW)
    assert len(written) == 2 * (len(records) - len(left_out))
    assert validated(tmp_path).returncode == 0


def test_each_score_goes_with_its_interval_and_signature(saved: Callable[..., Path], tmp_path: Path) -> None:
    path = saved()
    aggregate, _ = exported(path, tmp_path / "out")
    stated = load_record(path).scores
    results = {result["evaluation_result_id"]: result for result in aggregate["evaluation_results"]}
    assert results.keys() == {"rougeL", "oracle_extrinsic", "answer_rate"}
    for key, result in results.items():
        details = result["score_details"]
        assert details["score"] == stated[key]["value"]
        interval = details["uncertainty"]["confidence_interval"]
        assert (interval["lower"], interval["upper"]) == (stated[key]["low"], stated[key]["high"])
        assert interval["confidence_level"] == 0.95
        assert result["metric_config"]["metric_parameters"]["signature"] == stated[key]["signature"]
        assert result["metric_config"]["lower_is_better"] == (key == "oracle_extrinsic")
    # only a share of samples has Wilson's interval
    methods = {
        key: result["score_details"]["uncertainty"]["confidence_interval"]["method"]
        for key, result in results.items()
    }
    assert methods["oracle_extrinsic"] == methods["answer_rate"] == "Wilson score"
    assert methods["rougeL"] == "BCa bootstrap, seed 12345"
    assert "num_bootstrap_samples" not in results["answer_rate"]["score_details"]["uncertainty"]
    assert {key: result["score_details"]["details"] for key, result in results.items()} == {
        "rougeL": {"failed": "1"},
        "oracle_extrinsic": {"failed": "1"},
        "answer_rate": {"failed": "0"},
    }


def test_a_score_without_a_direction_is_told_apart(saved: Callable[..., Path], tmp_path: Path) -> None:
    path = saved()
    aggregate, lines = exported(path, tmp_path / "out")
    kept = json.loads(aggregate["source_metadata"]["additional_details"]["scores_without_direction"])
    assert kept == {"length": load_record(path).scores["length"]}
    assert "length" not in {line["evaluation_result_id"] for line in lines}


def test_samples_are_linked_and_failed_ones_have_no_score(saved: Callable[..., Path], tmp_path: Path) -> None:
    aggregate, lines = exported(saved(), tmp_path / "out")
    link = aggregate["detailed_evaluation_results"]
    file = tmp_path / "out" / link["file_path"]
    assert link["checksum"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert link["total_rows"] == len(lines) == 3 + 3 + 4
    name = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}_samples\.jsonl"  # a UUID of version 4
    assert re.fullmatch(f"data/made_up/lab/student/{name}", link["file_path"])
    assert {(line["evaluation_id"], line["model_id"]) for line in lines} == {
        (aggregate["evaluation_id"], aggregate["model_info"]["id"])
    }
    found = {(line["sample_id"], line["evaluation_result_id"]): line for line in lines}
    assert ("2", "rougeL") not in found
    line = found["1", "oracle_extrinsic"]
    assert line["input"] == {"raw": "Article: article 1", "reference": ["summary 1"]}
    assert line["output"] == {"raw": ["response 1"]}
    # lower is better: an error is not correct
    assert line["evaluation"] == {"score": 1.0, "is_correct": False}
    assert found["0", "oracle_extrinsic"]["evaluation"] == {"score": 0.0, "is_correct": True}
    assert found["2", "answer_rate"]["evaluation"] == {"score": 0.0, "is_correct": False}
    # a full ROUGE score is no correct answer, and says so
    assert found["3", "rougeL"]["evaluation"] == {"score": 1.0, "is_correct": False}
    assert found["3", "rougeL"]["metadata"] == {"is_correct_applicable": "false"}
    recipe = json.dumps(line["input"], sort_keys=True, separators=(",", ":"))
    assert line["sample_hash"] == hashlib.sha256(recipe.encode()).hexdigest()


def test_what_is_known_of_a_run_is_there(saved: Callable[..., Path], tmp_path: Path) -> None:
    origin = {
        "data_source": "hub:owner/set/config@abc123:test",
        "decoding": {"temperature": 0.0, "max_gen_toks": 32, "do_sample": False, "until": ["\n"]},
        "software": {"harness": "0.1", "lm_eval": "0.4.13", "transformers": "5.23.0"},
        "parameters": 7,
    }
    path = saved(provenance=origin)
    aggregate, _ = exported(path, tmp_path / "out")
    assert aggregate["schema_version"] == "0.3.0"
    assert aggregate["evaluation_id"] == f"made_up/lab/student/{path.stem.rpartition('-')[2]}"
    assert (aggregate["retrieved_timestamp"], aggregate["evaluation_timestamp"]) == (str(NOW), "1790000000")
    assert (aggregate["eval_library"]["name"], aggregate["eval_library"]["version"]) == (
        "faithfulness-harness",
        "0.1",
    )
    model = aggregate["model_info"]
    assert (model["id"], model["developer"], model["name"]) == ("lab/student", "lab", "student")
    assert model["inference_engine"] == {"name": "transformers", "version": "5.23.0"}
    assert model["additional_details"]["deployment_type"] == "self_deployed"
    assert model["additional_details"]["parameters"] == "7"
    result = aggregate["evaluation_results"][0]
    assert (result["source_data"]["hf_repo"], result["source_data"]["hf_split"]) == ("owner/set", "test")
    assert result["source_data"]["additional_details"]["revision"] == "abc123"
    assert result["generation_config"]["generation_args"] == {
        "temperature": 0.0,
        "max_tokens": 32,
        "prompt_template": "Article: {source}",
    }
    assert result["generation_config"]["additional_details"] == {"do_sample": "false", "until": '["\\n"]'}


def test_nothing_is_invented_of_scores_that_others_published(imported: Path, tmp_path: Path) -> None:
    aggregate, lines = exported(imported, tmp_path / "out")
    assert "evaluation_timestamp" not in aggregate
    assert aggregate["eval_library"] == {"name": "unknown", "version": "unknown"}
    assert aggregate["source_metadata"]["source_name"] == "A board"
    assert aggregate["source_metadata"]["additional_details"]["measured"] == "elsewhere"
    details = {"deployment_type": "unknown", "model_availability": "unknown"}
    assert aggregate["model_info"] == {
        "name": "system",
        "id": "owner/system",
        "developer": "owner",
        "additional_details": details,
    }
    (result,) = aggregate["evaluation_results"]
    assert "generation_config" not in result
    metric = result["metric_config"]
    assert (metric["min_score"], metric["max_score"], metric["metric_unit"]) == (1.0, 5.0, "points")
    assert metric["metric_parameters"]["judge"] == "people"
    assert [line["sample_id"] for line in lines] == ["d0", "d1", "d2"]
    assert {json.dumps(line["output"]) for line in lines} == {'{"raw": []}'}
    assert lines[0]["metadata"]["response_sha256"] == hashlib.sha256(b"x").hexdigest()
    assert None not in list(values(aggregate))


def test_an_unbounded_score_says_so_in_the_schema_words(tmp_path: Path) -> None:
    row = ScoreRow(
        place="r",
        document="1",
        model="o/m",
        response="t",
        response_sha256=None,
        judge="j",
        scores={"elo": 1e3},
    )
    published = Published(source="A board", url="https://example.org", accessed="2026-11-24")
    (path,) = import_scores([row], tmp_path, task="t", published=published, scale=Scale(low=None, high=None))
    aggregate, lines = exported(path, tmp_path / "out")
    metric = aggregate["evaluation_results"][0]["metric_config"]
    assert (metric["min_score"], metric["max_score"]) == ("-Infinity", "Infinity")
    # one sample has no interval, and no source was published
    assert aggregate["evaluation_results"][0]["score_details"]["uncertainty"] == {"num_samples": 1}
    assert lines == []


def test_references_are_no_model(saved: Callable[..., Path], tmp_path: Path) -> None:
    gold = saved(provenance={"backend": "harness-gold"})
    written, left_out = export([gold, saved()], tmp_path / "out", US, now=NOW)
    assert len(written) == 2
    assert left_out == [f"{gold.name}: the references, which are no model"]
    with pytest.raises(HarnessError, match="no record of a model"):
        export([gold], tmp_path / "out", US, now=NOW)


def test_samples_without_documents_are_left_out_and_said(saved: Callable[..., Path], tmp_path: Path) -> None:
    path = saved(documents=False)
    written, left_out = export([path], tmp_path / "out", US, now=NOW)
    assert [file.suffix for file in written] == [".json"]
    assert "detailed_evaluation_results" not in json.loads(written[0].read_text())
    assert left_out == [f"{path.name}: its samples, whose documents were not kept"]


def test_a_second_export_replaces_the_first(saved: Callable[..., Path], tmp_path: Path) -> None:
    path = saved()
    first, _ = export([path], tmp_path / "out", US, now=NOW)
    before = {file: file.read_text() for file in first}
    second, _ = export([path], tmp_path / "out", US, now=NOW)
    assert {file: file.read_text() for file in second} == before
    assert {file for file in (tmp_path / "out").rglob("*") if file.is_file()} == set(second)


@pytest.mark.parametrize(
    ("publisher", "said"),
    [
        ({"developer": None}, "has no owner"),
        ({"developer": "unknown"}, "'unknown' cannot name a folder"),
        ({"collection": "data"}, "'data' cannot name a folder"),
        ({"collection": "a."}, "'a.' cannot name a folder"),
    ],
)
def test_what_the_data_store_refuses_is_refused_here(
    saved: Callable[..., Path], tmp_path: Path, publisher: dict[str, Any], said: str
) -> None:
    fields = {"organization": "o", "relationship": "other", "developer": "d", **publisher}
    with pytest.raises(HarnessError, match=said):
        export([saved()], tmp_path / "out", Publisher(**fields), now=NOW)
    assert not (tmp_path / "out").exists()


def test_the_command_writes_and_says_what_it_wrote(
    saved: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", "--format", "every-eval-ever", str(saved()), "--output", str(tmp_path / "out")]
    assert (
        main([*words, "--organization", "o", "--relationship", "other", "--developer", "d", "--no-samples"])
        == 0
    )
    (file,) = (tmp_path / "out").glob("data/made_up/d/student/*")
    assert capsys.readouterr().out.strip() == str(file)
    assert main(words) == 2
    assert "--organization, --relationship" in capsys.readouterr().err


def test_an_edited_record_is_not_exported(saved: Callable[..., Path], tmp_path: Path) -> None:
    path = saved()
    path.write_text(path.read_text().replace("response 1", "response 7"))
    with pytest.raises(HarnessError, match="does not match the name"):
        export([path], tmp_path / "out", US, now=NOW)
