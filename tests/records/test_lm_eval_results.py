"""Results folders that lm-eval did not finish, wrote in another version, or wrote about a model that has moved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness.cli import main
from harness.errors import HarnessError
from harness.metrics.base import Metric
from harness.metrics.registry import described
from harness.models.identity import model_identity
from harness.records import from_lm_eval, import_results, load_documents, load_record
from harness.records.deep import recompute
from harness.records.lm_eval_log import read_rows

if TYPE_CHECKING:
    from tests.conftest import StockLmEval


def test_results_of_another_version_name_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "results_2026-01-01.json").write_text(json.dumps({"results": {}, "lm_eval_version": "0.3.0"}))
    with pytest.raises(HarnessError, match=r"no configs.*n-samples.*lm-eval 0\.3\.0"):
        from_lm_eval(tmp_path)


def test_a_results_file_cut_short_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "results_2026-01-01.json").write_text('{"results": {"x"')
    with pytest.raises(HarnessError, match="not JSON"):
        from_lm_eval(tmp_path)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("/home/someone/runs/sft", "sft"),
        ("runs/a/sft", "sft"),
        ("./sft", "sft"),
        ("meta-llama/Llama-2-7b-hf", "meta-llama/Llama-2-7b-hf"),
    ],
)
def test_a_record_names_no_path_of_the_machine(name: str, shown: str) -> None:
    assert model_identity(name, None)["name"] == shown


@pytest.fixture
def copy(results: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(results, tmp_path / "out" / "student"))


def change_line(folder: Path, number: int, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change one line of our task's sample log."""
    (path,) = folder.glob("samples_kd_*.jsonl")
    lines = path.read_text().splitlines()
    line = json.loads(lines[number - 1])
    change(line)
    lines[number - 1] = json.dumps(line)
    path.write_text("\n".join(lines) + "\n")


def change_results(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the results file; ``change`` gets it, and what our task says there."""
    (path,) = folder.glob("results_*.json")
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def ours(results: dict[str, Any]) -> dict[str, Any]:
    """What our task states."""
    return results["configs"]["kd_newsworld_factual"]["metadata"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda row: row["doc"].update(source=row["doc"]["source"] + " "), "doc_hash is not that of its doc"),
        (lambda row: row["doc"]["references"].append("another"), "doc_hash is not that of its doc"),
        (
            lambda row: row["arguments"]["gen_args_0"].update(arg_0="Be faithful. Article:"),
            "prompt_hash is not that of its prompt",
        ),
        (lambda row: row.update(target="another"), "target_hash is not that of its target"),
        (lambda row: row.update(filtered_resps=["\ud800"]), "half of a surrogate pair"),
        (lambda row: row["doc"].update(source="\udfff"), "half of a surrogate pair"),
    ],
)
def test_a_line_that_was_changed_after_the_run_is_named(copy: Path, change: Any, said: str) -> None:
    change_line(copy, 3, change)
    with pytest.raises(HarnessError, match=rf"samples_kd_.*, line 3: .*{said}"):
        from_lm_eval(copy)


def test_the_hashes_are_those_of_lm_eval_itself(copy: Path) -> None:
    """`lm_eval` hashes a document as it had it in memory: what it cannot write as JSON it turns into text in the same way."""
    from lm_eval.utils import handle_non_serializable, hash_string

    document = {
        "id": 7,
        "size": np.int64(3),
        "share": np.float64(0.1),
        "when": date(2026, 1, 2),
        "é": [None, True, 1e-7],
    }
    text = json.dumps(document, indent=2, default=handle_non_serializable, ensure_ascii=False)
    logged = json.loads(json.dumps(document, default=handle_non_serializable, ensure_ascii=False))
    change_line(copy, 1, lambda row: row.update(doc=logged, doc_hash=hash_string(text)))
    (path,) = copy.glob("samples_kd_*.jsonl")
    results = {"n-samples": {"t": {"effective": 24}}, "lm_eval_version": "x"}
    assert len(read_rows(path, results, "t")) == 24


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: ours(r)["scores"]["rougeL"].update(value=0.9), "rougeL value is 0.9, the samples give"),
        (lambda r: ours(r)["scores"]["rougeL"].update(low=0.0), "rougeL low is 0.0, the samples give"),
        (lambda r: ours(r)["scores"]["rougeL"].update(higher_is_better=False), "by definition True"),
        (
            lambda r: ours(r)["scores"]["rougeL"].update(signature="rougeL|mine"),
            "is not what the options give",
        ),
        (lambda r: ours(r)["scores"]["rougeL"].update(value="high"), "rougeL: no headline"),
        (lambda r: ours(r)["scores"].pop("rougeL"), "samples have rougeL, which has no headline"),
        (lambda r: ours(r)["counts"].update(answered=3), "answered 3 and failed"),
        (lambda r: ours(r)["bootstrap"].update(seed=1), "seed 1; they are made with 12345"),
        (lambda r: ours(r).pop("scores"), "--predict_only"),
        (lambda r: ours(r).pop("counts"), "no counts of kd_newsworld_factual"),
        (lambda r: r["n-samples"]["kd_newsworld_factual"].update(effective=30), "24 of 30 documents"),
        (lambda r: r.update(date="today"), "no date"),
        (lambda r: r.update(date=-5), "date -5 is no time"),
    ],
)
def test_results_that_contradict_their_samples_are_refused(copy: Path, change: Any, said: str) -> None:
    change_results(copy, change)
    with pytest.raises(HarnessError) as raised:
        from_lm_eval(copy)
    assert said in str(raised.value)


def test_a_log_without_counts_asks_for_another_evaluation(copy: Path) -> None:
    for line in range(1, 25):
        change_line(copy, line, lambda row: row.pop("statistics"))
    with pytest.raises(
        HarnessError, match=r"no counts behind chrf, chrf\+\+; written by harness [\s\S]*again"
    ):
        from_lm_eval(copy)


def test_the_texts_are_not_scored_at_import(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("texts were scored")

    described()  # all families are imported
    for metric in Metric.__subclasses__():
        monkeypatch.setattr(metric, "score", refuse)
    assert "chrf" in from_lm_eval(results)[0].scores


def test_deep_results_are_one_clear_error(copy: Path) -> None:
    (path,) = copy.glob("samples_kd_*.jsonl")
    path.write_text("[" * 100_000)
    with pytest.raises(HarnessError, match=r"samples_kd.*line 1: maximum recursion"):
        from_lm_eval(copy)
    (path,) = copy.glob("results_*.json")
    path.write_text("[" * 100_000)
    with pytest.raises(HarnessError, match="not JSON"):
        from_lm_eval(copy)


def test_the_folder_above_will_do(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(copy, tmp_path / "out" / "teacher")
    assert main(["import-results", str(tmp_path / "out"), "--records", str(tmp_path / "records")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6  # three tasks of each
    with pytest.raises(HarnessError, match="results of 2 models"):
        from_lm_eval(tmp_path / "out")
    words = ["import-results", str(tmp_path / "out"), "--records", str(tmp_path / "named"), "--model", "x"]
    assert main(words) == 2
    assert "--model names one model" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "out" / "teacher")
    assert {record.model for record in from_lm_eval(tmp_path / "out", model="x")} == {"x"}


def test_one_folder_that_fails_does_not_stop_the_others(
    copy: Path, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_line(copy, 2, lambda row: row.update(target="another"))
    (tmp_path / "empty").mkdir()
    folders = [str(copy), str(tmp_path / "empty"), str(results)]
    assert main(["import-results", *folders, "--records", str(tmp_path / "records")]) == 2
    out, error = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert "2 problems" in error
    assert "line 2: target_hash" in error
    assert "no results_*.json" in error


def test_a_model_that_answers_nothing_is_a_record(
    root: Path, tmp_path: Path, stock_lm_eval: StockLmEval
) -> None:
    words = ["--model", "dummy", "--tasks", "kd_newsworld_factual", "--output_path", str(tmp_path / "out")]
    words += ["--log_samples", "--include_path", str(root / "tasks"), "--metadata"]
    words += [json.dumps({"n_documents": 5, "metrics": "oracle,rouge,chrf,surface", "answer_min_words": 3})]
    ran = stock_lm_eval(*words)
    assert ran.returncode == 0, ran.stderr[-2000:]
    (path,) = import_results(tmp_path / "out", tmp_path / "records")
    record = load_record(path)
    assert record.counts["answered"] == 0
    assert record.counts["failed"] == record.counts["short"] == len(record.samples) == 5
    assert set(record.scores) == {"answer_rate", "looping"}
    assert record.scores["answer_rate"]["value"] == 0.0
    assert recompute(record, load_documents(record, path)).keys == ["answer_rate", "looping"]


def test_results_are_found_at_any_depth(tmp_path: Path) -> None:
    from harness.records.lm_eval_log import results_folders

    inner = tmp_path / "study-eval" / "results" / "student-1a2b" / "__models__student"
    other = tmp_path / "study-eval" / "results" / "teacher-3c4d" / "org__teacher"
    for folder in (inner, other):
        folder.mkdir(parents=True)
        (folder / "results_2026-01-01.json").write_text("{}")
    assert results_folders(tmp_path) == results_folders(tmp_path / "study-eval") == [inner, other]
    assert results_folders(inner) == [inner]
    assert results_folders(inner.parent) == [inner]
    with pytest.raises(HarnessError, match="nor in a folder below it"):
        results_folders(tmp_path / "nowhere")
