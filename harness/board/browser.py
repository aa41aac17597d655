"""What the page's sample browser shows: documents, references, every row's response, scores and lookback windows.

A page holds at most `BoardSpec.samples` documents, so that it opens on a phone. Which ones is no choice of ours: those on which
the first comparison's two responses differ most on the ranking score come first, as many wins as losses, then the rest in
order. The page says how many there are and how many it shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any

from harness.board.markdown import scale
from harness.board.table import Board
from harness.records import Document, SampleRecord, load_documents

_DIGITS = 4


def browser_data(board: Board) -> dict[str, Any]:
    """Plain data for the page's script; ``documents`` is empty where the articles were not kept."""
    documents: dict[int, Document] = {}
    for row in board.rows:
        documents |= load_documents(row.record, board.folder / row.path) or {}
    samples = [{sample.doc_id: sample for sample in row.record.samples} for row in board.rows]
    chosen = choose(board, sorted(documents))[: board.spec.samples]
    labels = [row.label for row in board.rows]
    return {
        "columns": [{"key": key, "scale": scale(key)} for key in board.spec.columns],
        "rows": [{"label": row.label, "kind": row.kind} for row in board.rows],
        "comparisons": [[labels.index(c.baseline), labels.index(c.candidate)] for c in board.comparisons],
        "total": len(documents),
        "documents": [
            {
                "id": doc_id,
                "source": documents[doc_id].source,
                "references": list(documents[doc_id].references),
                "answers": [_answer(found.get(doc_id), board.spec.columns) for found in samples],
            }
            for doc_id in chosen
        ],
    }


def choose(board: Board, doc_ids: Sequence[int]) -> list[int]:
    """Document ids in the order in which they earn a place on the page."""
    if not board.comparisons or not board.spec.columns:
        return list(doc_ids)
    key = board.spec.columns[0]
    records = {row.label: row.record for row in board.rows}
    before, after = (
        records[label].column(key)
        for label in (board.comparisons[0].baseline, board.comparisons[0].candidate)
    )
    change = {i: after[i] - before[i] for i in doc_ids if i in before and i in after}
    up = sorted((i for i in change if change[i] > 0), key=lambda i: (-change[i], i))
    down = sorted((i for i in change if change[i] < 0), key=lambda i: (change[i], i))
    moved = [i for i in chain.from_iterable(zip_longest(up, down)) if i is not None]
    return moved + [i for i in doc_ids if i not in change or change[i] == 0]


def _answer(sample: SampleRecord | None, columns: Sequence[str]) -> Mapping[str, Any] | None:
    if sample is None:
        return None
    scores = {key: round(sample.scores[key], _DIGITS) for key in columns if key in sample.scores}
    answer: dict[str, Any] = {"response": sample.response, "scores": scores}
    if sample.lookback_windows:
        answer["windows"] = [[start, end, round(p, _DIGITS)] for start, end, p in sample.lookback_windows]
    return answer
