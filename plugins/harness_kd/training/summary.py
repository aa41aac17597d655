"""How a run's loss went, by whole epochs: single batches differ more from each other than epochs do."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness_kd.training.run_folder import RUN_FILE

_PARTS = {"cross_entropy": "cross-entropy", "divergence": "divergence"}


def summary(folder: Path) -> str:
    """One line on a finished run."""
    metrics = json.loads((folder / RUN_FILE).read_text("utf-8"))["metrics"]
    words = [f"{folder.name}: {metrics['steps']} steps"]
    means = epoch_means(metrics.get("history") or [])
    for name, title in _PARTS.items():
        found = {epoch: parts[name] for epoch, parts in means.items() if name in parts}
        if any(found.values()):
            words.append(f"{title} {_course(found)} nats per token")
    return ", ".join(words)


def _course(means: Mapping[int, float]) -> str:
    """``1.883 in epoch 1 -> 1.402 in epoch 3``."""
    first, last = min(means), max(means)
    words = f"{means[first]:.3f} in epoch {first}"
    return words if first == last else f"{words} -> {means[last]:.3f} in epoch {last}"


def epoch_means(history: Sequence[Mapping[str, float]]) -> dict[int, dict[str, float]]:
    """Mean of each part of the loss over the steps of each whole epoch, by its number from 1; of a part of one if that is all.

    Args:
        history: The logs of training, each the mean since the one before it; one ends with each epoch.
    """
    sums: dict[int, dict[str, float]] = {}
    steps: dict[int, float] = {}
    ends: dict[int, float] = {}
    before = 0.0
    for entry in history:
        epoch = max(1, math.ceil(round(entry["epoch"], 6)))
        weight, before = entry["step"] - before, entry["step"]
        steps[epoch] = steps.get(epoch, 0.0) + weight
        ends[epoch] = entry["epoch"]
        total = sums.setdefault(epoch, {})
        for name in _PARTS.keys() & entry.keys():
            total[name] = total.get(name, 0.0) + weight * entry[name]
    whole = [epoch for epoch in sums if ends[epoch] >= epoch - 1e-6] or list(sums)[:1]
    return {epoch: {name: total / steps[epoch] for name, total in sums[epoch].items()} for epoch in whole}
