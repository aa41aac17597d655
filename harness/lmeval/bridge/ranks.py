"""Several processes (``accelerate launch -m lm_eval``): what each must know of the others.

lm-eval gathers each metric by the keys that rank 0 saw, and fails or loses values where a rank has none. A sample that
failed lacks its keys, so a rank on which all samples failed would break the run; `same_keys_on_every_rank` prevents it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def _process_count() -> int:
    import torch.distributed as dist

    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather(items: list[Any]) -> list[Any]:
    """The items of all ranks, rank by rank, on every rank."""
    count = _process_count()
    if count == 1:
        return items
    import torch.distributed as dist

    parts: list[list[Any]] = [[] for _ in range(count)]
    dist.all_gather_object(parts, items)
    return [item for part in parts for item in part]


def same_keys_on_every_rank(
    scores: Sequence[Mapping[str, float]],
) -> tuple[list[dict[str, float]], frozenset[str]]:
    """Give the first sample of this rank a NaN for each key that only other ranks have.

    Returns:
        The scores, and the keys that are NaN on some rank, to be averaged by `mean_of_scored`.
    """
    here = frozenset(key for sample in scores for key in sample)
    everywhere = gather([here])
    known = frozenset().union(*everywhere)
    padded = [dict(sample) for sample in scores]
    if padded:
        padded[0] |= dict.fromkeys(known - here, math.nan)
    return padded, known - frozenset.intersection(*everywhere)


def scored(values: Sequence[float]) -> list[float]:
    """The values without the NaN of `same_keys_on_every_rank`."""
    return [value for value in values if not math.isnan(value)]


def mean_of_scored(values: Sequence[float]) -> float:
    """Mean of the values without the NaN of `same_keys_on_every_rank`."""
    kept = scored(values)
    return math.fsum(kept) / len(kept)
