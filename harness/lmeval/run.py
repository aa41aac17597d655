"""Running stock lm-evaluation-harness in this process: the same calls, and the same files, as its command makes."""

from __future__ import annotations

import json
import logging
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.paths import tasks_dir


@dataclass(frozen=True, kw_only=True)
class EvalRequest:
    """One call of ``lm_eval``."""

    model_args: Mapping[str, str | int | float | bool]
    """Arguments of the model backend; ``pretrained`` names the model."""
    tasks: tuple[str, ...]
    output_path: Path
    """Folder for the results; lm-eval makes a folder per model in it."""
    model: str = "hf"
    """Model backend of lm-eval."""
    batch_size: int | str = 64
    """Prompts at once; ``auto`` on a GPU."""
    device: str | None = None
    """Torch device; None takes the accelerator, or the processor where there is none."""
    limit: int | None = None
    """Only the first documents of each task; for trials."""
    apply_chat_template: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Overrides of the tasks' metadata, such as ``data_dir``."""


def command(request: EvalRequest) -> list[str]:
    """The shell command that does the same."""
    arguments = ",".join(f"{key}={value}" for key, value in request.model_args.items())
    words = [
        "lm_eval",
        "--model",
        request.model,
        "--model_args",
        arguments,
        "--tasks",
        ",".join(request.tasks),
    ]
    words += [
        "--batch_size",
        str(request.batch_size),
        "--output_path",
        str(request.output_path),
        "--log_samples",
    ]
    if device := request.device or _device():
        words += ["--device", device]
    if request.limit is not None:
        words += ["--limit", str(request.limit)]
    if request.apply_chat_template:
        words.append("--apply_chat_template")
    if request.metadata:
        words += ["--metadata", json.dumps(dict(request.metadata))]
    return words


def command_line(request: EvalRequest) -> str:
    """`command`, quoted for a shell."""
    return shlex.join(command(request))


def evaluate(request: EvalRequest) -> Path:
    """Evaluate, and return the folder that holds ``results_*.json`` and ``samples_*.jsonl``.

    Raises:
        HarnessError: If a local model folder is missing or incomplete, or a task is unknown.
    """
    _check_model(request)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from lm_eval import simple_evaluate
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    for name in ("lm_eval", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    metadata = {**request.metadata, **request.model_args}  # as lm_eval's command merges them
    ours = all(name.startswith("kd_") for name in request.tasks)
    manager = TaskManager(include_path=str(tasks_dir()), include_defaults=not ours, metadata=metadata)
    unknown = [name for name in request.tasks if name not in manager.all_tasks]
    if unknown:
        known = ", ".join(name for name in manager.all_tasks if name.startswith("kd_"))
        raise HarnessError(f"no task is called {', '.join(unknown)}", f"Choose from: {known}.")
    tracker = EvaluationTracker(output_path=str(request.output_path))
    results = simple_evaluate(
        model=request.model,
        model_args=dict(request.model_args),
        tasks=list(request.tasks),
        batch_size=request.batch_size,
        device=request.device or _device(),
        limit=request.limit,
        apply_chat_template=request.apply_chat_template,
        task_manager=manager,
        evaluation_tracker=tracker,
        log_samples=True,
        verbosity=None,
    )
    folder = request.output_path / str(tracker.general_config_tracker.model_name_sanitized)
    if results is not None:  # the first process of several
        samples = results.pop("samples")
        tracker.save_results_aggregated(results=results, samples=samples)
        for task in results["configs"]:
            tracker.save_results_samples(task_name=task, samples=samples[task])
    return folder


def _device() -> str | None:
    """What lm-eval is told: its own default is CUDA, also where there is none."""
    import torch

    return None if torch.accelerator.is_available() else "cpu"


def _check_model(request: EvalRequest) -> None:
    """Say at once what a missing folder would say after a long search on the hub."""
    pretrained = str(request.model_args.get("pretrained", ""))
    folder = Path(pretrained)
    looks_local = folder.is_absolute() or pretrained.startswith(".") or len(folder.parts) > 2
    if request.model == "hf" and looks_local and not (folder / "config.json").is_file():
        raise HarnessError(
            f"{pretrained}: no model here (config.json is missing)", "Give a Hugging Face model folder."
        )
