"""The stages of a run, each with what it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.models.identity import without_path
from harness_kd.dry_run.inference import capture_memory, evaluation_memory
from harness_kd.dry_run.memory import Memory
from harness_kd.dry_run.timing import Time, capture_time, evaluation_time, training_time
from harness_kd.dry_run.training import count_training, training_memory
from harness_kd.placement import weight_bytes
from harness_kd.soft_labels.size import label_bytes

if TYPE_CHECKING:
    from harness.lmeval.preview import Asked
    from harness.models.source import ModelSource
    from harness_kd.data.examples import Example
    from harness_kd.training.train import Prepared

_KEPT_CHECKPOINTS = 3
"""Two, and a third until it is whole."""
_BYTES_PER_TOKEN = 10
"""Of the text of a token, in the sample log and in the cache of responses."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a run."""

    name: str
    time: Time
    disk: int
    """Bytes at most."""
    memory: Memory
    """Of one process."""
    otherwise: str
    """What happens where the memory is not there."""


def capture_stage(prepared: Prepared) -> Stage | None:
    """The capture of the soft labels that are not there yet; None if all are, or none are needed."""
    if prepared.manifest is None or prepared.plan.online_teacher or prepared.teacher is None:
        return None
    missing = missing_labels(prepared)
    if not missing:
        return None
    memory = capture_memory(prepared, missing)
    share = sum(example.targets for example in missing) / prepared.labelled.target_tokens
    return Stage(
        name=f"capture of soft labels by {without_path(prepared.teacher.name)}",
        time=capture_time(prepared, missing, memory),
        disk=math.ceil(share * label_bytes(prepared.manifest, prepared.labelled)),
        memory=memory,
        otherwise="the teacher is spread over all devices, main memory and disk, which is slow",
    )


def missing_labels(prepared: Prepared) -> list[Example]:
    """The examples that have no soft labels yet."""
    from harness_kd.soft_labels.capture import missing_examples

    if prepared.labels_folder is None or prepared.manifest is None:
        return []
    return missing_examples(prepared.labels_folder, prepared.manifest, prepared.labelled.examples)


def training_stage(prepared: Prepared, name: str) -> Stage:
    """A student's training."""
    memory, plan = training_memory(prepared), prepared.plan
    return Stage(
        name=name,
        time=training_time(prepared, memory),
        disk=_disk_of_training(prepared),
        memory=memory,
        otherwise="a smaller --batch-size with --accumulation"
        + ("" if plan.gradient_checkpointing else ", --gradient-checkpointing")
        + ("" if plan.lora_rank else ", --lora-rank, --optimizer adafactor")
        + " or more processes under FSDP2 take less",
    )


def _disk_of_training(prepared: Prepared) -> int:
    """Checkpoints of weights that train, in float32, with the optimizer's states; then the finished model."""
    from harness_kd.training.fit import checkpoint_steps

    plan, counted = prepared.plan, count_training(prepared)
    if prepared.dev is None:
        written = math.ceil(prepared.steps / (plan.checkpoint_steps or checkpoint_steps(prepared.steps)))
    else:
        written = math.ceil(plan.epochs)
    at_once = min(written, _KEPT_CHECKPOINTS) + (prepared.dev is not None and written > _KEPT_CHECKPOINTS)
    whole = weight_bytes(prepared.student, prepared.save_dtype)
    finished = counted.trained if plan.lora_rank and plan.keep_adapter else whole
    return at_once * (counted.trained + counted.optimizer) + finished


def evaluation_stage(source: ModelSource, asked: Sequence[Asked], *, rows: int, name: str) -> Stage:
    """A model's evaluation; what judges and metrics load beside it, and the time that they take, is not part of it.

    Args:
        source: The model, or one of the same shape where it is yet to be trained.
        asked: What each task asks.
        rows: Prompts at once.
        name: Of the stage.
    """
    longest = max(one.longest_prompt for one in asked)
    memory = evaluation_memory(
        source, rows=rows, prompt_tokens=longest, new_tokens=max(one.new_tokens for one in asked)
    )
    times = [
        evaluation_time(
            source,
            memory,
            rows=rows,
            documents=one.documents,
            prompt_tokens=one.prompt_tokens,
            new_tokens=one.new_tokens,
        )
        for one in asked
    ]
    tokens = sum(one.documents * (one.prompt_tokens + one.new_tokens) for one in asked)
    basis = "; ".join(dict.fromkeys(one.basis for one in times))
    return Stage(
        name=name,
        time=Time(
            seconds=sum(one.seconds for one in times),
            basis=f"{basis}; responses as long as allowed, scoring aside",
            least=any(one.least for one in times),
        ),
        disk=_BYTES_PER_TOKEN * tokens,
        memory=memory,
        otherwise="a smaller --eval-batch-size takes less",
    )
