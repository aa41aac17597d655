"""What is sent to the hub, read back from a hub on this machine by the clients that users have."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard, snapshot_download

from harness.board import publish, verify
from harness.board.card import dataset_of, with_scores
from harness.board.eval_results import BenchmarkTask, Unknown, eval_result_files
from harness.board.push import board_upload, model_upload, send
from harness.cli import main
from harness.errors import HarnessError
from harness.files import write_atomic
from harness.models.identity import model_identity
from harness.records import Record, load_record, save_record
from tests.hub.local_hub import LocalHub, patched

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


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    """One registered benchmark, with one task."""
    with LocalHub().serve() as served:
        card = b"---\ntags:\n- benchmark:official\n---\n"
        served.add("owner/benchmark", {"README.md": card, "eval.yaml": EVAL_YAML}, kind="dataset")
        yield served


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


def push(hub: LocalHub | str, *words: str, command: str = "push") -> subprocess.CompletedProcess[str]:
    address = hub if isinstance(hub, str) else hub.url
    environment = {**os.environ, "HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_TOKEN": TOKEN}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "harness", command, *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@contextmanager
def as_client(hub: LocalHub) -> Iterator[None]:
    """This process is a client of the hub, with a token."""
    with pytest.MonkeyPatch.context() as patch:
        patched(hub, patch)
        patch.setenv("HF_TOKEN", TOKEN)
        yield


def test_a_checkpoint_goes_with_its_scores_and_nothing_else(
    hub: LocalHub, checkpoint: Path, record_of: Callable[..., Path]
) -> None:
    words = ["--model", str(checkpoint), "--to", "me/student", "--records", str(record_of(checkpoint))]
    done = push(hub, *words)
    assert done.returncode == 0, done.stderr
    sent = hub.files("me/student")
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
    assert hub.tokens == {TOKEN}
    assert hub.leaked == set()  # large files go to another host, and the token does not
    assert TOKEN not in done.stdout + done.stderr


def test_sending_again_sends_no_large_file_twice_and_what_was_sent_loads(
    hub: LocalHub, checkpoint: Path, tmp_path: Path
) -> None:
    words = ["--model", str(checkpoint), "--to", "me/student"]
    assert push(hub, *words).returncode == 0
    uploads = [asked for asked in hub.asked if asked.startswith("PUT")]
    assert len(uploads) == 1
    (checkpoint / "README.md").write_text("---\nlicense: mit\n---\n\n# Other words\n")
    for _ in range(2):  # changed, then unchanged
        done = push(hub, *words)
        assert done.returncode == 0, done.stderr
    assert [asked for asked in hub.asked if asked.startswith("PUT")] == uploads
    assert b"Other words" in hub.files("me/student")["README.md"]
    found = tmp_path / "found"
    with as_client(hub):
        snapshot_download("me/student", local_dir=found)
    weights = "weights_sha256"
    assert model_identity(str(found))[weights] == model_identity(str(checkpoint))[weights]


def test_a_pull_request_leaves_the_main_branch_as_it_is(hub: LocalHub, checkpoint: Path) -> None:
    hub.add("me/student", {"README.md": b"# Mine"})
    done = push(hub, "--model", str(checkpoint), "--to", "me/student", "--pull-request")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("me/student/discussions/1")
    assert set(hub.files("me/student")) == {"README.md"}
    assert "model.safetensors" in hub.files("me/student", revision="refs/pr/1")


@pytest.fixture
def board(make_record: MakeRecord, write_board: WriteBoard) -> Path:
    """A published board of one record with articles, of a data set on the hub."""
    provenance = {"data_source": f"hub:owner/news/default@{'a' * 40}:test"}
    record = make_record("a", VALUES, provenance=provenance)
    spec = write_board(record, columns=["rougeL"])
    publish(spec)
    return spec


def test_a_board_goes_with_its_records_and_verifies_where_it_is_downloaded(
    hub: LocalHub, board: Path, tmp_path: Path
) -> None:
    done = push(hub, "--board", str(board), "--board-to", "me/boards")
    assert done.returncode == 0, done.stderr
    sent = hub.files("me/boards", kind="dataset")
    (record,) = (name for name in sent if name.startswith("records/"))
    assert sent[record] == (board.parent / record).read_bytes()
    assert sent["board.md"] == board.with_suffix(".md").read_bytes()
    assert {"board.json", "board.csv", "board.results.json"} <= set(sent)
    card = DatasetCard(sent["README.md"].decode())
    assert sent["README.md"].decode().endswith(sent["board.md"].decode())
    assert card.data.source_datasets == ["owner/news"]
    assert card.data.configs[0]["data_files"] == [{"split": "train", "path": "board.csv"}]
    pulled = tmp_path / "pulled"
    with as_client(hub):
        snapshot_download("me/boards", repo_type="dataset", local_dir=pulled)
    done = push(hub, str(pulled / "board.json"), command="verify")
    assert done.returncode == 0, done.stdout + done.stderr
    (pulled / "board.csv").write_text("edited")
    assert push(hub, str(pulled / "board.json"), command="verify").returncode != 0


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_refusal_is_one_clear_error_without_the_token(hub: LocalHub, checkpoint: Path, status: int) -> None:
    hub.fail("/api/repos/create", status=status)
    done = push(hub, "--model", str(checkpoint), "--to", "me/student")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"the hub answered {status}" in done.stderr
    assert ("hf auth login" in done.stderr) == (status != 500)
    assert TOKEN not in done.stdout + done.stderr
    assert ("model", "me/student") not in hub.repositories


@pytest.mark.parametrize(
    ("part", "fault", "said"),
    [
        ("PUT /storage/", {"status": 403}, "the hub answered 403"),
        ("PUT /storage/", {"how": "dropped"}, "the connection broke off"),
        ("/objects/batch", {"status": 401}, "the hub answered 401"),
        ("/commit/", {"status": 500}, "the hub answered 500"),
        ("/commit/", {"how": "dropped"}, "broke off"),
    ],
)
def test_an_upload_that_breaks_off_is_one_clear_error_and_leaves_the_repository(
    hub: LocalHub, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, part: str, fault: dict[str, Any], said: str
) -> None:  # fmt: skip
    hub.add("me/student", {"README.md": b"# Mine"})
    hub.fail(part, **fault)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    upload = model_upload("me/student", checkpoint, [])
    with pytest.raises(HarnessError, match=said) as caught, as_client(hub):
        send(upload)
    assert "Nothing was committed" in caught.value.remedy
    assert hub.files("me/student") == {"README.md": b"# Mine"}


def test_a_card_that_the_hub_refuses_is_one_clear_error(hub: LocalHub, checkpoint: Path) -> None:
    (checkpoint / "README.md").write_text("---\nbase_model: not a name\n---\n\n# Mine\n")
    upload = model_upload("me/student", checkpoint, [])
    with (
        pytest.raises(HarnessError, match=r"refuses the front matter of README.md: .*base_model") as caught,
        as_client(hub),
    ):
        send(upload)
    assert "Nothing was committed" in caught.value.remedy
    (checkpoint / "README.md").write_text("---\n[a\n---\n\n# Mine\n")
    with pytest.raises(HarnessError, match="its front matter cannot be read"):
        model_upload("me/student", checkpoint, [])


def test_no_network_is_one_clear_error(checkpoint: Path) -> None:
    done = push("http://127.0.0.1:9", "--model", str(checkpoint), "--to", "me/student")
    assert done.returncode == 2
    assert "cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dry_run_prints_what_would_go_and_sends_nothing(
    hub: LocalHub, checkpoint: Path, record_of: Callable[..., Path]
) -> None:
    words = ["--model", str(checkpoint), "--to", "me/student", "--records", str(record_of(checkpoint))]
    done = push(hub, *words, "--dry-run")
    assert done.returncode == 0
    assert "model.safetensors" in done.stdout
    (left,) = (line for line in done.stdout.splitlines() if line.strip().startswith("stays here"))
    for name in (".env", "optimizer.pt", "checkpoint-10/"):
        assert name in left
    assert "model-index:" in done.stdout
    assert not any(asked.startswith(("POST", "PUT")) for asked in hub.asked)
    assert not hub.tokens


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
    hub: LocalHub, checkpoint: Path, record_of: Callable[..., Path]
) -> None:
    record = record_of(checkpoint, **BENCHMARK)
    words = ["--model", str(checkpoint), "--to", "me/student", "--records", str(record)]
    done = push(hub, *words, "--benchmark", "the_task=rougeL")
    assert done.returncode == 0, done.stderr
    (name,) = (name for name in hub.files("me/student") if name.startswith(".eval_results/"))
    assert name == ".eval_results/made_up.yaml"
    (entry,) = yaml.safe_load(hub.files("me/student")[name])
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
    hub: LocalHub, checkpoint: Path, record_of: Callable[..., Path], source: str, said: str
) -> None:
    words = [
        "--model",
        str(checkpoint),
        "--to",
        "me/x",
        "--records",
        str(record_of(checkpoint, data_source=source)),
    ]
    done = push(hub, *words, "--dry-run")
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


def test_without_documents_no_article_goes_not_even_inside_the_page(root: Path, tmp_path: Path) -> None:
    spec = root / "leaderboards/newsworld.json"
    whole, without = (board_upload("me/boards", spec, documents=given) for given in (True, False))
    kept = [name for name in whole.files if Path(name).name.startswith("documents-")]
    assert kept
    assert sorted(set(whole.files) - set(without.files)) == sorted(kept)
    articles = [
        json.loads(line)["source"]
        for name in kept
        for line in Path(whole.files[name]).read_text("utf-8").splitlines()[:50]
    ]
    sentences = {sentence for article in articles for sentence in article.split(". ") if len(sentence) > 60}
    assert len(sentences) > 20

    def holding(files: dict[str, Path | str]) -> set[str]:
        texts = {
            name: file if isinstance(file, str) else file.read_text("utf-8") for name, file in files.items()
        }
        return {name for name, text in texts.items() if any(sentence in text for sentence in sentences)}

    assert "newsworld.html" in holding(whole.files)
    assert {name for name in holding(without.files) if not name.startswith("records/")} == set()
    for name, file in without.files.items():  # what is pulled verifies
        write_atomic(tmp_path / name, file if isinstance(file, str) else file.read_bytes())
    verify(tmp_path / "newsworld.json")
