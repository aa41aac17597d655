"""`evaluate` and `harness eval` from end to end, with a real model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.cli import main
from harness.errors import HarnessError
from harness.lmeval.request import EvalRequest, parse_metadata
from harness.lmeval.run import command, evaluate, response_cache, tasks_of
from harness.records import from_lm_eval, import_results, load_documents
from tests.lmeval.conftest import DOWNLOADS, HUB_LAYOUTS, write_rows

if TYPE_CHECKING:
    from tests.conftest import StockLmEval


def request(tiny_model: Path, hub_like: Path, output: Path, **changes: Any) -> EvalRequest:
    return EvalRequest(
        **{
            "model_args": {"pretrained": str(tiny_model)},
            "tasks": ("kd_xsum_factual",),
            "output_path": output,
            "batch_size": 2,
            "device": "cpu",
            "metadata": {"data_dir": str(hub_like), "answer_min_words": 0, "without": DOWNLOADS},
            **changes,
        }
    )


def results_of(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("results_*.json")
    content: dict[str, Any] = json.loads(
        path.read_text("utf-8"), parse_constant=lambda name: pytest.fail(f"{name} in {path}")
    )
    return content


def test_a_run_leaves_results_samples_and_nothing_else(
    tiny_model: Path, hub_like: Path, tmp_path: Path
) -> None:
    folder = evaluate(request(tiny_model, hub_like, tmp_path / "out"))
    assert sorted(path.name.split("_2")[0] for path in folder.iterdir()) == [
        "results",
        "samples_kd_xsum_factual",
    ]
    assert [path for path in (tmp_path / "out").iterdir() if path != folder] == []
    (record,) = from_lm_eval(folder)
    assert len(record.samples) == 3
    assert record.provenance["rows_read"] == 3
    headline = results_of(folder)["results"]["kd_xsum_factual"]
    assert headline["answer_rate,none"] == record.scores["answer_rate"]["value"]


def test_real_articles_are_scored(shared_data: Path, root: Path, tmp_path: Path) -> None:
    model = root / "harness/newsworld/checkpoints/student"
    data = {"data_dir": str(shared_data / "realsumm"), "answer_min_words": 0, "without": DOWNLOADS}
    folder = evaluate(
        request(model, shared_data, tmp_path, tasks=("kd_cnndm_factual",), limit=6, metadata=data)
    )
    metadata = results_of(folder)["configs"]["kd_cnndm_factual"]["metadata"]
    assert (metadata["rows_read"], metadata["counts"]["n"]) == (100, 6)
    assert metadata["data_source"] == "local:docs.jsonl"
    assert metadata["counts"]["shortened"] > 0  # a context of a few hundred tokens
    for key in ("rougeL", "rougeLsum", "chrf", "chrf++"):
        score = metadata["scores"][key]
        most = 100 if key.startswith("chrf") else 1
        assert 0 <= score["low"] <= score["value"] <= score["high"] <= most


def test_stock_lm_eval_gives_the_same_scores(
    tiny_model: Path, hub_like: Path, tmp_path: Path, root: Path, stock_lm_eval: StockLmEval
) -> None:
    ours = evaluate(request(tiny_model, hub_like, tmp_path / "ours"))
    words = command(request(tiny_model, hub_like, tmp_path / "theirs"))
    assert words[0] == "lm_eval"
    assert stock_lm_eval(*words[1:], "--include_path", str(root / "tasks")).returncode == 0
    (theirs,) = (tmp_path / "theirs").iterdir()
    for key in ("results", "configs", "versions", "n-samples", "higher_is_better", "task_hashes"):
        assert results_of(theirs)[key] == results_of(ours)[key], key
    samples = [next(f.glob("samples_*.jsonl")).read_text("utf-8") for f in (ours, theirs)]
    assert samples[0] == samples[1]


def test_stock_lm_eval_says_what_is_wrong_without_a_traceback(
    tiny_model: Path, tmp_path: Path, root: Path, stock_lm_eval: StockLmEval
) -> None:
    words = command(request(tiny_model, tmp_path / "nowhere", tmp_path))[1:]
    run = stock_lm_eval(*words, "--include_path", str(root / "tasks"))
    assert run.returncode != 0
    assert f"lm_eval: error: no data at {tmp_path / 'nowhere'}" in run.stderr
    assert "Traceback" not in run.stderr


def test_an_interrupted_run_resumes_and_another_model_does_not(
    tiny_model: Path, hub_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.models.huggingface import HFLM

    asked: list[int] = []
    generate = HFLM._model_generate

    def counting(self: HFLM, context: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(len(context))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return generate(self, context, *args, **kwargs)

    monkeypatch.setattr(HFLM, "_model_generate", counting)
    resumable = request(tiny_model, hub_like, tmp_path / "out", response_cache=tmp_path / "cache")
    with pytest.raises(KeyboardInterrupt):
        evaluate(resumable)
    assert not (tmp_path / "out").exists()
    evaluate(resumable)
    assert asked == [2, 1, 1]  # three documents: two, the interruption, and the one that was missing
    evaluate(resumable)
    assert asked == [2, 1, 1]  # all kept: only scored

    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    weights = other / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    changed = request(other, hub_like, tmp_path / "out", response_cache=tmp_path / "cache")
    assert response_cache(changed) != response_cache(resumable)


GROUP = ("kd_faithfulness",)


def folder_of_one_file(folder: Path) -> Path:
    """Articles and summaries that both of the group's tasks can read."""
    rows = [HUB_LAYOUTS["kd_xsum_factual"](i) for i in range(3)]
    return write_rows(folder / "data" / "test.jsonl", rows).parent


@pytest.mark.parametrize("where", ["the folder", "the file"])
def test_one_file_is_not_scored_as_two_data_sets(tiny_model: Path, tmp_path: Path, where: str) -> None:
    folder = folder_of_one_file(tmp_path)
    data = folder if where == "the folder" else folder / "test.jsonl"
    metadata = {"data_dir": str(data), "without": DOWNLOADS, "answer_min_words": 0}
    for tasks in (GROUP, ("kd_xsum_factual", "kd_cnndm_factual")):
        asked = request(tiny_model, data, tmp_path / "out", metadata=metadata, tasks=tasks)
        for run in (evaluate, tasks_of):
            with pytest.raises(
                HarnessError, match=r"kd_(xsum|cnndm)_factual .* would both be scored on"
            ) as caught:
                run(asked)
            assert "local:test.jsonl" in caught.value.problem
            assert "--tasks TASK" in caught.value.remedy
    own = ("kd_cnndm_factual", "kd_cnndm_factual_chat", "kd_custom_factual")
    assert len(tasks_of(request(tiny_model, data, tmp_path / "out", metadata=metadata, tasks=own))) == 3


def test_stock_lm_eval_does_not_score_one_file_as_two_data_sets(
    tiny_model: Path, tmp_path: Path, root: Path, stock_lm_eval: StockLmEval
) -> None:
    data = {"data_dir": str(folder_of_one_file(tmp_path)), "without": DOWNLOADS}
    asked = request(tiny_model, tmp_path, tmp_path / "out", metadata=data, tasks=GROUP)
    done = stock_lm_eval(*command(asked)[1:], "--include_path", str(root / "tasks"))
    assert done.returncode != 0
    assert "would both be scored on local:test.jsonl" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("results_*"))


def test_the_order_of_tasks_and_other_batch_sizes_change_nothing(
    tiny_model: Path, hub_like: Path, tmp_path: Path
) -> None:
    tasks = ("kd_xsum_factual", "kd_cnndm_factual")
    one = evaluate(request(tiny_model, hub_like, tmp_path / "1", tasks=tasks, batch_size=1))
    two = evaluate(request(tiny_model, hub_like, tmp_path / "2", tasks=tasks[::-1], batch_size=3))
    for task in tasks:
        assert results_of(one)["configs"][task]["metadata"] == results_of(two)["configs"][task]["metadata"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"tasks": ("kd_xsum", "kd_y")},
            r"no task is called 'kd_xsum'[\s\S]*'kd_y'[\s\S]*kd_xsum_factual",
        ),
        ({"model_args": {"pretrained": "./nowhere"}}, r"no model here \(config\.json is missing\)"),
        ({"metadata": {"data_dir": "/nowhere", "without": DOWNLOADS}}, "no data at /nowhere"),
    ],
)
def test_bad_requests_are_one_error_before_the_model_is_loaded(
    tiny_model: Path,
    hub_like: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    said: str,
) -> None:
    from lm_eval.models.huggingface import HFLM

    monkeypatch.setattr(HFLM, "__init__", lambda *_, **__: pytest.fail("the model was loaded"))
    with pytest.raises(HarnessError, match=said):
        evaluate(request(tiny_model, hub_like, tmp_path / "out", **changes))


def test_results_that_cannot_be_written_are_an_error(
    tiny_model: Path, hub_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """lm-eval itself only warns: a full disk would lose the run in silence."""

    def full(self: Path, *_: Any, **__: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(HarnessError, match="could not be written"):
        evaluate(request(tiny_model, hub_like, tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []


def test_chat_models_are_asked_in_their_template(tiny_model: Path, hub_like: Path, tmp_path: Path) -> None:
    folder = evaluate(
        request(
            tiny_model, hub_like, tmp_path / "out", tasks=("kd_xsum_factual_chat",), apply_chat_template=True
        )
    )
    (samples,) = folder.glob("samples_*.jsonl")
    prompt = json.loads(samples.read_text("utf-8").splitlines()[0])["arguments"]["gen_args_0"]["arg_0"]
    assert prompt.startswith("[user] Summarize the following news article in one sentence.")
    assert prompt.endswith("[assistant] ")


# -- the command ---------------------------------------------------------------------------------------------------


def eval_command(model: Path, output: Path, *words: str) -> int:
    return main(["eval", str(model), "--device", "cpu", "--output", str(output), *words])


def test_ones_own_file_is_a_task_in_one_command(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": f"Question {i}?", "gold": f"answer {i}"} for i in range(4)]
    data = tmp_path / "mine.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [
        "--data",
        str(data),
        "--source-field",
        "text",
        "--reference-field",
        "gold",
        "--qa",
        "--limit",
        "3",
        "--without",
        "meteor,bertscore",
        "--without",
        "source_precision,consistency",
        "--gen-kwargs",
        "max_gen_toks=64",
    ]
    assert eval_command(tiny_model, tmp_path / "out", *words) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("lm_eval --model hf --model_args pretrained=")
    assert "--tasks kd_custom_factual" in printed
    assert "95% interval" in printed
    assert "of 3 answered" in printed
    (folder,) = (
        path for path in (tmp_path / "out").iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    assert f"results: {folder}" in printed
    (record,) = from_lm_eval(folder)
    (path,) = import_results(folder, tmp_path / "records")
    documents = load_documents(record, path)
    assert documents is not None
    assert [document.references for document in documents.values()] == [
        ("answer 0",),
        ("answer 1",),
        ("answer 2",),
    ]
    assert record.scores["answer_rate"]["n"] == 3


def test_the_printed_command_is_all_that_a_dry_run_does(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--tasks",
        "kd_xsum_factual",
        "--chat",
        "--metrics",
        "rouge,bertscore",
        "--model-args",
        "dtype=float32",
    ]
    assert eval_command(tiny_model, tmp_path / "out", *words, "--dry-run", "--fresh") == 0
    printed = capsys.readouterr().out
    assert "--tasks kd_xsum_factual " in printed
    assert "--apply_chat_template" in printed
    assert f"pretrained={tiny_model},dtype=float32" in printed
    assert '"metrics": ["rouge", "bertscore"]' in printed
    assert "--use_cache" not in printed
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--qa", "--prompt", "x"], ["--qa describes --data", "--prompt describes --data"]),
        (
            ["--data", "nowhere.jsonl", "--tasks", "x"],
            ["cannot stand beside --tasks", "nowhere.jsonl: no such file"],
        ),
        (["--batch-size", "many", "--limit", "0"], ["--batch-size many", "--limit 0"]),
        (
            ["--batch-size", "autoxx", "--num-fewshot", "-1"],
            ["--batch-size autoxx", "--num-fewshot -1 is no number of examples"],
        ),
        (["--batch-size", "auto:0"], ["--batch-size auto:0"]),
        (["--device", "typo", "--dry-run"], ["--device typo: no such device"]),
        (["--device", "cpu:0"], ["--device cpu:0: no such device"]),
        (["--device", "cuda:99"], ["--device=cuda:99"]),
        (["--without", "rogue", "--tasks", "kd_newsworld_factual"], ["unknown metric family 'rogue'"]),
        (["--metadata", "{"], ["--metadata is not a JSON object"]),
        (["--model-args", "dtype"], ["'dtype' has no value"]),
    ],
)
def test_bad_options_are_all_named_at_once(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: list[str]
) -> None:
    assert eval_command(tiny_model, tmp_path / "out", *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("harness: error:")
    for what in said:
        assert what in error
    assert "Traceback" not in error


def test_help_loads_no_torch(root: Path) -> None:
    code = (
        "import sys; from harness.cli import main; main(['eval', '--help']); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=root)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"without": ["meteor"], "n_documents": 3}', {"without": ["meteor"], "n_documents": 3}),
        ("without=meteor+bertscore,n_documents=3", {"without": "meteor+bertscore", "n_documents": 3}),
        ("", {}),
    ],
)
def test_metadata_is_written_as_for_lm_eval(text: str, found: dict[str, Any]) -> None:
    assert parse_metadata(text) == found


def test_metadata_without_a_value_is_named() -> None:
    with pytest.raises(HarnessError, match="--eval-metadata: no value for judge"):
        parse_metadata("judge", "--eval-metadata")
