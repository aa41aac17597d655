"""Solved examples in the prompt: from a split that is not evaluated, or there are none.

lm-eval draws them from any split, the evaluated one too, and writes answers as they are; where a task stops at a new line, an
answer of several lines would show the model what it may not do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lm_eval.api.samplers import ContextSampler

from harness.data.documents import NEWS_WORLD, DataSpec, Documents, load
from harness.errors import HarnessError
from harness.files import canonical_json

_READ = 1000
"""Documents to draw examples from: the first of a split."""
_ALIASES = {"validation": ("validation", "valid", "dev", "val"), "train": ("train",)}
"""What local files of a split are called."""
_NOT_TEXTS = ("id", "reference", "references")


def examples(
    spec: DataSpec, evaluated: Documents, *, wanted: int, until: Sequence[str], task: str
) -> Documents:
    """The documents that a task's few-shot examples are drawn from.

    Args:
        spec: Where the evaluated documents are from; ``fewshot_split`` and ``fewshot_data`` say where examples are.
        evaluated: None of them becomes an example, even if it stands in both splits.
        wanted: Examples in a prompt.
        until: The task's stops; where a new line is one, answers become one line.
        task: Its name, for errors.

    Raises:
        HarnessError: If the data have no such split, or too few documents in it.
    """
    found = _load(spec, evaluated, task)
    asked = {_texts(document) for document in evaluated.rows}
    rows = [document for document in found.rows if _texts(document) not in asked]
    if len(rows) < wanted:
        raise _none(f"{task}: {wanted} few-shot examples are asked for, {found.source} holds {len(rows)}")
    if not any(document["references"] for document in rows):
        raise _none(f"{task}: {found.source} holds no references to show as answers")
    if any(stop and not stop.strip("\n") for stop in until):
        rows = [{**document, "reference": _one_line(document["reference"])} for document in rows]
    return replace(found, rows=rows)


def _load(spec: DataSpec, evaluated: Documents, task: str) -> Documents:
    if spec.fewshot_data:
        return load(replace(spec, data_dir=spec.fewshot_data, split=spec.fewshot_split or "train"))
    if spec.fewshot_split is None:
        raise _none(
            f"{task}: its data have no split that is not evaluated, so there are no few-shot examples"
        )
    if spec.data_dir:
        return _local(spec, spec.fewshot_split, evaluated, task)
    if spec.path == NEWS_WORLD:
        return load(replace(spec, split=spec.fewshot_split, n_documents=_READ))
    return load(replace(spec, split=f"{spec.fewshot_split}[:{_READ}]"))


def _local(spec: DataSpec, split: str, evaluated: Documents, task: str) -> Documents:
    """Another file of the folder, of that split by its name; or the split of a saved data set."""
    folder = Path(str(spec.data_dir)).expanduser()
    for name in _ALIASES.get(split, (split,)) if folder.is_dir() else ():
        try:
            found = load(replace(spec, split=name))
        except HarnessError:  # no such split or several files; another name may do
            continue
        named = re.search(rf"(?<![a-z]){name}(?![a-z])", found.source.lower())
        saved = (folder / "dataset_dict.json").is_file()
        if (named or saved) and found.file_sha256 != evaluated.file_sha256:
            return replace(found, rows=found.rows[:_READ])
    raise _none(f"{task}: {folder.name} has no {split} data apart from what is evaluated")


def _none(problem: str) -> HarnessError:
    return HarnessError(
        problem,
        "Run it without few-shot examples, or name a file of them: --metadata fewshot_data=FILE, with the columns of the data.",
    )


def _texts(document: Mapping[str, Any]) -> str:
    """What is asked of a document."""
    return canonical_json({name: value for name, value in document.items() if name not in _NOT_TEXTS})


def _one_line(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text).strip()


class NoExamples(ContextSampler):  # type: ignore[misc]  # lm_eval ships no types
    """The sampler of a task in lm-eval's own class, all of whose documents are evaluated."""

    def sample(self, n: int, *_: Any, **__: Any) -> list[Any]:
        """No examples.

        Raises:
            HarnessError: If any are asked for.
        """
        if n:
            raise HarnessError(
                "all documents of this task are evaluated, so there are no few-shot examples",
                "Run it without --num_fewshot.",
            )
        return []
