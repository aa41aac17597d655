"""Records of what stock lm_eval wrote: complete, checked, content-addressed, and verified without what scored them."""

from __future__ import annotations

import json
import math
import shutil
import statistics
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.errors import HarnessError
from harness.metrics import Metric, registry
from harness.records import Record, from_lm_eval, import_results, load_documents, load_record, save_record
from harness.records.check import problems
from harness.records.headlines import headline
from harness.records.provenance import stated_machine, stated_software
from harness.records.reading import sample_of
from harness.records.record import _compact, scored
from harness.records.samples import read_samples


@pytest.fixture(scope="module")
def records(results: Path) -> dict[str, Record]:
    return {record.task: record for record in from_lm_eval(results)}


@pytest.fixture
def copy(results: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(results, tmp_path / "copy"))


def edit(folder: Path, pattern: str, change: Callable[[Any], Any]) -> None:
    """Change the rows of a sample log, or the content of the results file."""
    (path,) = folder.glob(pattern)
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.suffix == ".jsonl" else None
    if lines is None:
        path.write_text(json.dumps(change(json.loads(path.read_text()))))
    else:
        path.write_text("".join(json.dumps(line) + "\n" for line in change(lines)))


def test_our_record_keeps_how_every_number_was_made(records: dict[str, Record]) -> None:
    record = records["kd_newsworld_factual"]
    assert record.bootstrap == {"n_resamples": 1000, "confidence": 0.95, "seed": 12345}
    assert record.metrics == ("oracle", "rouge", "chrf", "surface", "meteor_nosyn")
    assert record.counts["n"] == 24
    assert record.prompt == "Article: {source}\nSummary:"
    origin = record.provenance
    assert origin["model"]["name"] == "student"
    assert len(origin["model"]["weights_sha256"]) == len(origin["model"]["tokenizer_sha256"]) == 64
    assert origin["decoding"]["temperature"] == 0.0
    assert origin["seconds"] > 0
    assert origin["software"]["lm_eval"]
    assert origin["machine"]["processor"]


def test_what_evaluated_is_stated_at_run_time_not_by_the_importing_machine(copy: Path) -> None:
    def elsewhere(results: dict[str, Any]) -> dict[str, Any]:
        runtime = results["configs"]["kd_newsworld_factual"]["metadata"]["runtime"]
        runtime["machine"] = {"processor": "another", "cores": 96, "accelerator": "H100"}
        runtime["software"]["torch"] = "9.9"
        return results

    edit(copy, "results_*.json", elsewhere)
    origin = from_lm_eval(copy)[0].provenance
    assert origin["machine"]["accelerator"] == "H100"
    assert origin["software"]["torch"] == "9.9"


def test_options_name_no_path_of_a_machine(copy: Path) -> None:
    def elsewhere(results: dict[str, Any]) -> dict[str, Any]:
        metadata = results["configs"]["kd_newsworld_factual"]["metadata"]
        metadata["metric_options"] |= {
            "judge": "/home/someone/judge",
            "bertscore_model": "org/name",
            "idf": True,
        }
        return results

    edit(copy, "results_*.json", elsewhere)
    options = from_lm_eval(copy)[0].metric_options
    assert [options[key] for key in ("judge", "bertscore_model", "idf")] == ["judge", "org/name", True]


def test_a_record_survives_its_file(records: dict[str, Record], tmp_path: Path) -> None:
    for record in records.values():
        path = save_record(record, tmp_path)
        assert load_record(path) == record
        assert save_record(record, tmp_path) == path
        assert "/tmp" not in path.read_text()


def test_documents_are_kept_once_and_give_the_prompt_back(results: Path, tmp_path: Path) -> None:
    first = import_results(results, tmp_path, model="a")
    second = import_results(results, tmp_path, model="b")
    assert len(list(tmp_path.glob("kd_newsworld_factual/documents-*.jsonl"))) == 1
    logged = [json.loads(line) for line in next(results.glob("samples_kd_*.jsonl")).read_text().splitlines()]
    for path in (first[0], second[0]):
        record = load_record(path)
        documents = load_documents(record, path)
        assert documents is not None
        for row in logged:
            sample = record.samples[row["doc_id"]]
            document = documents[row["doc_id"]]
            assert document.references == tuple(row["doc"]["references"])
            assert record.prompt_of(sample, document.source) == row["arguments"]["gen_args_0"]["arg_0"]


def test_documents_may_be_left_out(results: Path, tmp_path: Path) -> None:
    assert main(["import-results", str(results), "--records", str(tmp_path), "--no-documents"]) == 0
    assert not list(tmp_path.glob("*/documents-*"))
    (path,) = tmp_path.glob("kd_newsworld_factual/*.jsonl")
    record = load_record(path)
    assert load_documents(record, path) is None
    assert problems(scored(record), None) == []


def test_headlines_need_nothing_that_scored(
    records: dict[str, Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("texts were scored to verify a record")

    registry.described()  # all families are imported
    for metric in Metric.__subclasses__():
        monkeypatch.setattr(metric, "score", refuse)
    record = records["kd_newsworld_factual"]
    assert {"chrf", "chrf++", "meteor_nosyn", "rougeL"} <= set(record.scores)
    assert problems(scored(record), None) == []


def test_corpus_scores_come_from_stored_counts(records: dict[str, Record]) -> None:
    record = records["kd_newsworld_factual"]
    found = headline(scored(record), "chrf")
    assert found is not None
    sentence_mean = statistics.fmean(record.column("chrf").values())
    assert abs(found.value - sentence_mean) > 1e-6  # a corpus score is no mean of sentence scores
    changed = replace(
        record.samples[0], statistics={"chrf": tuple(c + 1 for c in record.samples[0].statistics["chrf"])}
    )
    wrong = problems(scored(replace(record, samples=(changed, *record.samples[1:]))), None)
    assert any(problem.startswith("chrf value is") for problem in wrong)


def test_a_strangers_task_has_headlines_with_intervals(records: dict[str, Record]) -> None:
    choose = records["stranger_choose"]
    assert choose.scores["acc"]["n"] == 4
    assert choose.scores["acc"]["low"] <= choose.scores["acc"]["value"] <= choose.scores["acc"]["high"]
    assert choose.scores["acc"]["signature"].startswith("acc|lm_eval:")
    assert {sample.response for sample in choose.samples} <= {"yes", "no"}
    assert choose.provenance["software"]["lm_eval"]


def test_several_filters_are_scores_of_one_document(records: dict[str, Record]) -> None:
    record = records["stranger_generate"]
    assert len(record.samples) == 4
    assert set(record.scores) == {"exact_match,first-word", "exact_match,whole"}
    # a corpus score of lm-eval's own: its samples do not give it again, so it is stated and never a headline
    assert set(record.stated) == {"chrf,first-word", "chrf,whole"}


def test_machine_and_versions_of_a_strangers_run_come_from_the_results() -> None:
    report = "PyTorch version: 2.1.0\nGPU models and configuration: \nGPU 0: NVIDIA H100 (UUID: x)\n\nCPU:\n"
    report += (
        "Architecture:                x86_64\nCPU(s):                      96\nModel name:           Xeon\n"
    )
    results = {"pretty_env_info": report, "lm_eval_version": "0.4.12", "transformers_version": "4.50"}
    assert stated_machine(results) == {"processor": "Xeon", "cores": 96, "accelerator": "NVIDIA H100"}
    assert stated_software(results)["torch"] == "2.1.0"
    assert stated_machine({})["accelerator"] is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[:-1], "23 of 24 documents; the run was cut short"),
        (lambda rows: [*rows, rows[3]], "document 3 occurs 2 times"),
        (lambda rows: [{**rows[0], "rougeL": 0.123}, *rows[1:]], "rougeL value is"),
        (lambda rows: [{**rows[0], "rougeL": math.nan}, *rows[1:]], "rougeL value is"),
    ],
)
def test_damaged_samples_are_refused(copy: Path, change: Any, said: str) -> None:
    edit(copy, "samples_kd_*.jsonl", change)
    with pytest.raises(HarnessError, match=said):
        from_lm_eval(copy)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"arguments": [["the prompt", {}]]}, r"line 1: no arguments\.gen_args_0; written by lm-eval 0\.4"),
        ({"metrics": None}, r"line 1: no metrics"),
    ],
)
def test_samples_of_another_version_name_what_is_missing(copy: Path, change: Any, said: str) -> None:
    def older(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        changed = [{**row, **change} for row in rows]
        return [{key: value for key, value in row.items() if value is not None} for row in changed]

    edit(copy, "samples_kd_*.jsonl", older)
    with pytest.raises(HarnessError, match=said):
        from_lm_eval(copy)


def test_a_sample_log_that_is_missing_is_named(copy: Path) -> None:
    next(copy.glob("samples_kd_*.jsonl")).unlink()
    with pytest.raises(HarnessError, match=r"samples_kd_newsworld_factual.*missing"):
        from_lm_eval(copy)


def test_an_edited_or_foreign_file_is_no_record(records: dict[str, Record], tmp_path: Path) -> None:
    path = save_record(records["stranger_choose"], tmp_path)
    path.write_text(path.read_text().replace('"yes"', '"no"').replace('"doc_id":0', '"doc_id":9'))
    with pytest.raises(HarnessError, match="does not match the name"):
        load_record(path)
    with pytest.raises(HarnessError, match="no such record"):
        load_record(tmp_path / "x" / "nothing-0.jsonl")


def row(**changes: Any) -> dict[str, Any]:
    source = "One two three four five six seven eight nine ten eleven twelve."
    fields: dict[str, Any] = {
        "doc_id": 0,
        "doc": {"source": source, "references": ["r"]},
        "target": "r",
        "arguments": {"gen_args_0": {"arg_0": f"Read: {source} Sum:"}},
        "filtered_resps": ["six seven"],
        "filter": "none",
        "metrics": ["a"],
        "a": 1.0,
    }
    return fields | changes


def test_a_source_that_was_cut_is_kept_as_a_length() -> None:
    whole = row()
    cut = row(doc_id=1, arguments={"gen_args_0": {"arg_0": "Read: " + whole["doc"]["source"][:50] + " Sum:"}})
    samples, documents, prompt = read_samples([cut, row(doc_id=2), whole])
    assert prompt == "Read: {source} Sum:"
    assert [sample.doc_id for sample in samples] == [0, 1, 2]
    assert samples[1].source_chars is not None
    assert samples[1].source_chars in (50, 51)  # the space after the cut may belong to either
    record_prompt = (samples[1].prompt or prompt).replace(
        "{source}", documents[1].source[: samples[1].source_chars]
    )
    assert record_prompt == cut["arguments"]["gen_args_0"]["arg_0"]


def test_windows_of_the_lens_are_carried_and_nan_is_not_scored() -> None:
    (sample,), _, _ = read_samples([row(lookback_windows=[[0, 9, 0.123456]], a=math.nan)])
    assert sample.lookback_windows == ((0, 9, 0.1235),)
    assert sample.scores == {}


def test_unsupported_items_are_carried_through_log_and_file() -> None:
    spans = [[0, 4, "name"], [8, 9, "number"]]
    (marked,), _, _ = read_samples([row(unsupported_spans=spans)])
    assert marked.unsupported_spans == ((0, 4, "name"), (8, 9, "number"))
    for nothing in ([], None, "x", [[1, 2]]):
        assert read_samples([row(unsupported_spans=nothing)])[0][0].unsupported_spans is None
    assert sample_of(json.loads(json.dumps(_compact(marked)))) == marked


def test_records_of_two_branches_merge(records: dict[str, Record], tmp_path: Path) -> None:
    def git(*words: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    git("commit", "--allow-empty", "-m", "start")
    paths = []
    for branch, name in (("one", "sft"), ("two", "sft"), ("three", "kd")):
        git("checkout", "-b", branch, "main")
        record = replace(records["stranger_choose"], model=name)
        changed = replace(
            record, provenance={**record.provenance, "date": len(paths)}
        )  # the same model, run again
        paths += [save_record(record, tmp_path), save_record(changed, tmp_path)]
        git("add", ".")
        git("commit", "-m", branch)
    git("checkout", "main")
    for branch in ("one", "two", "three"):
        git("merge", "--no-edit", branch)
    assert len(set(paths)) == 5  # two branches made one record that is the same
    for path in paths:
        load_record(path)
