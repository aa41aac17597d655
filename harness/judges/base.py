"""What a judge is: a model that says of (source, summary) pairs how probable it is that the source supports the summary."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.errors import HarnessError
from harness.judges.calibration import Calibration
from harness.judges.scoring import score_all

log = logging.getLogger(__name__)

Pair = tuple[str, str]
"""Source and summary."""

THRESHOLD = 0.5
"""A score of at least this is a verdict of consistent, as Vectara's leaderboard has it."""

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class EncodedPair:
    """A pair as its judge reads it."""

    ids: tuple[int, ...]
    """With special tokens."""
    cut: bool
    """Whether tokens were left out to fit the judge's limit."""


class Backbone(Protocol):
    """The model behind a judge, between texts and probabilities."""

    limit: int | None
    """Tokens it can read; longer pairs are cut. None: any number."""
    trained_length: int | None
    """Tokens it was trained on; longer pairs are counted, not cut."""
    pad_id: int
    """Token that fills a batch, always on the right."""

    def encode(self, pairs: Sequence[Pair]) -> list[EncodedPair]:
        """Token ids of each pair."""

    def probabilities(self, ids: Any, mask: Any) -> Any:
        """Probability of consistent, float32 [B], from ids and mask, int64 [B, T]."""

    def place(self, device: str, dtype: Any) -> None:
        """Move the weights; from the second call on this is free."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What makes a judge's scores."""

    name: str
    """``hhem-2.1``, ``embedded``, a hub name, or a folder's name: never a path."""
    revision: str
    """Commit or tag on the hub; ``local`` for a folder, ``shipped`` for the embedded judge."""
    weights_sha256: str
    """Of the weights' file."""
    files_sha256: str
    """Of weights, configuration and tokenizer together: a self-test is cached by it."""


@dataclass(kw_only=True)
class Counts:
    """What happened to the pairs of the last call of `Judge.score`."""

    pairs: int = 0
    failed: int = 0
    """Pairs without a score: a text is empty, or the model gave no number."""
    truncated: int = 0
    """Pairs cut to the judge's limit."""
    over_length: int = 0
    """Pairs read whole that are longer than what the judge was trained on."""


@dataclass(kw_only=True)
class Judge:
    """A loaded judge; `harness.judges.load` makes one."""

    identity: Identity
    backbone: Backbone
    calibration: Calibration
    device: str
    dtype: str = "float32"
    batch_tokens: int = 0
    """Padded tokens of a batch; 0: what suits the device."""
    counts: Counts = field(default_factory=Counts)

    def score(self, pairs: Sequence[Pair], *, progress: bool = True) -> list[float]:
        """Probability in 0..1 that the source supports the summary, for each pair in order.

        Pairs are scored in batches of similar length under a budget of padded tokens; equal pairs are scored once. A pair with
        an empty text, or whose score is no number, gets NaN and is counted in `counts`; it is the caller's to leave it out.
        """
        self.counts = Counts(pairs=len(pairs))
        usable = [(source.strip(), summary.strip()) for source, summary in pairs]
        distinct = list(dict.fromkeys(pair for pair in usable if pair[0] and pair[1]))
        encoded = dict(zip(distinct, self.backbone.encode(distinct), strict=True)) if distinct else {}
        ids = [pair.ids for pair in encoded.values()]
        raw = score_all(self, ids, progress=progress)
        found = dict(zip(distinct, self.calibration.apply(raw), strict=True))
        scores = [found.get(pair, math.nan) for pair in usable]
        self._count([encoded[pair] for pair in usable if pair in encoded], scores)
        return scores

    def _count(self, encoded: Sequence[EncodedPair], scores: Sequence[float]) -> None:
        trained = self.backbone.trained_length
        self.counts.failed = sum(map(math.isnan, scores))
        self.counts.truncated = sum(pair.cut for pair in encoded)
        self.counts.over_length = sum(trained is not None and len(pair.ids) > trained for pair in encoded)
        if self.counts.truncated:
            log.warning(
                "%s: %d of %d pairs were cut to %s tokens",
                self.identity.name,
                self.counts.truncated,
                len(scores),
                self.backbone.limit,
            )

    def signature(self) -> str:
        """Everything that makes a score: ``judge:name@revision|weights:...|...``."""
        limit = self.backbone.limit or "none"
        return "|".join(
            [
                f"judge:{self.identity.name}@{self.identity.revision[:12]}",
                f"weights:{self.identity.weights_sha256[:12]}",
                f"max_tokens:{limit}",
                f"calibration:{self.calibration.name}",
                f"dtype:{self.dtype}",
            ]
        )


def choose_device(device: str | None) -> str:
    """The accelerator where there is one, unless told otherwise.

    Raises:
        HarnessError: If the device asked for is not here.
    """
    import torch

    if device is None:
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return str(found or "cpu")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch built without CUDA asserts
        reason = (str(error).splitlines() or [""])[0]
        raise HarnessError(
            f"judge_device={device}: {reason}", "Choose cpu, or cuda where there is a GPU."
        ) from None
    return device


def placed(model: Any, device: str, dtype: Any) -> Any:
    """A module on a device in a precision; on a processor in float32, with its matrix products by oneDNN."""
    import torch

    from harness.metrics.encoders import for_cpu

    model = model.to(device=device, dtype=dtype)
    return for_cpu(model) if device.startswith("cpu") and dtype == torch.float32 else model


def choose_dtype(dtype: str) -> Any:
    """The torch type of a name.

    Raises:
        HarnessError: If it is none of `DTYPES`.
    """
    import torch

    if dtype not in DTYPES:
        raise HarnessError(f"judge_dtype={dtype} is unknown", f"Choose from: {', '.join(DTYPES)}.")
    return getattr(torch, dtype)
