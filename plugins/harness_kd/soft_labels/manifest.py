"""What a cache of soft labels holds, and the refusal of one that holds something else."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.files import canonical_json, sha256_bytes, write_atomic

FILE_NAME = "manifest.json"
FORMAT = 1
"""Version of the files' layout and of the numbers' meaning; a change of either refuses older caches."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything that makes two caches interchangeable."""

    teacher: str
    """Name as typed; informative, not compared: ``teacher_sha256`` says which teacher it is."""
    teacher_revision: str
    """Commit of a hub model, or ``local``; informative."""
    teacher_sha256: str
    """Of the teacher's content: `harness.models.source.ModelSource.sha256`."""
    vocabulary_sha256: str
    vocabulary_size: int
    """Largest token id plus one; ids are below it, padded rows of the teacher's head are cut off."""
    temperatures: tuple[float, ...]
    """Grid of temperatures with exact labels; the first is 1."""
    top_k: int
    """Entries kept per token with their exact probability, at most; 0 only with draws."""
    max_tail: float
    """Adaptive K: entries are kept until the mass outside them is at most this; 0 keeps always ``top_k``."""
    label_dtype: str
    """``float16`` or ``float32``, of the stored log-probabilities."""
    teacher_dtype: str
    """In which the teacher ran."""
    tail_draws: int = 0
    """Unbiased labels: so many draws from the mass outside the kept entries stand for it, in place of one bucket; 0 for none."""
    template: str = ""
    """SHA-256 of the chat template that the examples were written in; empty if they are no chats."""
    code_version: int = FORMAT

    @property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 over all that is compared."""
        return sha256_bytes(canonical_json(self._compared()).encode())

    @property
    def most_entries(self) -> int:
        """Entries of a token, at most."""
        return self.top_k + self.tail_draws

    def _compared(self) -> dict[str, Any]:
        fields = json.loads(canonical_json(asdict(self)))
        for name in ("tail_draws", "template"):  # caches from before there were any stay what they were
            if not fields[name]:
                del fields[name]
        return {name: value for name, value in fields.items() if name not in ("teacher", "teacher_revision")}

    def write_or_match(self, folder: Path) -> None:
        """Write the manifest into a new cache, or check it against the one that is there.

        Raises:
            HarnessError: If the folder holds soft labels of another kind; it names every part that differs.
        """
        if not (folder / FILE_NAME).exists():
            write_atomic(folder / FILE_NAME, json.dumps(asdict(self), indent=2) + "\n")
        self.require_match(Manifest.read(folder), folder)

    def require_match(self, stored: Manifest, folder: Path) -> None:
        """Raise a `HarnessError` that names each part in which ``stored`` differs from this manifest."""
        mine, theirs = self._compared(), stored._compared()
        problems = [
            f"{folder}: {name.replace('_', ' ')} is {theirs.get(name, 'none')}, this run needs {mine.get(name, 'none')}"
            for name in sorted({*mine, *theirs})
            if mine.get(name) != theirs.get(name)
        ]
        HarnessError.raise_for(
            problems, "Choose another --soft-labels folder, or the options it was captured with."
        )

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read a cache's manifest.

        Raises:
            HarnessError: If the folder holds no soft labels or its manifest is damaged.
        """
        path = folder / FILE_NAME
        remedy = "Capture it with: harness soft-labels capture --teacher T --data D --output DIR"
        try:
            fields = json.loads(path.read_text("utf-8"))
            return cls(**{**fields, "temperatures": tuple(fields["temperatures"])})
        except FileNotFoundError:
            raise HarnessError(f"{folder}: no soft labels here", remedy) from None
        except (ValueError, TypeError, KeyError) as error:
            raise HarnessError(f"{path}: damaged, or of another version ({error})", remedy) from error
