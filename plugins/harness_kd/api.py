"""The Python API of distillation: `train`, what ``harness train-kd`` does for one run. It is ``harness_kd.train``."""

from __future__ import annotations

import dataclasses
import difflib
import os
from pathlib import Path
from typing import Any, get_type_hints, overload

from harness.errors import HarnessError
from harness_kd.plan import TrainPlan

__all__ = ["TrainPlan", "train"]


@overload
def train(plan: TrainPlan, /) -> Path: ...


@overload
def train(
    *,
    student: str | Path,
    data: str | Path,
    output: str | Path,
    teacher: str | Path | None = None,
    kd_ratio: float = 0.0,
    **options: Any,
) -> Path: ...


def train(plan: TrainPlan | None = None, /, **options: Any) -> Path:
    """Finetune a student, with or without distillation, and return its folder: an ordinary Hugging Face model.

    A finished run of the same plan returns at once, an unfinished one resumes, and soft labels are captured where they lack.

    Args:
        plan: The run; or in its place the fields of `harness_kd.plan.TrainPlan` as keyword arguments, of which ``student``,
            ``data`` and ``output`` are needed, and ``teacher`` and ``kd_ratio`` make it distillation.
        options: Those fields; paths may be `Path`.

    Raises:
        HarnessError: For unknown or missing fields, bad values, bad data, models that do not fit together, or an output folder
            that holds another run.
    """
    from harness_kd.training.train import train as run

    if plan is not None and options:
        raise HarnessError(
            f"a plan, and {', '.join(sorted(options))} beside it",
            "Put them into the plan: dataclasses.replace(plan, ...).",
        )
    return run(plan_of(options) if plan is None else plan)


def plan_of(options: dict[str, Any]) -> TrainPlan:
    """The plan that has these fields.

    Raises:
        HarnessError: If a field is unknown or missing, all at once; or, as `TrainPlan` does, if a value is bad.
    """
    types = get_type_hints(TrainPlan)
    given = {name: os.fspath(one) if isinstance(one, os.PathLike) else one for name, one in options.items()}
    problems = []
    for name, value in given.items():
        if name not in types:
            close = difflib.get_close_matches(name, types, n=1)
            problems.append(f"{name}: no such option{f'; closest is {close[0]}' if close else ''}")
        elif not _is_a(value, types[name]):
            problems.append(f"{name}: is {getattr(types[name], '__name__', types[name])}, not {value!r}")
    needed = [field.name for field in dataclasses.fields(TrainPlan) if field.default is dataclasses.MISSING]
    problems += [f"{name}: is needed" for name in needed if name not in given]
    HarnessError.raise_for(problems, "help(harness_kd.TrainPlan) lists the options.")
    return TrainPlan(**given)


def _is_a(value: object, kind: Any) -> bool:
    """As annotations mean it: a whole number will do for a float, and truth is no number."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, kind | int if kind is float else kind)
