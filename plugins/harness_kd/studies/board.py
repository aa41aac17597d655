"""The board of a study: which scores it shows, and its rows beside those that are there already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.board import BoardSpec
    from harness.records import Scored

_COLUMNS = 6
"""Scores of a task that the board shows, at most."""
_LIMITS = (
    "Distillation is meant for faithfulness errors. It adds no knowledge, and it needs a reliable teacher: one that "
    "hallucinates passes its errors on.",
    "A gain in ROUGE-L or another overlap score is no evidence of faithfulness; read it beside a consistency score.",
)

Summaries = Mapping[str, Mapping[str, Any]]
"""Headline by key, as records hold it."""


def comparable(scores: Sequence[Summaries]) -> list[str]:
    """Scores with a better direction that all rows computed in one way, those that speak of faithfulness first."""
    return [
        key
        for key in _with_direction(scores)
        if all(key in found for found in scores)
        and len({found[key].get("signature") for found in scores}) == 1
    ]


def columns_of(scores: Sequence[Summaries]) -> list[str]:
    """Scores of a task to show, at most six.

    The first one ranks, so all rows must have it from the same metric. Others may lack in some rows: a lookback classifier fits
    models of one layout, and a row without one shows a dash.
    """
    ordered = _with_direction(scores)
    first = comparable(scores)[:1] or ["answer_rate"]
    return [*first, *(key for key in ordered if key not in first)][:_COLUMNS]


def _with_direction(scores: Sequence[Summaries]) -> list[str]:
    from harness.records.described import in_order

    keys = {key for found in scores for key, summary in found.items() if summary["higher_is_better"]}
    return in_order(keys - {"answer_rate"})


def publish_study(path: Path, results: Mapping[str, Path], pairs: Sequence[list[str]]) -> Path:
    """Add the rows of evaluated models to a board, or renew them there, and publish it.

    A run that the board shows already under another label, as the twin of a former study, gets no second row.

    Args:
        path: Specification of the board; a new one is made where it is not there.
        results: Label of a row -> lm-eval's results folder.
        pairs: Labels to compare, baseline first.

    Returns:
        The board's markdown; its page stands beside it.
    """
    from harness.board import publish
    from harness.records import import_results
    from harness.records.reading import load_header

    shown = _shown_already(path, results)
    results = {label: run for label, run in results.items() if label not in shown}
    pairs = [[shown.get(label, label) for label in pair] for pair in pairs]
    files = {
        label: import_results(run, path.parent / "records", model=label) for label, run in results.items()
    }
    headers = {file: load_header(file) for found in files.values() for file in found}
    tasks = list(dict.fromkeys(header.task for header in headers.values()))
    rows = [
        {"label": label, "record": file.relative_to(path.parent).as_posix()}
        for label, found in files.items()
        for file in found
    ]
    columns = [
        key if len(tasks) == 1 else f"{task}/{key}"
        for task in tasks
        for key in columns_of([header.scores for header in headers.values() if header.task == task])
    ]
    return publish(path, new=_added_to(path, ", ".join(tasks), rows, columns, pairs))


def publish_comparison(
    path: Path, results: Mapping[str, Path], *, title: str, columns: Sequence[str], notes: Sequence[str]
) -> Path:
    """Publish evaluated models as a new board, on which the first is compared with the second.

    Args:
        path: Specification of the board.
        results: Label of a row -> lm-eval's results folder.
        title: Of the board.
        columns: Its scores, the first of which ranks.
        notes: Sentences under the table.

    Returns:
        The board's markdown; its page stands beside it.
    """
    from harness.board import BoardSpec, publish
    from harness.records import import_results

    folder = path.parent / "records"
    files = {
        label: file for label, run in results.items() for file in import_results(run, folder, model=label)
    }
    candidate, baseline, *_ = files
    spec = BoardSpec(
        title=title,
        columns=list(columns),
        rows=[
            {"label": label, "record": file.relative_to(path.parent).as_posix()}
            for label, file in files.items()
        ],
        comparisons=[[baseline, candidate]],
        notes=list(notes),
    )
    return publish(path, new=spec)


def shown(board: Path) -> str:
    """What a quickstart ends with: the board, where its page is, and how to check it."""
    page, spec = board.with_suffix(".html"), board.with_suffix(".json")
    return f"{board.read_text('utf-8')}\nOpen the page: {page}\nCheck it: harness verify {spec}"


def _shown_already(path: Path, results: Mapping[str, Path]) -> dict[str, str]:
    """Label -> the board's label of the same run: the same responses by the same weights."""
    from harness.board.spec import read_spec
    from harness.records import from_lm_eval, load_scored
    from harness.records.record import scored

    def run(record: Scored) -> tuple[str, str, Any]:
        return record.task, record.responses_sha256, record.provenance["model"].get("weights_sha256")

    if not path.exists():
        return {}
    rows = {run(load_scored(path.parent / row["record"])): row["label"] for row in read_spec(path).rows}
    found = {}
    for label, folder in results.items():
        there = {rows.get(run(scored(record))) for record in from_lm_eval(folder, model=label)}
        if len(there) == 1 and (other := there.pop()) not in (None, label):
            found[label] = str(other)
    return found


def _added_to(
    path: Path, tasks: str, rows: list[dict[str, str]], columns: list[str], pairs: Sequence[list[str]]
) -> BoardSpec:
    """The board that is there with our rows added or renewed, or a new one."""
    from harness.board import BoardSpec
    from harness.board.spec import read_spec

    if not path.exists():
        title = f"{tasks}: finetuned with and without distillation"
        return BoardSpec(
            title=title, columns=columns, rows=rows, comparisons=list(pairs), notes=list(_LIMITS)
        )
    spec = read_spec(path)
    ours = {row["label"] for row in rows}
    kept = [row for row in spec.rows if row["label"] not in ours]
    comparisons = [*spec.comparisons, *(pair for pair in pairs if pair not in spec.comparisons)]
    return replace(spec, rows=[*kept, *rows], comparisons=comparisons)
