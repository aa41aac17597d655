"""A score that is no better than chance is not shown as evidence: records, comparisons, boards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.board import publish, verify
from harness.board.page import as_html
from harness.board.table import read_board
from harness.records import Record
from harness.records.check import problems
from harness.records.compare import compare, default_keys
from harness.records.evidence import no_evidence
from harness.records.record import scored
from harness.records.verdict import verdict

JUDGED = "factual_consistency_rate"
GOOD = {"auroc": 0.9, "low": 0.85, "high": 0.94, "n": 400, "documents": 100}
CHANCE = {"auroc": 0.52, "low": 0.45, "high": 0.59, "n": 400, "documents": 100}
MakeRecord = Callable[..., Record]


@pytest.fixture
def pair(make_record: MakeRecord) -> Callable[..., list[Record]]:
    """Two records of the same documents, judged by a judge of whose quality ``held_out`` is said."""

    def make(
        held_out: Any = None, *, options: dict[str, Any] | None = None, said: bool = True
    ) -> list[Record]:
        return [
            make_record(
                name,
                {JUDGED: flips(seed), "rougeL": [0.4 + seed / 9] * 60},
                metric_options={"judge": "embedded", **(options or {})},
                provenance={"held_out": {JUDGED: held_out}} if said else {},
            )
            for seed, name in enumerate(("before", "after"))
        ]

    return make


def flips(seed: int) -> list[float | None]:
    return list((np.random.default_rng(seed).random(60) < 0.3 + 0.5 * seed).astype(float))


def test_a_judge_that_beats_chance_stands_with_its_proof(pair: Any, write_board: Callable[..., Path]) -> None:
    path = write_board(*pair(GOOD), columns=[JUDGED, "rougeL"], comparisons=[["before", "after"]])
    text = publish(path).read_text()
    verify(path)
    board = read_board(path)
    assert board.readers == {"judge": ("embedded@shipped (held-out AUROC 0.900 [0.850, 0.940])",)}
    assert board.footnotes == ()
    assert board.faithfulness
    for shown in (text, as_html(board)):
        assert "held-out AUROC 0.900 [0.850, 0.940]" in shown
        assert "No faithfulness score" not in shown
        assert "no evidence" not in shown


@pytest.mark.parametrize(
    ("held_out", "options", "reason"),
    [
        (CHANCE, {}, "no better than chance: AUROC 0.520 [0.450, 0.590]"),
        (
            None,
            {"judge_unproven": True},
            "taken from a model of which nothing shows that it can tell (judge_unproven)",
        ),
        (GOOD, {"judge_unproven": "true"}, "taken from a model of which nothing shows"),
    ],
)
def test_what_is_no_evidence_is_said_to_be_none(
    pair: Any, write_board: Callable[..., Path], held_out: Any, options: dict[str, Any], reason: str
) -> None:
    records = pair(held_out, options=options)
    path = write_board(*records, columns=[JUDGED, "rougeL"], comparisons=[["before", "after"]])
    text = publish(path).read_text()
    verify(path)
    board = read_board(path)
    assert not board.faithfulness
    (note,) = board.footnotes
    assert note.startswith(f"{JUDGED} is no evidence: it is {reason}")
    assert all(row.footnotes == (1,) for row in board.rows)
    for shown in (text, as_html(board)):
        assert "No faithfulness score here is evidence" in shown
        assert f"This is no evidence: {JUDGED} is " in shown
    before, after = map(scored, records)
    keys = default_keys(before, after)
    assert (keys[0], keys[-1]) == ("rougeL", JUDGED)
    found = compare({"t": before}, {"t": after}, [("t", JUDGED)])
    assert verdict(found, "before", "after").endswith(".")
    assert f"This is no evidence: {JUDGED} is {reason}" in verdict(found, "before", "after")


def test_where_nothing_is_said_nothing_is_claimed(pair: Any, write_board: Callable[..., Path]) -> None:
    old, unknown = pair(said=False)[0], pair(None)[0]
    assert no_evidence(old, JUDGED) is None
    assert no_evidence(unknown, JUDGED) is None
    assert read_board(write_board(old, columns=[JUDGED])).readers == {"judge": ("embedded@shipped",)}
    board = read_board(write_board(unknown, columns=[JUDGED]))
    assert board.readers == {"judge": ("embedded@shipped (held-out AUROC not known)",)}
    assert board.faithfulness


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ([], "held_out is no measurement by key"),
        ({JUDGED: {"auroc": 0.9}}, "is no measurement"),
        ({JUDGED: {**GOOD, "auroc": 7}}, "an AUROC lies in 0..1"),
        ({JUDGED: "good"}, "is no measurement"),
        ({"rougeLsum2": GOOD}, "held_out of rougeLsum2, which is no score"),
    ],
)
def test_a_measurement_that_is_none_is_refused(pair: Any, stated: Any, said: str) -> None:
    record = pair(GOOD)[0]
    forged = replace(record, provenance={**record.provenance, "held_out": stated})
    assert any(said in problem for problem in problems(scored(forged), None))
