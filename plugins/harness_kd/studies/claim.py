"""Whose folder it is: a study goes on in its own, and in no other's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from harness.errors import HarnessError
from harness.files import write_atomic

FILE = "quickstart.json"


def claim(folder: Path, identity: Mapping[str, object]) -> None:
    """Write down what decides the study's result, or compare it with what stands there.

    Raises:
        HarnessError: If the folder holds a study with other settings, or something else.
    """
    path = folder / FILE
    if path.exists():
        stored = json.loads(path.read_text("utf-8"))
        differing = [
            f"{name} is {stored.get(name)}, asked for {identity.get(name)}"
            for name in {**identity, **stored}
            if stored.get(name) != identity.get(name)
        ]
        HarnessError.raise_for(
            [f"{folder}: holds another quickstart: {difference}" for difference in differing],
            f"Choose another --output, or delete {folder}.",
        )
    elif folder.exists() and any(folder.iterdir()):
        raise HarnessError(
            f"{folder}: is not empty and holds no quickstart", "Choose another --output for the results."
        )
    write_atomic(path, json.dumps(dict(identity), indent=2) + "\n")
