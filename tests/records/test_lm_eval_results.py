"""Results folders that lm-eval did not finish, wrote in another version, or wrote about a model that has moved."""

import json
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.models.identity import model_identity
from harness.records import from_lm_eval


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
