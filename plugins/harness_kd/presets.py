"""Settings by name, and where they are not what their source did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.errors import HarnessError
from harness_kd.data.named import dev_split
from harness_kd.plan import TrainPlan

PRESETS: dict[str, dict[str, Any]] = {
    # arXiv 2502.11306 and its author's training scripts; the learning rate is the middle one of the sweep
    "paper": {
        "divergence": "soft-cross-entropy",
        "temperature": 1.0,
        "learning_rate": 1e-5,
        "min_learning_rate": 1e-7,
        "batch_size": 8,
        "accumulation": 1,
        "epochs": 3.0,
        "weight_decay": 0.01,
        "warmup_steps": 0,
        "max_grad_norm": 1.0,
        "max_length": 1024,
        "max_prompt_length": 512,
        "overlong": "drop",
        "select": "rougeL",
        "seed": 10,
    }
}


def with_preset(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """A preset's fields of `TrainPlan`, the given ones winning; dev data to select on are those of the training data's set.

    Raises:
        HarnessError: If the checkpoint is to be selected, and there are no dev data.
    """
    options = {**PRESETS[name], **given}
    if options["select"] != "last" and "dev" not in given:
        options["dev"] = dev_split(str(given["data"]))
        if options["dev"] is None:
            raise HarnessError(
                f"--preset {name} keeps the epoch with the best ROUGE-L on held-out rows, and {given['data']} has none",
                "Name them: --dev FILE; or keep the last checkpoint: --select last.",
            )
    return options


def differences(name: str | None, plan: TrainPlan) -> list[str]:
    """Where a run by a preset differs from its source, a line each; none without a preset."""
    if name is None:
        return []
    kept = (
        f"the {plan.top_k} likeliest tokens of the teacher and one bucket for all others; there: the whole distribution"
        if plan.kd_ratio
        else "no teacher"
    )
    lines = [
        kept,
        f"learning rate {plan.learning_rate:g}, {plan.batch_size} rows; there: the best of 5e-5, 1e-5, 5e-6 with 4 or 8 rows",
        "the teacher as it is; there: finetuned on the same data first",
    ]
    return [f"not the paper   {line}" for line in (lines if plan.kd_ratio else lines[1:2])]
