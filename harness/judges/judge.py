"""What a judge is: a model that says of (source, summary) pairs how probable it is that the source supports the summary."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tqdm import tqdm

from harness.errors import HarnessError
from harness.judges.calibration import Calibration
from harness.models.batches import batches
from harness.models.device import choose_dtype
from harness.stats.held_out import HeldOut

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

Pair = tuple[str, str]
"""Source and summary."""

THRESHOLD = 0.5
"""A score of at least this is a verdict of consistent, as Vectara's leaderboard has it."""

UNPROVEN = "--metadata judge_unproven=true, or --unproven of `harness judge`"
"""How a user insists on a judge of which nothing shows that its scores mean anything."""

CPU_BATCH_TOKENS = 512
"""Small: a processor gains nothing from larger batches, and padding costs it (benchmarks/judge_scoring.py)."""
BATCH_TOKENS = 32_768
"""On an accelerator."""


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

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
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


@dataclass(frozen=True, kw_only=True)
class Domain:
    """The texts that a judge was made for, told by how many of their words it knows."""

    name: str
    """In a sentence: "the news world"."""
    least_known: float
    """Share of a set's tokens that its tokenizer knows, in 0..1, below which they are other texts."""


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
    device: torch.device
    dtype: str = "float32"
    batch_tokens: int = 0
    """Padded tokens of a batch; 0: what suits the device."""
    held_out: HeldOut | None = None
    """How well it tells consistent texts from others, on documents that it was not fitted on; None: nobody has said."""
    domain: Domain | None = None
    """The only texts that it may judge; None: any."""
    unproven: bool = False
    """Whether it was asked for although nothing shows that its scores mean anything."""
    counts: Counts = field(default_factory=Counts)

    def score(self, pairs: Sequence[Pair], *, progress: bool = True) -> list[float]:
        """Probability in 0..1 that the source supports the summary, for each pair in order.

        Pairs are scored in batches of similar length under a budget of padded tokens; equal pairs are scored once. A pair with
        an empty text, or whose score is no number, gets NaN and is counted in `counts`; it is the caller's to leave it out.

        Raises:
            HarnessError: If the sources are none that it was made for, as `check_sources`.
        """
        self.check_sources([source for source, _ in pairs])
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

    def check_sources(self, sources: Sequence[str]) -> None:
        """Refuse texts that the judge was not made for, unless it was asked for all the same.

        Raises:
            HarnessError: If it knows too few of their words.
        """
        known_share = getattr(self.backbone, "known_share", None)
        if self.domain is None or self.unproven or known_share is None or not any(map(str.strip, sources)):
            return
        share = known_share(sources)
        if share < self.domain.least_known:
            raise HarnessError(
                f"the judge {self.identity.name} was made for {self.domain.name} and knows {share:.0%} of these sources' words: "
                "what it says of them is no evidence",
                f"Choose a judge for such texts (hhem-2.1, a folder, a CrossEncoder), go on without one (--metadata "
                f"without=consistency), or insist: {UNPROVEN}.",
            )

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


def score_all(judge: Judge, ids: Sequence[Sequence[int]], *, progress: bool = True) -> list[float]:
    """The model's own probability for each encoded pair, in order; NaN where it gives no number.

    Batches are of similar length under a budget of padded tokens: a fixed number of pairs would pad each to the longest beside it,
    and on news articles most of the work would then be on padding.
    """
    import torch

    if not ids:
        return []
    backbone = judge.backbone
    backbone.place(judge.device, choose_dtype(judge.dtype))
    on_cpu = judge.device.type == "cpu"
    budget = judge.batch_tokens or (CPU_BATCH_TOKENS if on_cpu else BATCH_TOKENS)
    scores = [math.nan] * len(ids)
    shown = progress and len(ids) > 1
    with tqdm(total=len(ids), desc=judge.identity.name, unit=" pairs", leave=False, disable=not shown) as bar:
        for indices in batches([len(row) for row in ids], budget):
            longest = max(len(ids[i]) for i in indices)
            batch = torch.full((len(indices), longest), backbone.pad_id, dtype=torch.long)
            mask = torch.zeros_like(batch)
            for row, i in enumerate(indices):
                batch[row, : len(ids[i])] = torch.tensor(ids[i])
                mask[row, : len(ids[i])] = 1
            with torch.inference_mode():
                found = (
                    backbone.probabilities(batch.to(judge.device), mask.to(judge.device))
                    .float()
                    .cpu()
                    .tolist()
                )
            for i, score in zip(indices, found, strict=True):
                scores[i] = score if math.isfinite(score) else math.nan
            bar.update(len(indices))
    return scores
