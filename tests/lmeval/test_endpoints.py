"""Models behind an API, asked at a real server on loopback: sound, faulty, and failing for good."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.board.footnotes import deviations
from harness.cli import main
from harness.errors import HarnessError
from harness.files import read_log
from harness.lmeval.request import EvalRequest
from harness.lmeval.run import command_line, evaluate
from harness.models.load import load_language_model
from harness.newsworld import models
from harness.records import from_lm_eval, import_results, load_record
from harness.records.record import scored
from tests.lmeval.endpoint import FAULTS, RETRY_AFTER, SLOW, Server, serving

if TYPE_CHECKING:
    from tests.conftest import StockLmEval

pytest.importorskip("tenacity", reason="the extra api is not installed")

STUDENT = str(models.path("student"))
TASK = "kd_newsworld_factual"
METADATA = {"n_documents": 6, "metrics": "oracle,rouge,lookback", "response_tokens": 41}
SECRET = "sk-0123456789abcdefghij"
PATHS = {"local-chat-completions": "/chat/completions", "local-completions": "/completions"}


@pytest.fixture(scope="module")
def model() -> Any:
    return load_language_model(STUDENT, device="cpu")


@pytest.fixture
def server(model: Any) -> Iterator[Server]:
    with serving(model) as found:
        yield found


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def request(
    server: Server, output: Path, backend: str = "local-chat-completions", **arguments: Any
) -> EvalRequest:
    address = {"base_url": server.address + PATHS[backend], "max_retries": 2, "tokenizer_backend": "none"}
    return EvalRequest(
        model=backend,
        model_args={"pretrained": "some/student", **address, **arguments},
        tasks=(TASK,),
        output_path=output,
        batch_size=1,
        apply_chat_template=None,
        metadata=METADATA,
        response_cache=output / ".responses",
    )


def rows_of(folder: Path) -> dict[int, dict[str, Any]]:
    (log,) = folder.glob("samples_*.jsonl")
    return {row["doc_id"]: row for row in map(json.loads, log.read_text("utf-8").splitlines())}


@pytest.fixture(scope="module")
def on_this_machine(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """The same model asked by lm-eval's own backend for models of this process."""
    asked = EvalRequest(
        model_args={"pretrained": STUDENT},
        tasks=(TASK,),
        output_path=tmp_path_factory.mktemp("hf"),
        device="cpu",
        metadata=METADATA,
    )
    return rows_of(evaluate(asked))


@pytest.mark.parametrize(
    ("backend", "arguments"),
    [
        ("local-chat-completions", {}),
        ("local-chat-completions", {"num_concurrent": 3}),
        ("local-completions", {}),
        ("local-completions", {"num_concurrent": 3}),
    ],
)
def test_an_endpoint_is_scored_as_the_model_behind_it(
    server: Server, tmp_path: Path, backend: str, arguments: dict[str, Any], on_this_machine: dict[int, Any]
) -> None:
    folder = evaluate(request(server, tmp_path / "out", backend, **arguments))
    rows = rows_of(folder)
    assert rows.keys() == on_this_machine.keys()
    for doc_id, row in rows.items():
        theirs = on_this_machine[doc_id]
        assert row["filtered_resps"] == theirs["filtered_resps"]
        scores = ("rougeL", "oracle_faithfulness", "truncated", "looping", "answer_rate")
        assert [row[key] for key in scores] == [theirs[key] for key in scores]
    assert {row["truncated"] for row in rows.values()} == {0.0, 1.0}
    (record,) = from_lm_eval(folder)
    assert record.provenance["model"] == {
        "name": "some/student",
        "revision": None,
        "endpoint": "chat completions" if "chat" in backend else "completions",
    }
    assert record.provenance["date"] > 0
    kind = record.provenance["model"]["endpoint"]
    assert f"Asked at an endpoint ({kind}): which weights answered is not known." in deviations(
        scored(record), scored(record)
    )
    assert record.prompt is not None
    assert record.prompt.endswith("Article: {source}\nSummary:")
    assert all(sample.prompt is None for sample in record.samples)
    absent = json.loads(next(folder.glob("results_*.json")).read_text())["configs"][TASK]["metadata"][
        "absent"
    ]
    assert all("behind an API" in why and "lookback_model=PATH" in why for why in absent.values())


def test_stock_lm_eval_scores_an_endpoint_and_pays_once(
    server: Server, tmp_path: Path, root: Path, stock_lm_eval: StockLmEval, on_this_machine: dict[int, Any]
) -> None:
    arguments = f"model=student,base_url={server.address}/chat/completions"
    words = [
        "--model",
        "local-chat-completions",
        "--model_args",
        arguments,
        "--apply_chat_template",
        "--log_samples",
    ]
    words += ["--tasks", TASK, "--metadata", json.dumps(METADATA), "--include_path", str(root / "tasks")]
    for output in ("first", "second"):
        ran = stock_lm_eval(*words, "--output_path", str(tmp_path / output))
        assert ran.returncode == 0, ran.stderr[-3000:]
        (path,) = import_results(tmp_path / output, tmp_path / "records" / output)
        record = load_record(path)
        assert [sample.response for sample in record.samples] == [
            on_this_machine[i]["filtered_resps"][0] for i in range(6)
        ]
        assert record.provenance["model"]["endpoint"] == "chat completions"
        assert server.answered == 6
    assert "6 answers are kept in" in ran.stderr


def test_faults_that_pass_cost_nothing_but_time(
    server: Server, tmp_path: Path, on_this_machine: dict[int, Any]
) -> None:
    server.faults = [what for fault in FAULTS for what in (fault, None)]  # each once, and then an answer
    rows = rows_of(evaluate(request(server, tmp_path / "out", max_retries=3, timeout=int(SLOW) - 1)))
    responses = {doc_id: row["filtered_resps"][0] for doc_id, row in rows.items()}
    expected = {doc_id: row["filtered_resps"][0] for doc_id, row in on_this_machine.items()}
    (empty,) = [doc_id for doc_id in responses if responses[doc_id] != expected[doc_id]]
    assert responses[empty] == ""  # what the endpoint said: nothing
    assert rows[empty]["answer_rate"] == 0
    assert "rougeL" not in rows[empty]
    times = [body["at"] for body in server.asked]
    assert times[1] - times[0] >= RETRY_AFTER  # after 429
    assert len(times) == 6 + len(FAULTS) - 1


@pytest.mark.parametrize("concurrent", [1, 2])
def test_what_was_paid_is_kept_when_an_endpoint_fails_for_good(
    server: Server, tmp_path: Path, concurrent: int, on_this_machine: dict[int, Any]
) -> None:
    answer = server.generate

    def three_times(*given: Any) -> tuple[str, str]:
        if server.answered == 2:
            server.always = "500"
        return answer(*given)

    server.generate = three_times  # type: ignore[method-assign]
    asked = request(server, tmp_path / "out", num_concurrent=concurrent)
    with pytest.raises(
        HarnessError, match=r"failed 2 times in a row: status 500\. [34] answers are kept in"
    ) as caught:
        evaluate(asked)
    assert "leaked" not in str(caught.value)
    assert "goes on from there" in caught.value.remedy
    (kept,) = (tmp_path / "out" / ".responses").glob("*.jsonl")
    paid = server.answered
    assert len(list(read_log(kept))) == paid
    assert 3 <= paid < 6
    server.always, server.generate = None, answer  # type: ignore[method-assign]
    rows = rows_of(evaluate(asked))
    assert server.answered == 6
    assert {i: row["filtered_resps"] for i, row in rows.items()} == {
        i: row["filtered_resps"] for i, row in on_this_machine.items()
    }
    assert [rows[i]["truncated"] for i in range(6)] == [on_this_machine[i]["truncated"] for i in range(6)]
    (second,) = [request(server, tmp_path / "out", pretrained="another/model")]
    evaluate(second)
    assert server.answered == 12  # another model's answers are none of this one's


def test_a_key_reaches_the_endpoint_and_no_file(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [
        "eval",
        "student",
        "--backend",
        "local-chat-completions",
        "--tasks",
        TASK,
        "--metadata",
        json.dumps(METADATA),
    ]
    address = f"base_url={server.address}/chat/completions,auth_token={SECRET}"
    output = tmp_path / "out"
    words += ["--model-args", address, "--output", str(output)]
    header = json.dumps(
        {"base_url": f"{server.address}/chat/completions", "header": {"Authorization": f"Bearer {SECRET}"}}
    )
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    assert main(words) == 0
    monkeypatch.delenv("OPENAI_API_KEY")
    words[words.index("--model-args") + 1] = header
    assert main([*words, "--fresh"]) == 0
    assert len(server.asked) == 12
    assert all(body["authorization"] == f"Bearer {SECRET}" for body in server.asked)
    (folder,) = {path.parent for path in output.rglob("results_*.json")}
    import_results(folder, tmp_path / "records")
    printed = capsys.readouterr()
    assert "auth_token=***" in printed.out
    assert SECRET not in printed.out + printed.err
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    (record,) = from_lm_eval(folder)
    assert server.address not in json.dumps(record.provenance)


def test_what_an_endpoint_lacks_is_said_before_it_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(backend: str) -> str:
        words = ["eval", "gpt-x", "--backend", backend, "--tasks", TASK, "--output", str(tmp_path)]
        assert main(words) == 2
        return capsys.readouterr().err

    assert "base_url=" in refused("local-chat-completions")
    assert "OPENAI_API_KEY is not set" in refused("openai-chat-completions")
    monkeypatch.setattr(
        "harness.lmeval.bridge.apis.find_spec", lambda name: None if name == "tenacity" else name
    )
    assert "needs tenacity" in refused("local-completions")


def test_the_printed_command_asks_the_same_without_a_secret(server: Server, tmp_path: Path) -> None:
    printed = command_line(request(server, tmp_path, auth_token=SECRET))
    assert "--model local-chat-completions" in printed
    assert f"base_url={server.address}/chat/completions" in printed
    assert SECRET not in printed


def test_no_stops_are_sent_where_the_end_of_the_turn_is_the_only_one(server: Server, tmp_path: Path) -> None:
    rows = [{"source": "The council will close two schools.", "reference": "Two schools will close."}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = replace(
        request(server, tmp_path / "out"),
        tasks=("kd_custom_factual",),
        metadata={"data_dir": str(tmp_path / "rows.jsonl"), "metrics": "rouge", "response_tokens": 5},
    )
    evaluate(asked)
    (body,) = server.asked
    assert "stop" not in body  # transformers' server answers 500 to an empty list
    assert body["messages"][0]["content"].startswith("Summarize the following text.")


def test_decoding_and_length_reach_the_endpoint(server: Server, tmp_path: Path) -> None:
    evaluate(request(server, tmp_path / "out"))
    for body in server.asked:
        assert body["max_tokens"] == 41
        assert body["temperature"] == 0
        assert body["stop"] == ["\n"]
        assert body["model"] == "some/student"
        assert [turn["role"] for turn in body["messages"]] == ["user"]


@pytest.fixture
def transformers_server(tiny_model: Path) -> Iterator[str]:
    """Address of transformers' own server with the tiny model behind it."""
    for name in ("fastapi", "uvicorn", "openai"):
        pytest.importorskip(name, reason="transformers' server needs transformers[serving]")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["serve", str(tiny_model), "--device", "cpu", "--port", str(port), "--host", "127.0.0.1"]
    code = "import sys; from transformers.cli.transformers import main; sys.argv[0] = 'transformers'; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            deadline = time.monotonic() + 120
            while process.poll() is None and time.monotonic() < deadline:
                with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("backend", PATHS)
def test_transformers_own_server_answers_as_the_model_on_this_machine(
    transformers_server: str, tiny_model: Path, hub_like: Path, tmp_path: Path, backend: str
) -> None:
    here = EvalRequest(
        model_args={"pretrained": str(tiny_model)},
        tasks=("kd_xsum_factual",),
        output_path=tmp_path / "here",
        device="cpu",
        apply_chat_template="chat" in backend,
        metadata={"data_dir": str(hub_like), "metrics": "rouge", "response_tokens": 16},
    )
    address = {"base_url": transformers_server + PATHS[backend], "tokenizer_backend": "none"}
    there = replace(
        here,
        model=backend,
        model_args={"pretrained": str(tiny_model), **address},
        output_path=tmp_path / "there",
        batch_size=1,
        device=None,
    )
    ours, theirs = rows_of(evaluate(here)), rows_of(evaluate(there))
    for doc_id, row in ours.items():
        assert theirs[doc_id]["filtered_resps"][0].strip() == row["filtered_resps"][0].strip()
        assert theirs[doc_id]["truncated"] == row["truncated"]
