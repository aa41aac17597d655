"""Data sets by name: the split's own files at a commit, online and offline, and what is said where they cannot be had."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness_kd.data.named import named_rows

from harness.data.hub import read_hub
from harness.errors import HarnessError
from tests.hub.local_hub import LocalHub
from tests.hub.replicas import add_all, data_sets, parquet, pinned

READ = [
    ("abisee/cnn_dailymail", "3.0.0", "test", 3),
    ("abisee/cnn_dailymail", "3.0.0", "train", 9),
    ("EdinburghNLP/xsum", None, "test", 3),
    ("hotpotqa/hotpot_qa", "distractor", "validation", 3),
    ("qiaojin/PubMedQA", "pqa_labeled", "train", 3),
    ("truthfulqa/truthful_qa", "generation", "validation", 3),
    ("tuetschek/e2e_nlg", None, "test", 4),
    ("tuetschek/e2e_nlg_cleaned", None, "test", 4),
    ("knkarthick/dialogsum", None, "test", 6),
    ("pszemraj/qmsum-cleaned", None, "test", 3),
    ("databricks/databricks-dolly-15k", None, "train", 1003),
]


@pytest.fixture
def served(online: LocalHub, root: Path) -> LocalHub:
    add_all(online, root)
    return online


@pytest.mark.parametrize(("path", "name", "split", "n"), READ)
def test_a_split_is_read_at_its_commit_and_again_offline(
    served: LocalHub, root: Path, offline: Callable[[], None], path: str, name: str | None, split: str, n: int
) -> None:
    revision = pinned(root).get(path)
    rows, commit = read_hub(path, name, split=split, revision=revision)
    assert len(rows) == n
    assert commit == served.repositories["dataset", path].refs["main"]
    assert revision in (None, commit)
    files = [asked for asked in served.asked if asked.startswith("GET /storage/")]
    parquets = any(file.endswith(".parquet") for file in data_sets()[path])
    assert len(files) == (
        (3 if split == "train" and "cnn" in path else 1) if parquets else 0
    )  # of this split alone
    assert not any(other in asked for asked in served.asked for other in ("viewer", "size?", "/parquet?"))
    asked = len(served.asked)
    offline()
    assert read_hub(path, name, split=split, revision=revision) == (rows, commit)
    assert len(served.asked) == asked


def test_what_comes_through_is_what_the_files_hold(served: LocalHub) -> None:
    from datasets import load_dataset

    for path, name, split, _ in READ:
        theirs = load_dataset(
            f"hf://datasets/{path}",
            name,
            split=split,
            revision=served.repositories["dataset", path].refs["main"],
        )
        assert read_hub(path, name, split=split, revision=None)[0] == list(theirs)


def test_an_unpinned_set_that_moved_is_read_anew_and_recorded(served: LocalHub) -> None:
    before, first = read_hub("EdinburghNLP/xsum", None, split="test", revision=None)
    row = {"document": "Other.", "summary": "Else.", "id": "9"}
    files = data_sets()["EdinburghNLP/xsum"] | {"data/test-00000-of-00001.parquet": parquet([row])}
    second = served.add("EdinburghNLP/xsum", files, kind="dataset")
    assert read_hub("EdinburghNLP/xsum", None, split="test", revision=None) == ([row], second)
    assert read_hub("EdinburghNLP/xsum", None, split="test", revision=first) == (before, first)


def test_a_folder_of_the_same_name_is_not_taken_for_it(
    served: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "EdinburghNLP/xsum").mkdir(parents=True)
    (tmp_path / "EdinburghNLP/xsum/test.csv").write_text("document,summary,id\nshadow,shadow,1\n")
    monkeypatch.chdir(tmp_path)
    rows, _ = read_hub("EdinburghNLP/xsum", None, split="test", revision=None)
    assert "shadow" not in {row["document"] for row in rows}


@pytest.mark.parametrize(
    ("path", "change", "reason", "remedy"),
    [
        ("owner/none", {}, "not found on the hub, or private", "Check the name"),
        ("EdinburghNLP/xsum", {"gated": True}, "the repository is gated, and no token was sent", "/datasets/EdinburghNLP/xsum"),
        ("EdinburghNLP/xsum", {"split": "dev"}, "there is no such split, but train, validation, test", "Name one"),
        ("EdinburghNLP/xsum", {"name": "large"}, "BuilderConfig 'large' not found", "data_dir"),
        ("EdinburghNLP/xsum", {"revision": "nobranch"}, "the repository has no such revision", "Give a branch"),
    ],
)  # fmt: skip
def test_each_refusal_is_told_apart(
    served: LocalHub, path: str, change: dict[str, Any], reason: str, remedy: str
) -> None:
    served.repositories["dataset", "EdinburghNLP/xsum"].gated = change.get("gated", False)
    with pytest.raises(HarnessError) as caught:
        read_hub(path, change.get("name"), split=change.get("split", "test"), revision=change.get("revision"))
    assert reason in caught.value.problem
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"status": 500}, "the hub answered 500"),
        ({"status": 429}, "the hub answered 429"),
        ({"how": "truncated"}, "broke off"),
    ],
)
def test_a_failed_download_is_one_clear_error_and_leaves_nothing_half(
    served: LocalHub, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any], reason: str
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    broken = served.fail("/storage/", **fault)
    with pytest.raises(HarnessError, match=reason):
        read_hub("EdinburghNLP/xsum", None, split="test", revision=None)
    broken.times = 0
    assert len(read_hub("EdinburghNLP/xsum", None, split="test", revision=None)[0]) == 3


def test_offline_without_it_is_said_at_once(served: LocalHub, offline: Callable[[], None]) -> None:
    offline()
    with pytest.raises(HarnessError, match="not on this machine, and HF_HUB_OFFLINE is set") as caught:
        read_hub("EdinburghNLP/xsum", None, split="test", revision=None)
    assert "data_dir" in caught.value.remedy
    assert served.asked == []


def test_training_data_by_name(served: LocalHub) -> None:
    names = ("dolly", "dolly?split=dev", "cnndm", "cnndm?split=dev", "e2e")
    assert [len(named_rows(name)) for name in names] == [3, 1000, 9, 3, 4]
