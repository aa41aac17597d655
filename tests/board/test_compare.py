"""What a comparison refuses, corrects, and says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.board import compare
from harness.board.compare import ALPHA
from harness.cli import main
from harness.errors import HarnessError
from harness.records import Record, save_record

MakeRecord = Callable[..., Record]
N = 400


def columns(
    seed: int, quality: float = 0.0, rouge: float = 0.0, factual: float = 0.7
) -> dict[str, list[float]]:
    """Scores of one system; the shifts are its gains over the shared difficulty of the documents."""
    shared, own = np.random.default_rng(0), np.random.default_rng(seed)
    base = shared.normal(0.5, 0.1, N)
    threshold = shared.random(N)
    return {
        "quality": list(base + quality + own.normal(0, 0.05, N)),
        "rougeL": list(base + rouge + own.normal(0, 0.05, N)),
        "factual_consistency_rate": list((threshold < factual).astype(float)),
        "length": list(np.round(own.normal(60, 8, N))),
        "density": list(own.exponential(3.0, N)),
    }


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"provenance": {"documents_sha256": "99" * 32, "data_source": "other"}},
            "documents differ: .*other",
        ),
        ({"provenance": {"prompts_sha256": "99" * 32}, "prompt": "Read: {source}"}, "prompts differ: .*Read"),
        ({"provenance": {"decoding": {"temperature": 1.0}}}, "decoding differ: .*1.0"),
        ({"provenance": {"limit": 10}}, "limits differ: None and 10"),
        ({"task": "another"}, r"tasks differ: made_up 1\.0, another 1\.0"),
    ],
)
def test_runs_under_other_conditions_are_refused_by_name(
    make_record: MakeRecord, changes: dict[str, Any], said: str
) -> None:
    values = columns(1)
    with pytest.raises(HarnessError, match=said):
        compare(make_record("a", values), make_record("b", values, **changes), ["quality"])


def test_one_score_computed_in_two_ways_is_refused(make_record: MakeRecord) -> None:
    a, b = make_record("a", columns(1)), make_record("b", columns(2))
    b.scores["quality"]["signature"] = "quality|judge:x|version:2"
    with pytest.raises(
        HarnessError, match=r"quality is computed in two ways: quality\|version:1 and quality\|judge"
    ):
        compare(a, b, ["quality"])
    compare(a, b, ["rougeL"])


def test_the_verdict_is_one_sentence_either_way(make_record: MakeRecord) -> None:
    keys = ["quality", "rougeL"]
    better = compare(make_record("a", columns(1)), make_record("b", columns(2, quality=0.03)), keys)
    assert better.verdict("SFT", "KD").startswith("KD is better than SFT on quality: +")
    worse = compare(make_record("a", columns(1)), make_record("b", columns(2, quality=-0.03)), keys)
    assert "KD is worse than SFT" in worse.verdict("SFT", "KD")
    same = compare(make_record("a", columns(1)), make_record("b", columns(2)), keys)
    said = same.verdict("SFT", "KD")
    assert said.startswith("No difference shown between KD and SFT on quality")
    assert "could have found" in said
    assert same.detectable(0) > same.differences[0].detectable()  # Holm's first step is stricter


def test_holm_covers_all_scores_of_the_comparison(make_record: MakeRecord) -> None:
    a, b = make_record("a", columns(1)), make_record("b", columns(2, quality=0.006))
    alone = compare(a, b, ["quality"])
    together = compare(a, b, ["quality", "rougeL", "factual_consistency_rate"])
    assert alone.adjusted_p[0] == alone.differences[0].p_value
    assert together.adjusted_p[0] > alone.adjusted_p[0]


@pytest.mark.parametrize(
    ("rouge", "factual", "flags"),
    [(0.03, 0.55, [True]), (0.03, 0.693, [False]), (0.03, 0.75, []), (-0.03, 0.55, [])],
)
def test_overlap_up_and_faithfulness_down_is_flagged(
    make_record: MakeRecord, rouge: float, factual: float, flags: list[bool]
) -> None:
    keys = ["rougeL", "factual_consistency_rate"]
    found = compare(
        make_record("a", columns(1)), make_record("b", columns(2, rouge=rouge, factual=factual)), keys
    )
    assert [flag.shown for flag in found.disagreements()] == flags
    for flag in found.disagreements():
        assert ("both shown" in flag.sentence()) == (max(found.adjusted_p) <= ALPHA)


def test_a_gain_that_is_all_length_is_gone_at_equal_style(make_record: MakeRecord) -> None:
    before, after = columns(1), columns(2)
    longer = np.array(before["length"]) * np.random.default_rng(5).uniform(1.0, 1.6, N)
    after["length"] = list(longer)
    gain = 0.1 * (np.log1p(longer) - np.log1p(before["length"]))
    after["quality"] = list(np.array(before["quality"]) + gain + np.random.default_rng(6).normal(0, 0.02, N))
    found = compare(make_record("a", before), make_record("b", after), ["quality", "length"])
    assert found.adjusted_p[0] <= ALPHA
    matched = found.matched[0]
    assert matched is not None
    assert matched.adjusted is not None
    assert matched.covariates == ("length", "density")
    assert 0.0 in matched.adjusted.interval
    assert found.matched[1] is None  # length at equal length


def test_documents_without_both_answers_are_left_out_and_counted(make_record: MakeRecord) -> None:
    values: dict[str, Any] = columns(1)
    values["quality"] = [None, None, *values["quality"][2:]]
    found = compare(make_record("a", values), make_record("b", columns(2)), ["quality"])
    assert (found.differences[0].n, found.left_out) == (N - 2, 2)


def test_the_command_prints_sentence_and_table_or_json(
    make_record: MakeRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = save_record(make_record("a", columns(1)), tmp_path)
    b = save_record(make_record("b", columns(2, quality=0.03)), tmp_path)
    assert main(["compare", str(a), str(b)]) == 0
    printed = capsys.readouterr().out
    assert "on factual_consistency_rate" in printed.splitlines()[0]
    assert "| `rougeL` |" in printed
    assert "| `length` |" not in printed
    assert main(["compare", str(a), str(b), "--json", "--scores", "rougeL"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert list(content["scores"]) == ["rougeL"]
    assert content["scores"]["rougeL"]["matched"]["adjusted"]["n"] == N
    assert main(["compare", str(a), str(b), "--scores", "nothing"]) == 2
    assert "no document has nothing" in capsys.readouterr().err
