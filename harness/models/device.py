"""Where a model runs and in which precision."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float16")


def choose_device(wanted: str | None = None, *, option: str = "device") -> torch.device:
    """The device of this process: the accelerator where there is one, unless told otherwise.

    Of several accelerators, each process of a distributed run takes its own (``LOCAL_RANK``), also where only the kind is named.

    Args:
        wanted: Device as torch names it; None for the accelerator, else the processor.
        option: What the user set it with, for the error message.

    Raises:
        HarnessError: If the device asked for is not here.
    """
    import torch

    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if wanted is None:
        return torch.device("cpu") if found is None else _own(found.type)
    try:
        place = _own(wanted) if found and wanted == found.type else torch.device(wanted)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch built without CUDA asserts
        reason = (str(error).splitlines() or [""])[0]
        raise HarnessError(
            f"{option}={wanted}: {reason}", "Choose cpu, or cuda where there is a GPU."
        ) from None
    return place


def _own(kind: str) -> torch.device:
    import torch

    return torch.device(kind, int(os.environ.get("LOCAL_RANK", "0")) % torch.accelerator.device_count())


def choose_dtype(name: str, *, option: str = "dtype") -> torch.dtype:
    """The torch type of a name.

    Raises:
        HarnessError: If it is none of `DTYPES`.
    """
    import torch

    if name not in DTYPES:
        raise HarnessError(f"{option}={name} is unknown", f"Choose from: {', '.join(DTYPES)}.")
    found: torch.dtype = getattr(torch, name)
    return found


def computes_bfloat16() -> bool:
    """Whether the device of this process multiplies bfloat16: an accelerator, or a processor with AMX or AVX512-BF16."""
    import torch

    if choose_device().type != "cpu":
        return True
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def placed(model: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """A module on a device in a precision; on a processor in float32, with its matrix products by oneDNN."""
    import torch

    model = model.to(device=device, dtype=dtype)
    return for_cpu(model) if device.type == "cpu" and dtype == torch.float32 else model


def for_cpu(model: Any) -> Any:
    """The model with its matrix products by oneDNN in float32, which on AMD processors takes half the time of MKL."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the scripted modules, whose forward is plain
        from torch.utils.mkldnn import to_mkldnn

    return to_mkldnn(model) if torch.backends.mkldnn.is_available() else model  # type: ignore[no-untyped-call]


def free_memory() -> int:
    """Bytes that a model may take on the device of this process: of main memory, what machine and container leave."""
    import psutil
    import torch

    place = choose_device()
    if place.type == "cuda":
        return torch.cuda.mem_get_info(place)[0]
    room = room_of_container(Path("/sys/fs/cgroup"))
    available = int(psutil.virtual_memory().available)
    return available if room is None else min(available, room)


def room_of_container(groups: Path) -> int | None:
    """Bytes until the kernel ends processes of this container for taking too much; None where it has no limit.

    Args:
        groups: Where the kernel shows control groups, of either version.
    """
    for folder, limit, usage, cached in (
        (groups, "memory.max", "memory.current", "inactive_file"),
        (groups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most, used = int((folder / limit).read_text()), int((folder / usage).read_text())
            counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):  # not there, or "max"
            continue
        return max(0, most - used + int(counts.get(cached, 0)))  # files in memory make room for it
    return None
