"""A model's scores on its card: the hub's ``model-index``, made by huggingface_hub.

Values are in the metric's own unit; interval, n and signature stand beside each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import yaml
from yaml import YAMLError

from harness.board.table import Board
from harness.errors import HarnessError
from harness.models.hub_errors import first_line
from harness.records import Record
from harness.records.record import Header

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

_NEW_CARD = "---\nlibrary_name: transformers\n---\n\n# {name}\n"


def with_scores(text: str | None, name: str, records: Sequence[Record], *, base: str | None = None) -> str:
    """A model card whose ``model-index`` holds the records' headlines.

    Args:
        text: The card so far; its prose, other metadata, and results of other tasks stay. None starts a new one.
        name: Of the model in the index.
        records: Of this model.
        base: The model that it was trained from, where the card does not say.

    Raises:
        HarnessError: If the card's front matter cannot be read.
    """
    from huggingface_hub import ModelCard, ModelCardData

    try:
        card = ModelCard(text or _NEW_CARD.format(name=name), ignore_metadata_errors=True)
    except (ValueError, YAMLError) as error:
        raise HarnessError(
            f"README.md: its front matter cannot be read: {first_line(error)}",
            "Correct the part between the --- lines.",
        ) from error
    data = cast(ModelCardData, card.data)
    data.base_model = data.base_model or base
    ours = [result for record in records for result in eval_results(record)]
    replaced = {_identity(result) for result in ours}
    kept = [result for result in data.eval_results or [] if _identity(result) not in replaced]
    data.model_name = data.model_name or name
    data.eval_results = kept + ours
    return str(card)


def board_card(board: Board, text: str, *, table: str) -> str:
    """A board's markdown as the card of a data set: with front matter, unless it has its own.

    Args:
        board: The board.
        text: Its markdown.
        table: Its csv file, which the hub then shows as the data set.
    """
    if text.startswith("---\n"):
        return text
    records = [entry.record for row in board.rows for entry in row.entries.values()]
    sources = {dataset_of(record)[0] for record in records if _of_hub(record)}
    stated = {
        "pretty_name": board.spec.title,
        "tags": ["leaderboard", "hallucination", "faithfulness"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": table}]}],
    }
    if sources:
        stated["source_datasets"] = sorted(sources)
    return f"---\n{yaml.safe_dump(stated, sort_keys=False, allow_unicode=True)}---\n\n{text}"


def _of_hub(record: Header) -> bool:
    return str(record.provenance.get("data_source")).startswith("hub:")


def eval_results(record: Record) -> list[EvalResult]:
    """The headlines of a record as the hub's `EvalResult`."""
    from huggingface_hub import EvalResult

    dataset, config, revision, split = dataset_of(record)
    return [
        EvalResult(
            task_type="text-generation",
            task_name=f"{record.task} {record.task_version}",
            dataset_type=dataset,
            dataset_name=dataset,
            dataset_config=config,
            dataset_revision=revision,
            dataset_split=split,
            metric_type=key,
            metric_name=key,
            metric_value=score["value"],
            metric_args={
                "interval": None if score["low"] is None else [score["low"], score["high"]],
                "confidence": record.bootstrap["confidence"],
                "n": score["n"],
                "signature": score["signature"],
            },
        )
        for key, score in record.scores.items()
    ]


def dataset_of(record: Header) -> tuple[str, str | None, str | None, str | None]:
    """Data set, configuration, revision and split, from ``hub:owner/name/configuration@revision:split``."""
    source = str(record.provenance.get("data_source"))
    if not source.startswith("hub:"):
        return source.split(":")[0], None, None, None
    place, _, split = source.removeprefix("hub:").partition(":")
    path, _, revision = place.partition("@")
    parts = path.split("/")
    return "/".join(parts[:2]), "/".join(parts[2:]) or None, revision or None, split or None


def _identity(result: Any) -> tuple[str | None, ...]:
    return result.task_name, result.dataset_type, result.dataset_config, result.metric_type
