"""Kept answers: what is asked again, what is not, and what a kill leaves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.files import append_row, read_log
from harness.lmeval.bridge.kept import Answer, KeepingLM, Kept, in_place_of_caching


def asking(*prompts: str, **decoding: Any) -> list[Any]:
    return [SimpleNamespace(args=(prompt, {"max_gen_toks": 5, **decoding})) for prompt in prompts]


class Asked:
    """Answers with a number that counts up, and knows what it was asked."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def __call__(self, requests: Sequence[Any]) -> list[str]:
        self.prompts += [request.args[0] for request in requests]
        return [f"{request.args[0]}-{len(self.prompts)}" for request in requests]


def answers(path: Path, ask: Any, requests: Sequence[Any], *, sampled: bool = False) -> list[Any]:
    return Kept(path).answers("generate_until", requests, ask, sampled=sampled)


def test_the_same_is_asked_once_and_anything_else_again(tmp_path: Path) -> None:
    ask, path = Asked(), tmp_path / "kept.jsonl"
    first = answers(path, ask, asking("a", "b"))
    assert answers(path, ask, asking("b", "a")) == first[::-1]
    assert ask.prompts == ["a", "b"]
    answers(path, ask, asking("a", temperature=0.5))
    Kept(path).answers("loglikelihood", asking("a"), ask, sampled=False)
    assert ask.prompts == ["a", "b", "a", "a"]
    answers(tmp_path / "other.jsonl", ask, asking("a"))
    assert len(ask.prompts) == 5


def test_what_is_asked_twice_in_one_call_has_two_answers(tmp_path: Path) -> None:
    ask, path = Asked(), tmp_path / "kept.jsonl"
    counted = iter(range(10))
    first = answers(path, lambda some: [f"{next(counted)}" for _ in some], asking("a", "a"))
    assert first == ["0", "1"]
    assert answers(path, ask, asking("a", "a", "a"))[:2] == first
    assert ask.prompts == ["a"]


def test_sampled_answers_are_kept_where_they_are_paid(tmp_path: Path) -> None:
    for sampled, asked in ((True, 1), (False, 2)):
        ask, path = Asked(), tmp_path / f"{sampled}.jsonl"
        for _ in range(2):
            answers(path, ask, asking("a", do_sample=True), sampled=sampled)
        assert len(ask.prompts) == asked


def test_each_answer_is_kept_as_it_comes(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "kept.jsonl")

    def dies(requests: Sequence[Any]) -> list[str]:
        kept.add_partial("generate_until", requests[1].args, Answer("second", "length"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept.answers("generate_until", asking("a", "b", "c"), dies, sampled=False)
    ask = Asked()
    found = answers(kept.path, ask, asking("a", "b", "c"))
    assert ask.prompts == ["a", "c"]
    assert (found[1], found[1].finish_reason) == ("second", "length")


def test_a_failure_is_no_answer(tmp_path: Path) -> None:
    ask, path = Asked(), tmp_path / "kept.jsonl"
    assert answers(path, lambda some: [None for _ in some], asking("a")) == [None]
    assert answers(path, ask, asking("a")) == ["a-1"]


def test_likelihoods_and_any_text_come_back_as_they_were(tmp_path: Path) -> None:
    given: list[Any] = [(-1.25, True), (float("-inf"), False), -3.5, "sch\u00f6n \ud800", ""]
    path = tmp_path / "kept.jsonl"
    requests = asking(*map(str, range(len(given))))
    Kept(path).answers("loglikelihood", requests, lambda _: given, sampled=False)
    found = Kept(path).answers("loglikelihood", requests, lambda _: [], sampled=False)
    assert found == given
    assert [type(one) for one in found[:3]] == [tuple, tuple, float]


def test_a_torn_line_costs_one_answer(tmp_path: Path) -> None:
    ask, path = Asked(), tmp_path / "kept.jsonl"
    answers(path, ask, asking("a", "b"))
    path.write_bytes(path.read_bytes()[:-9])
    assert answers(path, ask, asking("a", "b"))[0] == "a-2"
    assert ask.prompts == ["a", "b", "b"]
    assert len(list(read_log(path))) == 2  # the torn line stands between them, and is passed over
    assert len(path.read_bytes().splitlines()) == 3


def test_what_is_no_plain_data_is_asked_each_time(tmp_path: Path) -> None:
    ask, path = Asked(), tmp_path / "kept.jsonl"
    for _ in range(2):
        answers(path, ask, asking("a", image=object()))
    assert ask.prompts == ["a", "a"]
    assert not path.exists()


def test_a_log_grows_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "in" / "log.jsonl"
    assert list(read_log(path)) == []
    for i in range(3):
        append_row(path, {"i": i, "text": "a\nb"})
    assert list(read_log(path)) == [{"i": i, "text": "a\nb"} for i in range(3)]
    assert [json.loads(line)["i"] for line in path.read_text("ascii").splitlines()] == [0, 1, 2]


def test_it_stands_in_for_lm_evals_cache_and_steps_back(tmp_path: Path) -> None:
    from lm_eval.api import model

    class Model(model.LM):  # type: ignore[misc]
        generate_until = Asked()

        def loglikelihood(self, requests: Any) -> Any:
            raise NotImplementedError

        loglikelihood_rolling = loglikelihood

    usual = model.CachingLM
    with in_place_of_caching():
        assert model.CachingLM is KeepingLM
        lm = model.CachingLM(Model(), str(tmp_path / "x_rank0.db"))
        assert lm.generate_until(asking("a")) == lm.generate_until(asking("a")) == ["a-1"]
        assert lm.rank == 0
    assert model.CachingLM is usual
    assert [path.name for path in tmp_path.iterdir()] == ["x_rank0.jsonl"]
