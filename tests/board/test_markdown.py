"""How rows are ordered."""

from harness.board.markdown import _order
from harness.metrics.suite import ScoreSummary


def _score(value: float, higher_is_better: bool | None) -> ScoreSummary:
    return ScoreSummary(
        value=value, low=None, high=None, n=1, higher_is_better=higher_is_better, signature="s"
    )


def test_the_best_row_comes_first_and_a_row_without_a_score_last() -> None:
    high, low = _score(0.9, True), _score(0.1, True)
    assert sorted([None, low, high], key=_order) == [high, low, None]
    many_errors, few_errors = _score(0.9, False), _score(0.1, False)
    assert sorted([None, many_errors, few_errors], key=_order) == [few_errors, many_errors, None]
