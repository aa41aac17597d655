"""Running a judge's model over all pairs of a task: batches of similar length under a budget of padded tokens.

A fixed number of pairs per batch pads every pair to the longest beside it: on news articles, most of the work is then on padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tqdm import tqdm

from harness.metrics.encoders import batches

if TYPE_CHECKING:
    from harness.judges.base import Judge

CPU_BATCH_TOKENS = 512
"""Small: a processor gains nothing from larger batches, and padding costs it (benchmarks/judge_scoring.py)."""
BATCH_TOKENS = 32_768
"""On an accelerator."""


def score_all(judge: Judge, ids: Sequence[Sequence[int]], *, progress: bool = True) -> list[float]:
    """The model's own probability for each encoded pair, in order; NaN where it gives no number."""
    import torch

    from harness.judges.base import choose_dtype

    if not ids:
        return []
    backbone = judge.backbone
    backbone.place(judge.device, choose_dtype(judge.dtype))
    on_cpu = judge.device.startswith("cpu")
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
