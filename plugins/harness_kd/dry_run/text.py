"""The plan as text."""

from __future__ import annotations

from collections.abc import Sequence

from harness.models.device import choose_device, free_memory
from harness_kd.dry_run.stages import Stage
from harness_kd.dry_run.timing import fits
from harness_kd.processes import world_size
from harness_kd.progress import duration

_GIGA = 1e9


def size(count: float) -> str:
    """Bytes in the largest decimal unit below them."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:  # what is rounded to 1,000 of a unit is one of the next
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.4g} GB"


def table(stages: Sequence[Stage], free_disk: int) -> str:
    """Each stage with time, disk and peak memory of a process; their sums; what is free; and what the times rest on.

    Args:
        stages: In their order.
        free_disk: Bytes free where they write.
    """
    rows = [("stage", "time", "disk", "memory", "of which")]
    for stage in stages:
        time = f"{'at least ' if stage.time.least else ''}{duration(stage.time.seconds)}"
        rows.append((stage.name, time, size(stage.disk), size(stage.memory.total), _parts(stage)))
    if len(stages) > 1:
        least = "at least " if any(stage.time.least for stage in stages) else ""
        total = sum(stage.time.seconds for stage in stages)
        disk, most = sum(stage.disk for stage in stages), max(stage.memory.total for stage in stages)
        rows.append(("together", least + duration(total), size(disk), size(most), "at the fullest"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[4]]) for row in rows
    ]
    return "\n".join([*lines, "", *_remarks(stages, free_disk)])


def _parts(stage: Stage) -> str:
    """What holds the memory, most first, in gigabytes; what is under a hundredth of it is left out."""
    parts = sorted(stage.memory.parts.items(), key=lambda part: -part[1])
    shown = [f"{name} {held / _GIGA:.2f}" for name, held in parts if held >= 0.01 * stage.memory.total]
    return ", ".join(shown)


def _remarks(stages: Sequence[Stage], free_disk: int) -> list[str]:
    each = f"of each of {world_size()} processes" if world_size() > 1 else "of the process"
    lines = [
        f"free here      {size(free_memory())} of memory ({choose_device().type}), {size(free_disk)} of disk",
        f"memory         {each} at its fullest moment, in GB; an estimate (docs/distillation.md has it measured)",
    ]
    lines += _grouped("does not fit", [(s.otherwise, s.name) for s in stages if not fits(s.memory)])
    lines += _grouped("not counted", [(s.memory.note, s.name) for s in stages if s.memory.note])
    if sum(stage.disk for stage in stages) > free_disk:
        lines.append("does not fit   the disk")
    return lines + _grouped("time", [(f"estimated from {s.time.basis}", s.name) for s in stages])


def _grouped(title: str, remarks: Sequence[tuple[str, str]]) -> list[str]:
    """A line for each remark, with the stages that it is on."""
    names: dict[str, list[str]] = {}
    for remark, name in remarks:
        names.setdefault(remark, []).append(name)
    return [f"{title:<15}{'; '.join(of)}: {remark}" for remark, of in names.items()]
