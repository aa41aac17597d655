"""What the page's sample browser shows: documents, references, responses, scores, prompts, lookback windows and unsupported items.

A page holds at most `BoardSpec.samples` documents of each task, and stays small enough to open on a phone. Which ones is no choice
of ours: those on which the first comparison's two responses differ most on the task's first score come first, as many wins as
losses, then the rest in order. The page says how many there are and how many it shows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

from harness.board.columns import Column
from harness.board.table import Board, Entry, Row
from harness.records.documents import Document, load_documents
from harness.records.reading import load_samples
from harness.records.record import SampleRecord
from harness.stats.rounding import rounded

MOST_MODELS = 12
"""Whose responses a page holds: those compared, then the first rows of the board."""
BUDGET = 3_000_000
"""Bytes of all samples of a page, in all tasks together."""
_DIGITS = 4

Data = dict[str, Any]


def browser_data(board: Board) -> Data:
    """Plain data for the page's script; ``tasks`` is empty where no articles were kept."""
    rows = chosen_rows(board)
    labels = [row.label for row in rows]
    tasks = [_Task.of(board, task, rows) for task in board.tasks]
    kept = [task for task in tasks if task is not None]
    return {
        "rows": [{"label": row.label, "kind": row.kind} for row in rows],
        "models": len(board.rows),
        "comparisons": [
            [labels.index(found.baseline), labels.index(found.candidate)]
            for found in board.comparisons
            if found.baseline in labels and found.candidate in labels
        ],
        "tasks": [task.data(BUDGET // len(kept)) for task in kept],
    }


def chosen_rows(board: Board) -> list[Row]:
    """The rows whose responses are shown, in the board's order."""
    compared = [label for found in board.comparisons for label in (found.baseline, found.candidate)]
    wanted = list(dict.fromkeys([*compared, *(row.label for row in board.rows)]))[:MOST_MODELS]
    return [row for row in board.rows if row.label in wanted]


def choose(board: Board, task: str, doc_ids: Sequence[int]) -> list[int]:
    """Document ids of a task in the order in which they earn a place on the page."""
    key = next((column.key for column in board.columns if column.task == task), None)
    entries = {row.label: row.entries[task] for row in board.rows if task in row.entries}
    pair = next(
        (
            (entries[found.baseline], entries[found.candidate])
            for found in board.comparisons
            if found.baseline in entries and found.candidate in entries
        ),
        None,
    )
    if pair is None or key is None:
        return list(doc_ids)
    before, after = (_column(entry, key) for entry in pair)
    change = {i: rounded(after[i] - before[i]) for i in doc_ids if i in before and i in after}
    up = sorted((i for i in change if change[i] > 0), key=lambda i: (-change[i], i))
    down = sorted((i for i in change if change[i] < 0), key=lambda i: (change[i], i))
    moved = [i for i in chain.from_iterable(zip_longest(up, down)) if i is not None]
    return moved + [i for i in doc_ids if not change.get(i)]


def _column(entry: Entry, key: str) -> dict[int, float]:
    """One score by document, of the samples that carry it."""
    values = entry.record.values.get(key)
    if values is None:
        return {}
    pairs = zip(entry.record.doc_ids.tolist(), values.tolist(), strict=True)
    return {doc_id: value for doc_id, value in pairs if value == value}  # not NaN


@dataclass(frozen=True, kw_only=True)
class _Task:
    """What the samples of one task are made of."""

    name: str
    columns: Sequence[Column]
    total: int
    chosen: Sequence[int]
    documents: Mapping[int, Document]
    entries: Sequence[Entry | None]
    samples: Sequence[Mapping[int, SampleRecord]]
    """Of each row, by ``doc_id``."""

    @classmethod
    def of(cls, board: Board, task: str, rows: Sequence[Row]) -> _Task | None:
        """The samples of a task; None where its documents were not kept, or none are to be shown."""
        documents = _documents(board, task)
        chosen = choose(board, task, sorted(documents))[: board.spec.samples]
        if not chosen:
            return None
        entries = [row.entries.get(task) for row in rows]
        return cls(
            name=task,
            columns=[column for column in board.columns if column.task == task],
            total=len(documents),
            chosen=chosen,
            documents=documents,
            entries=entries,
            samples=[load_samples(board.folder / entry.path, chosen) if entry else {} for entry in entries],
        )

    def data(self, budget: int) -> Data:
        """Plain data of as many documents as fit into that many bytes, one at least."""
        prompts: dict[str, int] = {}
        documents: list[Data] = []
        room = budget
        for doc_id in self.chosen:
            known = len(prompts)
            found = self._document(doc_id, prompts)
            room -= _size([found, list(prompts)[known:]])
            if room < 0 and documents:
                break
            documents.append(found)
        return {
            "name": self.name,
            "total": self.total,
            "columns": [
                {
                    "key": column.key,
                    "scale": column.score.scale,
                    "kind": column.score.kind,
                    "better": column.score.higher_is_better,
                }
                for column in self.columns
            ],
            "prompts": list(prompts),
            "documents": documents,
        }

    def _document(self, doc_id: int, prompts: dict[str, int]) -> Data:
        document = self.documents[doc_id]
        answers = [
            _answer(samples.get(doc_id), entry, self.columns, prompts)
            for samples, entry in zip(self.samples, self.entries, strict=True)
        ]
        return {
            "id": doc_id,
            "source": document.source,
            "references": list(document.references),
            "answers": answers,
        }


def _documents(board: Board, task: str) -> dict[int, Document]:
    """Of the first row that has them: all rows of a board have the same."""
    entries = [row.entries[task] for row in board.rows if task in row.entries]
    for entry in {entry.record.documents: entry for entry in reversed(entries)}.values():
        if found := load_documents(entry.record, board.folder / entry.path):
            return found
    return {}


def _answer(
    sample: SampleRecord | None, entry: Entry | None, columns: Sequence[Column], prompts: dict[str, int]
) -> Data | None:
    """A response and its scores, null where a score is missing; ``prompt`` is its index among the task's prompts."""
    if sample is None or entry is None:
        return None
    found = [sample.scores.get(column.key) for column in columns]
    answer: Data = {
        "response": sample.response,
        "scores": [None if score is None else round(rounded(score), _DIGITS) for score in found],
    }
    prompt = sample.prompt or entry.record.prompt
    if prompt:
        answer["prompt"] = prompts.setdefault(prompt, len(prompts))
    if sample.source_chars is not None:
        answer["seen"] = sample.source_chars
    if sample.lookback_windows:
        answer["windows"] = [[start, end, round(p, _DIGITS)] for start, end, p in sample.lookback_windows]
    if sample.unsupported_spans:
        answer["unsupported"] = [list(span) for span in sample.unsupported_spans]
    return answer


def _size(data: Any) -> int:
    return len(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"))
