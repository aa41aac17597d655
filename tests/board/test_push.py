"""What is sent to the hub, against a stand-in that speaks its protocol on this machine."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from harness.board import publish
from harness.board.card import dataset_of, with_scores
from harness.board.eval_results import BenchmarkTask, Unknown, eval_result_files
from harness.board.push import board_upload, model_upload
from harness.cli import main
from harness.errors import HarnessError
from harness.models.identity import model_identity
from harness.records import Record, load_record, save_record

MakeRecord = Callable[..., Record]
WriteBoard = Callable[..., Path]
TOKEN = "hf_a_secret_of_the_user"
EVAL_YAML = b"""
name: A benchmark
evaluation_framework: inspect-ai
tasks:
  - id: the_task
    config: main
    split: test
"""
VALUES = {"rougeL": [0.1, 0.5, 0.9, 0.4], "length": [3.0, 4.0, 5.0, 6.0]}


class Hub(BaseHTTPRequestHandler):
    """Repositories are made, and commits taken, as https://huggingface.co does; `refuse` answers with its status."""

    received: dict[str, dict[str, bytes]]
    tokens: set[str | None]
    refuse: int | None = None

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.tokens.add(self.headers["Authorization"])
        if self.refuse:
            self._answer({"error": "you may not"}, self.refuse)
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            self._answer({"url": f"{self._base()}/{asked.get('organization', 'me')}/{asked['name']}"})
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for f in json.loads(body)["files"]
            ]
            self._answer({"files": files})
        elif "/commit/" in self.path:
            repo = self.path.split("/api/")[1].split("/commit/")[0]
            lines = [json.loads(line) for line in body.decode().splitlines()]
            self.received[repo] = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            self._answer(
                {
                    "commitUrl": f"{self._base()}/{repo.removeprefix('models/')}/commit/0",
                    "commitOid": "0" * 40,
                    "success": True,
                }
            )
        else:
            self._answer({"error": self.path}, 404)

    def do_GET(self) -> None:
        """One registered benchmark, with one task."""
        if self.path.startswith("/api/datasets?") and "benchmark%3Aofficial" in self.path:
            self._answer([{"id": "owner/benchmark", "tags": ["benchmark:official"]}])
        elif self.path == "/datasets/owner/benchmark/resolve/main/eval.yaml":
            self._send(EVAL_YAML, {"ETag": '"0"', "X-Repo-Commit": "0" * 40})
        else:
            self._answer({"error": self.path}, 404)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass

    def _base(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def _answer(self, content: Any, status: int = 200) -> None:
        self._send(json.dumps(content).encode(), {"Content-Type": "application/json"}, status)

    def _send(self, data: bytes, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@pytest.fixture
def hub() -> Iterator[tuple[type[Hub], str]]:
    handler = type("Fresh", (Hub,), {"received": {}, "tokens": set()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield handler, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def checkpoint(root: Path, tmp_path: Path) -> Path:
    """The shipped student, with things beside it that must stay where they are."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(root / "harness/newsworld/checkpoints/student", folder)
    (folder / "optimizer.pt").write_bytes(b"pickle")
    (folder / ".env").write_text(f"HF_TOKEN={TOKEN}")
    (folder / "checkpoint-10").mkdir()
    (folder / "README.md").write_text("---\nlicense: mit\n---\n\n# Mine\n\nMy words.\n")
    return folder


@pytest.fixture
def record_of(make_record: MakeRecord, tmp_path: Path) -> Callable[..., Path]:
    def make(folder: Path, **provenance: Any) -> Path:
        identity = model_identity(str(folder), None)
        return save_record(
            make_record("m", VALUES, provenance={"model": identity} | provenance), tmp_path / "r"
        )

    return make


def push(hub_address: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_ENDPOINT": hub_address, "HF_HUB_OFFLINE": "0", "HF_TOKEN": TOKEN}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "harness", "push", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_checkpoint_goes_with_its_scores_and_nothing_else(
    hub: tuple[type[Hub], str], checkpoint: Path, record_of: Callable[..., Path]
) -> None:
    handler, address = hub
    words = ["--model", str(checkpoint), "--to", "me/student", "--records", str(record_of(checkpoint))]
    done = push(address, *words)
    assert done.returncode == 0, done.stderr
    sent = handler.received["models/me/student"]
    assert sent["model.safetensors"] == (checkpoint / "model.safetensors").read_bytes()
    assert not {"optimizer.pt", ".env"} & set(sent)
    assert not any(name.startswith("checkpoint-10") for name in sent)
    card = ModelCard(sent["README.md"].decode())
    assert "My words." in card.text
    assert card.data.license == "mit"
    results = {result.metric_type: result for result in card.data.eval_results}
    assert results["rougeL"].metric_value == pytest.approx(0.475)
    stated = load_record(Path(words[-1])).scores["rougeL"]
    assert results["rougeL"].metric_args == {
        "interval": [stated["low"], stated["high"]],
        "confidence": 0.95,
        "n": 4,
        "signature": stated["signature"],
    }
    assert handler.tokens == {f"Bearer {TOKEN}"}
    assert TOKEN not in done.stdout + done.stderr


def test_a_board_goes_with_its_records(
    hub: tuple[type[Hub], str], make_record: MakeRecord, write_board: WriteBoard
) -> None:
    handler, address = hub
    spec = write_board(make_record("a", VALUES), columns=["rougeL"])
    publish(spec)
    done = push(address, "--board", str(spec), "--board-to", "me/boards")
    assert done.returncode == 0, done.stderr
    sent = handler.received["datasets/me/boards"]
    assert sent["README.md"] == spec.with_suffix(".md").read_bytes()
    (record,) = (name for name in sent if name.startswith("records/"))
    assert sent[record] == (spec.parent / record).read_bytes()
    assert {"board.json", "board.csv", "board.results.json"} <= set(sent)


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_refusal_is_one_clear_error_without_the_token(
    hub: tuple[type[Hub], str], checkpoint: Path, status: int
) -> None:
    handler, address = hub
    handler.refuse = status
    done = push(address, "--model", str(checkpoint), "--to", "me/student")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"the hub answered {status}" in done.stderr
    assert ("hf auth login" in done.stderr) == (status != 500)
    assert TOKEN not in done.stdout + done.stderr
    assert handler.received == {}


def test_no_network_is_one_clear_error(checkpoint: Path) -> None:
    done = push("http://127.0.0.1:9", "--model", str(checkpoint), "--to", "me/student")
    assert done.returncode == 2
    assert "cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dry_run_prints_what_would_go_and_sends_nothing(
    hub: tuple[type[Hub], str], checkpoint: Path, record_of: Callable[..., Path]
) -> None:
    handler, address = hub
    words = ["--model", str(checkpoint), "--to", "me/student", "--records", str(record_of(checkpoint))]
    done = push(address, *words, "--dry-run")
    assert done.returncode == 0
    assert "model.safetensors" in done.stdout
    (left,) = (line for line in done.stdout.splitlines() if line.strip().startswith("stays here"))
    for name in (".env", "optimizer.pt", "checkpoint-10/"):
        assert name in left
    assert "model-index:" in done.stdout
    assert handler.received == {}
    assert not handler.tokens


def test_scores_of_other_weights_are_not_put_on_a_card(
    checkpoint: Path, record_of: Callable[..., Path]
) -> None:
    record = record_of(checkpoint, model={"name": "other", "weights_sha256": "99" * 32})
    with pytest.raises(HarnessError, match="is of other weights"):
        model_upload("me/x", checkpoint, [record])


def test_an_edited_board_is_not_sent(make_record: MakeRecord, write_board: WriteBoard) -> None:
    spec = write_board(make_record("a", VALUES), columns=["rougeL"])
    publish(spec).write_text("x")
    with pytest.raises(HarnessError):
        board_upload("me/boards", spec)


def test_a_pickled_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(HarnessError, match=r"pytorch_model\.bin can run code"):
        model_upload("me/x", tmp_path, [])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to send"),
        (["--model", "x"], "--model and --to go together"),
        (["--model", "x", "--to", "noowner"], "has no owner"),
        (["--model", "x", "--to", "a/b c"], "is no name of a repository"),
        (["--board", "b", "--board-to", "a/b", "--records", "r"], "--records belong to a --model"),
        (["--model", "x", "--to", "a/b", "--benchmark", "t=s"], "--benchmark belongs to --records"),
        (["--benchmark", "t"], "'t' is not TASK=SCORE"),
    ],
)
def test_wrong_options_are_named(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", *words]) == 2
    assert said in capsys.readouterr().err


def test_results_of_others_stay_on_the_card(make_record: MakeRecord) -> None:
    record = make_record(
        "m", VALUES, provenance={"data_source": "hub:abisee/cnn_dailymail/3.0.0@0123abc:test"}
    )
    assert dataset_of(record) == ("abisee/cnn_dailymail", "3.0.0", "0123abc", "test")
    once = with_scores(None, "m", [record])
    other = make_record("m", VALUES, task="another")
    twice = ModelCard(with_scores(with_scores(once, "m", [other]), "m", [record]))
    found = sorted((result.task_name, result.metric_type) for result in twice.data.eval_results)
    assert found == [
        (f"{task} 1.0", key) for task in ("another", "made_up") for key in ("answer_rate", "length", "rougeL")
    ]


# a score on a benchmark's own leaderboard

BENCHMARK = {"data_source": f"hub:owner/benchmark/main@{'a' * 40}:test"}


class Registry:
    """What the hub would say: one benchmark with one task."""

    official = frozenset({"owner/benchmark", "owner/broken"})

    def tasks(self, dataset: str) -> tuple[BenchmarkTask, ...]:
        if dataset == "owner/broken":
            raise Unknown("the eval.yaml of owner/broken cannot be read")
        return (BenchmarkTask(id="the_task", config="main", split="test"),)


def test_a_score_goes_to_a_benchmark_that_the_hub_has_registered(
    hub: tuple[type[Hub], str], checkpoint: Path, record_of: Callable[..., Path]
) -> None:
    handler, address = hub
    record = record_of(checkpoint, **BENCHMARK)
    words = ["--model", str(checkpoint), "--to", "me/student", "--records", str(record)]
    done = push(address, *words, "--benchmark", "the_task=rougeL")
    assert done.returncode == 0, done.stderr
    (name,) = (name for name in handler.received["models/me/student"] if name.startswith(".eval_results/"))
    assert name == ".eval_results/made_up.yaml"
    (entry,) = yaml.safe_load(handler.received["models/me/student"][name])
    stated = load_record(record).scores["rougeL"]
    assert entry["dataset"] == {"id": "owner/benchmark", "task_id": "the_task", "revision": "a" * 40}
    assert entry["value"] == stated["value"]
    assert entry["date"] == "2026-09-21T14:13:20Z"
    interval = f"95% interval [{stated['low']},{stated['high']}]"
    assert entry["notes"] == f"{stated['signature']}; n = 4; {interval}"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("newsworld:test:n=4:seed=0", "newsworld is not a data set on the hub"),
        (
            "hub:abisee/cnn_dailymail/3.0.0@0123abc:test",
            "abisee/cnn_dailymail is not a registered benchmark on the hub",
        ),
        (
            BENCHMARK["data_source"],
            "owner/benchmark is a benchmark, and one score must be named for its task (the_task)",
        ),
    ],
)
def test_a_dry_run_says_why_there_is_no_file(
    hub: tuple[type[Hub], str], checkpoint: Path, record_of: Callable[..., Path], source: str, said: str
) -> None:
    words = [
        "--model",
        str(checkpoint),
        "--to",
        "me/x",
        "--records",
        str(record_of(checkpoint, data_source=source)),
    ]
    done = push(hub[1], *words, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert f"no .eval_results for made_up: {said}" in done.stdout
    assert ".eval_results/" not in done.stdout


@pytest.mark.parametrize(
    ("changes", "score", "said"),
    [
        ({"limit": 4.0}, "rougeL", "the run was limited to a part"),
        ({}, "nosuch", "the record has no score nosuch, but rougeL, length, answer_rate"),
        (
            {"data_source": "hub:owner/benchmark/main:train"},
            "rougeL",
            "the_task is measured on main:test, the record on main:train",
        ),
        ({"data_source": "hub:owner/benchmark/other:test"}, "rougeL", "the record on other:test"),
        ({"data_source": "hub:owner/broken:test"}, "rougeL", "the eval.yaml of owner/broken cannot be read"),
        (
            {"data_source": "hub:owner/benchmark"},
            "rougeL",
            None,
        ),  # what the record does not say contradicts nothing
    ],
)
def test_a_score_that_is_not_the_benchmarks_is_refused(
    make_record: MakeRecord, changes: dict[str, Any], score: str, said: str | None
) -> None:
    record = make_record(
        "m", {"rougeL": VALUES["rougeL"], "length": VALUES["length"]}, provenance={**BENCHMARK, **changes}
    )
    if said is None:
        assert list(eval_result_files([record], {"the_task": score}, Registry())[0]) == [
            ".eval_results/made_up.yaml"
        ]
        return
    with pytest.raises(HarnessError) as caught:
        eval_result_files([record], {"the_task": score}, Registry())
    assert said in caught.value.problem
    assert "no .eval_results for the benchmark task the_task" in caught.value.problem


def test_a_leaderboard_takes_the_score_of_all_samples(make_record: MakeRecord) -> None:
    record = make_record("m", {"rougeL": [1.0, None, 0.0]}, provenance=BENCHMARK)
    with pytest.raises(HarnessError, match="1 of 3 samples failed"):
        eval_result_files([record], {"the_task": "rougeL"}, Registry())


def test_without_the_hub_a_push_says_that_it_could_not_ask(make_record: MakeRecord) -> None:
    files, (reason,) = eval_result_files(
        [make_record("m", VALUES, provenance=BENCHMARK)], {}
    )  # tests are offline
    assert files == {}
    assert (
        reason
        == "no .eval_results for made_up: the hub could not be asked for its benchmarks (OfflineModeIsEnabled)"
    )
