"""What a comparison refuses, corrects, and says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.cli import main
from harness.errors import HarnessError
from harness.records import Record, save_record
from harness.records.compare import ALPHA, Comparison, compare
from harness.records.record import scored
from harness.records.verdict import verdict

MakeRecord = Callable[..., Record]
N = 400
OURS = ("rougeL", "factual_consistency_rate", "length", "density")


def columns(
    seed: int, *, rouge: float = 0.0, factual: float = 0.7, keys: Sequence[str] = OURS
) -> dict[str, list[float | None]]:
    """Scores of one system; the shifts are its gains over the shared difficulty of the documents."""
    shared, own = np.random.default_rng(0), np.random.default_rng(seed)
    base = shared.normal(0.5, 0.1, N)
    threshold = shared.random(N)
    values = {
        "rougeL": list(np.clip(base + rouge + own.normal(0, 0.05, N), 0, 1)),
        "factual_consistency_rate": list((threshold < factual).astype(float)),
        "length": list(np.round(own.normal(60, 8, N))),
        "density": list(own.exponential(3.0, N)),
    }
    return {key: values[key] for key in keys}


def compared(a: Record, b: Record, keys: Sequence[str]) -> Comparison:
    return compare({a.task: scored(a)}, {b.task: scored(b)}, [(a.task, key) for key in keys])


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
        ({"task_version": "2.0"}, r"tasks differ: made_up 1\.0, made_up 2\.0"),
    ],
)
def test_runs_under_other_conditions_are_refused_by_name(
    make_record: MakeRecord, changes: dict[str, Any], said: str
) -> None:
    values = columns(1)
    with pytest.raises(HarnessError, match=said):
        compared(make_record("a", values), make_record("b", values, **changes), ["rougeL"])


def test_one_score_computed_in_two_ways_is_refused(make_record: MakeRecord) -> None:
    a = make_record("a", columns(1))
    other = a.scores["factual_consistency_rate"]["signature"].replace("ab52cc40dc0c", "000000000000")
    b = make_record("b", columns(2), signatures={"factual_consistency_rate": other})
    with pytest.raises(
        HarnessError, match=r"factual_consistency_rate is computed in two ways: .*ab52.* and .*0000"
    ):
        compared(a, b, ["factual_consistency_rate"])
    compared(a, b, ["rougeL"])


def test_the_verdict_is_one_sentence_either_way(make_record: MakeRecord) -> None:
    keys = ["rougeL", "factual_consistency_rate"]
    a = make_record("a", columns(1))
    better = compared(a, make_record("b", columns(2, rouge=0.03)), keys)
    assert verdict(better, "SFT", "KD").startswith("KD is better than SFT on rougeL: +")
    worse = compared(a, make_record("b", columns(2, rouge=-0.03)), keys)
    assert "KD is worse than SFT" in verdict(worse, "SFT", "KD")
    same = compared(a, make_record("b", columns(3)), keys)
    said = verdict(same, "SFT", "KD")
    assert said.startswith("No difference shown between KD and SFT on rougeL")
    assert "could have found" in said
    first = same.scores[0]
    assert first.difference is not None
    assert first.detectable is not None
    assert first.detectable > (first.difference.detectable() or 0)  # Holm's first step is stricter


def test_holm_covers_all_scores_of_the_comparison(make_record: MakeRecord) -> None:
    a, b = make_record("a", columns(1)), make_record("b", columns(2, rouge=0.006))
    alone = compared(a, b, ["rougeL"]).scores[0]
    together = compared(a, b, ["rougeL", "factual_consistency_rate", "length"]).scores[0]
    assert alone.difference is not None
    assert alone.p_holm == alone.difference.p_value
    assert together.p_holm > alone.p_holm
    assert (alone.tests, together.tests) == (1, 3)


def test_holm_covers_all_tasks_of_a_comparison(make_record: MakeRecord) -> None:
    sides = [
        {task: scored(make_record(name, columns(seed, rouge=rouge), task=task)) for task in ("one", "two")}
        for name, seed, rouge in (("a", 1, 0.0), ("b", 2, 0.02))
    ]
    found = compare(*sides, [("one", "rougeL"), ("two", "rougeL")])
    assert [(item.task, item.tests) for item in found.scores] == [("one", 2), ("two", 2)]
    assert "on rougeL in one" in verdict(found, "SFT", "KD")


@pytest.mark.parametrize(
    ("rouge", "factual", "flags"),
    [(0.03, 0.55, [True]), (0.03, 0.693, [False]), (0.03, 0.75, []), (-0.03, 0.55, [])],
)
def test_overlap_up_and_faithfulness_down_is_flagged(
    make_record: MakeRecord, rouge: float, factual: float, flags: list[bool]
) -> None:
    keys = ["rougeL", "factual_consistency_rate"]
    found = compared(
        make_record("a", columns(1)), make_record("b", columns(2, rouge=rouge, factual=factual)), keys
    )
    assert [flag.shown for flag in found.disagreements()] == flags
    for flag in found.disagreements():
        assert ("both shown" in flag.sentence()) == (max(item.p_holm for item in found.scores) <= ALPHA)


def test_a_gain_that_is_all_length_is_gone_at_equal_style(make_record: MakeRecord) -> None:
    before, after = columns(1), columns(2)
    lengths = np.array(before["length"], float)
    longer = lengths * np.random.default_rng(5).uniform(1.0, 1.6, N)
    after["length"] = list(longer)
    gain = 0.1 * (np.log1p(longer) - np.log1p(lengths))
    after["rougeL"] = list(
        np.clip(np.array(before["rougeL"], float) + gain + np.random.default_rng(6).normal(0, 0.02, N), 0, 1)
    )
    found = compared(make_record("a", before), make_record("b", after), ["rougeL", "length"])
    assert found.scores[0].p_holm <= ALPHA
    matched = found.scores[0].matched
    assert matched is not None
    assert matched.adjusted is not None
    assert matched.covariates == ("length", "density")
    assert 0.0 in matched.adjusted.interval
    assert matched.adjusted.interval.high - matched.adjusted.interval.low < 0.1
    assert found.scores[1].matched is None  # length at equal length


def failing(values: Mapping[str, list[float | None]], chosen: np.ndarray) -> dict[str, list[float | None]]:
    return {
        key: [None if fails else value for value, fails in zip(column, chosen, strict=True)]
        for key, column in values.items()
    }


def test_refusing_the_hard_documents_is_no_way_to_win(make_record: MakeRecord) -> None:
    values = columns(1, factual=0.6)
    wrong = np.array(values["factual_consistency_rate"]) == 0.0
    picky = failing(values, wrong & (np.arange(N) % 2 == 0))
    found = compared(make_record("all", values), make_record("picky", picky), ["factual_consistency_rate"])
    (item,) = found.scores
    assert item.difference is not None
    assert item.difference.delta == 0.0  # on what both answered
    assert item.failures is not None
    assert item.failures.failed == (0, int((wrong & (np.arange(N) % 2 == 0)).sum()))
    assert item.failures.difference is not None
    assert item.failures.difference.n == N
    assert item.failures.difference.delta == 0.0  # a failed sample and a wrong one weigh the same
    said = verdict(found, "all", "picky")
    assert "They answered different documents: all failed on 0 and picky on" in said


def test_a_win_on_common_documents_alone_is_no_verdict(make_record: MakeRecord) -> None:
    values = columns(1, factual=0.5)
    after = {**columns(2), "factual_consistency_rate": [1.0] * N}
    after = failing(after, np.arange(N) >= N // 5)  # right wherever it answers, and silent on four in five
    found = compared(make_record("a", values), make_record("b", after), ["factual_consistency_rate"])
    (item,) = found.scores
    assert item.difference is not None
    assert item.failures is not None
    assert item.failures.difference is not None
    assert item.difference.delta > 0.4
    assert item.failures.difference.delta < -0.2
    assert not item.shown()
    said = verdict(found, "a", "b")
    assert said.startswith("No difference shown between b and a")
    assert "does not hold on all documents" in said


def test_a_corpus_score_counts_a_failure_as_an_empty_response() -> None:
    from harness.metrics.base import Sample
    from harness.metrics.chrf import Chrf
    from harness.records.failures import filled_statistics

    samples = [Sample(source="", references=(f"the cat {i}",), response=f"the cat {i} sat") for i in range(3)]
    rows = [found["chrf"].statistics for found in Chrf().score(samples)]  # type: ignore[attr-defined]
    whole, holed = np.array(rows, float), np.array(rows, float)
    holed[1] = np.nan

    class Side:
        def __init__(self, table: np.ndarray) -> None:
            self.statistics = {"chrf": table}

    tables = filled_statistics([Side(whole), Side(holed)], "chrf")  # type: ignore[list-item]
    assert tables is not None
    np.testing.assert_array_equal(tables[0], whole)
    assert (tables[1][1].reshape(-1, 3)[:, [0, 2]] == 0).all()
    np.testing.assert_array_equal(tables[1][1].reshape(-1, 3)[:, 1], whole[1].reshape(-1, 3)[:, 1])


@pytest.mark.parametrize("n", [3, 5, 9])
def test_a_handful_of_documents_gives_no_verdict(make_record: MakeRecord, n: int) -> None:
    a = make_record("a", {"quality": [0.1] * (n - 1) + [0.11]})
    b = make_record("b", {"quality": [0.9] * (n - 1) + [0.92]})
    found = compared(a, b, ["quality"])
    assert verdict(found, "a", "b") == (
        f"Too few documents for a verdict between b and a on quality: n = {n}, and at least 10 are needed."
    )
    assert found.scores[0].p_holm >= 2 / 2**n


def test_two_that_never_differ_are_said_to(make_record: MakeRecord) -> None:
    values = {"quality": [0.25, 0.5, 0.75] * 20}
    found = compared(make_record("a", values), make_record("b", values), ["quality"])
    said = verdict(found, "a", "b")
    assert "the two never differ" in said
    assert "nan" not in said
    assert "could have found" not in said


def test_the_command_prints_sentence_and_table_or_json(
    make_record: MakeRecord, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = save_record(make_record("a", columns(1)), tmp_path)
    b = save_record(make_record("b", columns(2, rouge=0.03)), tmp_path)
    assert main(["compare", str(a), str(b)]) == 0
    printed = capsys.readouterr().out
    assert "on factual_consistency_rate" in printed.splitlines()[0]
    assert "| `rougeL` |" in printed
    assert "| `length` |" not in printed
    assert main(["compare", str(a), str(b), "--json", "--scores", "rougeL"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [score["score"] for score in content["scores"]] == ["rougeL"]
    assert content["scores"][0]["matched"]["adjusted"]["n"] == N
    assert main(["compare", str(a), str(b), "--scores", "nothing"]) == 2
    assert "has no score nothing" in capsys.readouterr().err
