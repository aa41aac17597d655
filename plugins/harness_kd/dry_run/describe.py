"""Plans as text: of one run, and of a capture alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from harness_kd.dry_run.stages import Stage, capture_stage, missing_labels, training_stage
from harness_kd.dry_run.text import size, table
from harness_kd.processes import world_size
from harness_kd.soft_labels.size import label_bytes

if TYPE_CHECKING:
    from harness_kd.training.train import Prepared


def facts(prepared: Prepared) -> str:
    """Rows, tokens, steps and soft labels of a run."""
    plan, data = prepared.plan, prepared.data
    at_once = plan.batch_size * plan.accumulation * world_size()
    lines = [
        f"rows           {len(data.examples)} ({_overlong(prepared)})",
        f"tokens         {data.tokens:,} ({data.target_tokens:,} targets) per epoch",
        f"steps          {prepared.steps} ({plan.epochs:g} epochs, {at_once} rows a step)",
    ]
    return "\n".join(lines if prepared.manifest is None else [*lines, _labels(prepared)])


def describe(prepared: Prepared) -> str:
    """The plan of one run."""
    return f"{facts(prepared)}\n\n{table(run_stages(prepared), free_disk(prepared.plan.output))}"


def run_stages(prepared: Prepared) -> list[Stage]:
    """The stages of one run, in their order."""
    capture = capture_stage(prepared)
    training = training_stage(prepared, f"train {Path(prepared.plan.output).name}")
    return [training] if capture is None else [capture, training]


def describe_capture(prepared: Prepared) -> str:
    """The plan of a capture alone."""
    if prepared.manifest is None or prepared.labels_folder is None:
        raise ValueError("a plan without a teacher captures nothing")
    missing, stage = missing_labels(prepared), capture_stage(prepared)
    lines = [
        f"rows           {len(prepared.labelled.examples)} ({_overlong(prepared)})",
        f"to capture     {len(missing)} examples, {sum(example.targets for example in missing)} response tokens",
        f"teacher        {prepared.plan.teacher}, {prepared.manifest.teacher_dtype}",
        _labels(prepared),
    ]
    text = "\n".join(lines)
    return text if stage is None else f"{text}\n\n{table([stage], free_disk(str(prepared.labels_folder)))}"


def free_disk(path: str) -> int:
    """Bytes free where a file or folder is to be."""
    place = Path(path).resolve()
    return shutil.disk_usage(next(one for one in (place, *place.parents) if one.exists())).free


def _overlong(prepared: Prepared) -> str:
    data = prepared.labelled
    return f"{data.dropped} dropped, {data.truncated} truncated as overlong"


def _labels(prepared: Prepared) -> str:
    if prepared.manifest is None or prepared.plan.online_teacher:
        return "soft labels    none stored: the teacher runs at every step"
    needed, tokens = label_bytes(prepared.manifest, prepared.labelled), prepared.labelled.target_tokens
    return f"soft labels    {size(needed)} at most ({needed / tokens:.0f} bytes per token), {prepared.labels_folder}"
