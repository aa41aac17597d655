from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.lmeval.options import parse

CONFIG: dict[str, Any] = {
    "task": "kd_x_factual",
    "dataset_path": "org/name",
    "factual": {"metrics": ["rouge"], "answer_min_words": 3, "fields": {"references": "ref"}},
}


def with_metadata(**metadata: Any) -> Any:
    return parse(CONFIG | {"metadata": metadata})


def test_metadata_overrides_the_task_file_key_by_key() -> None:
    options = with_metadata(version=1.0, metrics="chrf+surface", n_resamples="50", source_field="text")
    assert options.families == ("chrf", "surface")
    assert options.suite.rule.min_words == 3
    assert options.bootstrap.n_resamples == 50
    assert options.data.fields == {"references": ["ref"], "source": ["text"]}


def test_misspelt_keys_are_all_named_and_model_arguments_are_not() -> None:
    with pytest.raises(HarnessError) as caught:
        with_metadata(
            metrcs="rouge", datadir="x", pretrained="gpt2", dtype="float32", seed=1, revision="main"
        )
    assert "2 problems" in caught.value.problem
    assert "'metrcs': did you mean 'metrics'?" in caught.value.problem
    assert "'datadir': did you mean 'data_dir'?" in caught.value.problem


@pytest.mark.parametrize("without", ["chfr", ["rouge", "chfr"], "rouge+chfr"])
def test_a_family_to_leave_out_that_is_none_is_named(without: Any) -> None:
    with pytest.raises(HarnessError, match=r"^without: unknown metric family 'chfr'\nChoose from: .*chrf"):
        with_metadata(metrics="rouge+chrf", without=without)
    assert with_metadata(metrics="rouge+chrf", without="rouge+bertscore").families == ("chrf",)


@pytest.mark.parametrize("key", ["answer_min_words", "n_documents", "data_seed", "n_resamples"])
@pytest.mark.parametrize("value", ["many", -1, "-1", 2.5, True, float("inf"), None, [1]])
def test_numbers_are_numbers(key: str, value: Any) -> None:
    with pytest.raises(HarnessError, match=re.escape(f"{key}={value!r} is not a whole number")):
        with_metadata(**{key: value})
    with_metadata(**{key: "30"})
    with_metadata(**{key: 30.0})


def test_one_folder_serves_a_group_of_tasks(tmp_path: Path) -> None:
    (tmp_path / "kd_x_factual.csv").touch()
    (tmp_path / "kd_x_factual_old.csv").touch()
    (tmp_path / "kd_y_factual").mkdir()

    def chosen(task: str) -> str:
        return str(parse(CONFIG | {"task": task, "metadata": {"data_dir": str(tmp_path)}}).data.data_dir)

    assert chosen("kd_x_factual") == chosen("kd_x_factual_chat") == str(tmp_path / "kd_x_factual.csv")
    assert chosen("kd_y_factual") == str(tmp_path / "kd_y_factual")
    assert chosen("kd_z_factual") == str(tmp_path)
