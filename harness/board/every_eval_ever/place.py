"""Where the files of a record go in Every Eval Ever's data store, and what only the publisher knows."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Literal, get_args

from harness.errors import HarnessError
from harness.records.record import Record

Relationship = Literal["first_party", "third_party", "collaborative", "other"]
RELATIONSHIPS: tuple[str, ...] = get_args(Relationship)

_UNUSABLE = re.compile(
    r'[<>"\\|?*\x00-\x1f]|[. ]$|^(data|unknown|(con|prn|aux|nul|com[1-9]|lpt[1-9])(\..*)?)$', re.IGNORECASE
)
"""What the data store's own check refuses in the name of a folder."""


@dataclass(frozen=True, kw_only=True)
class Publisher:
    """What the schema requires and no record knows."""

    organization: str
    """Who gives the data out."""
    relationship: Relationship
    """Of the evaluator to the model's developer."""
    developer: str | None = None
    """Who made models whose name has no owner."""
    collection: str | None = None
    """Folder for the files; by default the task's name."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the files of a record go."""

    collection: str
    model_id: str
    stem: str
    """UUID, version 4 in form, of the record's hash."""

    @property
    def folder(self) -> str:
        """Relative to the output folder."""
        developer, _, name = self.model_id.partition("/")
        return f"data/{_component(self.collection)}/{_component(developer)}/{_component(name)}"


def place_of(record: Record, digest: str, publisher: Publisher) -> Place:
    """Where a record goes.

    Args:
        record: A record.
        digest: SHA-256 of its file.
        publisher: Who exports it.

    Raises:
        HarnessError: If nothing says who made the model.
    """
    name = str(record.provenance["model"]["name"])
    if "/" not in name:
        if publisher.developer is None:
            raise HarnessError(
                f"{record.model}: the name {name!r} has no owner, which the schema needs",
                "Say who made it: --developer NAME.",
            )
        name = f"{publisher.developer}/{name}"
    stem = uuid.UUID(bytes=bytes.fromhex(digest)[:16], version=4)
    return Place(collection=publisher.collection or record.task, model_id=name, stem=str(stem))


def _component(name: str) -> str:
    """A name as one folder, flattened as the data store does it.

    Raises:
        HarnessError: If it cannot be one.
    """
    found = re.sub(r"[/:]", "_", name)
    if not found or _UNUSABLE.search(found):
        raise HarnessError(
            f"{name!r} cannot name a folder of the data store", "Choose another --collection or --developer."
        )
    return found
