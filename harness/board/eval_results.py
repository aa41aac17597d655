"""``.eval_results/*.yaml`` in a model's repository: a score on a benchmark's own leaderboard on the Hugging Face hub.

Such a file names a data set that the hub has registered as a benchmark, and one of the tasks in that data set's ``eval.yaml``; each
task takes one number, and neither file says which of our scores that is. So there is a file only where the hub knows the
benchmark and the user has named the score; everything else gets a reason instead.

Source: huggingface.co/docs/hub/eval-results and eval_results.yaml in github.com/huggingface/hub-docs, as of August 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.board.card import dataset_of
from harness.errors import HarnessError
from harness.files import canonical_json
from harness.records import Record

_OFFICIAL = "benchmark:official"
"""The hub's filter for registered benchmarks."""


@dataclass(frozen=True, kw_only=True)
class BenchmarkTask:
    """One leaderboard of a benchmark, from its ``eval.yaml``."""

    id: str
    config: str | None
    """None: the data set's default."""
    split: str


class Unknown(Exception):  # noqa: N818 - a reason, not an error: the push goes on without the file
    """Why there is no file."""


class Hub:
    """What the hub says of benchmarks, asked once and only if a record needs it."""

    @property
    def official(self) -> frozenset[str]:
        """Data sets that are registered as benchmarks.

        Raises:
            Unknown: If the hub cannot be asked.
        """
        if isinstance(self._listed, Unknown):
            raise self._listed
        return self._listed

    @cached_property
    def _listed(self) -> frozenset[str] | Unknown:
        """The list, or why there is none: a hub that is out of reach is tried for half a minute, and once is enough."""
        from huggingface_hub import HfApi

        try:
            return frozenset(found.id for found in HfApi().list_datasets(filter=_OFFICIAL))
        except Exception as error:  # the HTTP library's errors are others from release to release
            return Unknown(f"the hub could not be asked for its benchmarks ({type(error).__name__})")

    def tasks(self, dataset: str) -> tuple[BenchmarkTask, ...]:
        """The leaderboards of a benchmark.

        Raises:
            Unknown: If its ``eval.yaml`` cannot be had or read.
        """
        import yaml
        from huggingface_hub import hf_hub_download

        try:
            path = hf_hub_download(dataset, "eval.yaml", repo_type="dataset")
            stated = yaml.safe_load(Path(path).read_text("utf-8"))["tasks"]
            return tuple(
                BenchmarkTask(
                    id=str(task["id"]), config=task.get("config"), split=str(task.get("split", "test"))
                )
                for task in stated
            )
        except Exception as error:  # as above, and whatever a stranger's file may hold
            raise Unknown(f"the eval.yaml of {dataset} cannot be read ({type(error).__name__})") from error


def eval_result_files(
    records: Sequence[Record], scores: Mapping[str, str], hub: Hub | None = None
) -> tuple[dict[str, str], list[str]]:
    """Files for a model's repository.

    Args:
        records: Of the model.
        scores: Task of a benchmark -> key of the score that its leaderboard takes.
        hub: What to ask; by default the Hugging Face hub.

    Returns:
        Content by path, and for each record without a file a sentence that says why.

    Raises:
        HarnessError: If a task was named for which there is no file.
    """
    hub = hub or Hub()
    files: dict[str, str] = {}
    reasons: list[str] = []
    used: set[str] = set()
    for record in records:
        try:
            task, key = _task_and_score(record, scores, hub)
        except Unknown as reason:
            reasons.append(f"no .eval_results for {record.task}: {reason}")
        else:
            files[f".eval_results/{record.task}.yaml"] = _content(record, task, key)
            used.add(task)
    if unused := sorted(scores.keys() - used):
        asked = "\n".join([f"no .eval_results for the benchmark task {', '.join(unused)}", *reasons])
        raise HarnessError(asked, "Leave --benchmark out, or give the record of that benchmark.")
    return files, reasons


def _task_and_score(record: Record, scores: Mapping[str, str], hub: Hub) -> tuple[str, str]:
    """The leaderboard that a record belongs to, and the score it takes."""
    source = str(record.provenance.get("data_source"))
    dataset, config, _, split = dataset_of(record)
    if not source.startswith("hub:"):
        raise Unknown(f"{dataset} is not a data set on the hub")
    if dataset not in hub.official:
        raise Unknown(f"{dataset} is not a registered benchmark on the hub")
    tasks = {task.id: task for task in hub.tasks(dataset)}
    task = next((tasks[name] for name in scores if name in tasks), None)
    if task is None:
        raise Unknown(
            f"{dataset} is a benchmark, and one score must be named for its task ({', '.join(tasks)}): --benchmark TASK=SCORE"
        )
    key = scores[task.id]
    if key not in record.scores:
        raise Unknown(f"the record has no score {key}, but {', '.join(record.scores)}")
    if (config and config != (task.config or "default")) or (split and split != task.split):
        raise Unknown(
            f"{task.id} is measured on {task.config or 'default'}:{task.split}, the record on {config or '?'}:{split or '?'}"
        )
    if record.provenance.get("limit"):
        raise Unknown("the run was limited to a part of the benchmark")
    if (n := record.scores[key]["n"]) < len(record.samples):
        raise Unknown(
            f"{len(record.samples) - n} of {len(record.samples)} samples failed, so {key} is not that of all"
        )
    return task.id, key


def _content(record: Record, task: str, key: str) -> str:
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    dataset, _, revision, _ = dataset_of(record)
    stated: Mapping[str, Any] = record.scores[key]
    date = datetime.fromtimestamp(record.provenance["date"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    entry = EvalResultEntry(
        dataset_id=dataset,
        task_id=task,
        value=stated["value"],
        dataset_revision=revision if revision and re.fullmatch("[0-9a-f]{40}", revision) else None,
        date=date,
        notes="; ".join([stated["signature"], f"n = {stated['n']}", *_interval(record, stated)]),
    )
    return str(yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False))


def _interval(record: Record, stated: Mapping[str, Any]) -> list[str]:
    if stated["low"] is None:
        return []
    return [
        f"{100 * record.bootstrap['confidence']:g}% interval {canonical_json([stated['low'], stated['high']])}"
    ]
