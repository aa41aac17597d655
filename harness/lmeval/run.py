"""Running stock lm-evaluation-harness in this process: the same calls, and the same files, as its command makes.

Three things are added. Results appear whole or not at all (lm-eval only warns when it cannot write). An interrupted run resumes
from the responses it had (`harness.lmeval.bridge.kept`). And a run that needs only our tasks does not index lm-eval's
own, which takes seconds.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness.errors import HarnessError
from harness.files import canonical_json, sha256_bytes
from harness.lmeval.bridge.apis import endpoint_kind, require_endpoint, without_effect, without_secrets
from harness.lmeval.bridge.device import require_device
from harness.lmeval.bridge.kept import in_place_of_caching
from harness.lmeval.bridge.loading import plain_loading
from harness.lmeval.bridge.one_file import require_own_files
from harness.lmeval.bridge.task_index import include_path
from harness.lmeval.bridge.whole_model import BACKENDS, Loaded, fetch, require_whole_files
from harness.lmeval.chat import has_template, require_template
from harness.lmeval.models import registry
from harness.lmeval.request import EvalRequest
from harness.models.device import choose_device
from harness.models.identity import model_identity
from harness.quiet import hide_loading_bars


def command(request: EvalRequest) -> list[str]:
    """The shell command that does the same; it shows no secret, and keeps no responses."""
    shown = without_secrets(request.model_args)
    arguments = ",".join(f"{key}={value}" for key, value in shown.items())
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
    if device := _device(request):
        words += ["--device", device]
    if request.limit is not None:
        words += ["--limit", str(request.limit)]
    if request.num_fewshot is not None:
        words += ["--num_fewshot", str(request.num_fewshot)]
    if request.apply_chat_template:
        words.append("--apply_chat_template")
    if request.gen_kwargs:
        words += ["--gen_kwargs", json.dumps(dict(request.gen_kwargs))]
    if request.metadata:
        words += ["--metadata", json.dumps(without_secrets(request.metadata))]
    return words


def command_line(request: EvalRequest) -> str:
    """`command`, quoted for a shell."""
    return shlex.join(command(request))


def evaluate(request: EvalRequest) -> Path:
    """Evaluate, and return the folder that holds ``results_*.json`` and ``samples_*.jsonl``.

    Raises:
        HarnessError: If the backend or a task is unknown, a local model folder is missing or incomplete, or results cannot be
            written.
    """
    check_model(request, download=True)
    request = settled(request)
    registry.load(request.model)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from lm_eval import simple_evaluate
    from lm_eval.loggers import EvaluationTracker

    hide_loading_bars()
    for name in ("lm_eval", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    manager = _task_manager(request)
    tasks = _load_tasks(request.tasks, manager)
    tracker = EvaluationTracker(output_path=str(request.output_path))
    name = str(request.model_args.get("pretrained") or request.model)
    with in_place_of_caching(), plain_loading(name):
        results = simple_evaluate(
            model=request.model,
            model_args=dict(request.model_args),
            tasks=tasks,
            num_fewshot=request.num_fewshot,
            batch_size=request.batch_size,
            device=_device(request),
            limit=request.limit,
            use_cache=response_cache(request),
            apply_chat_template=bool(request.apply_chat_template),
            gen_kwargs=dict(request.gen_kwargs) or None,
            task_manager=manager,
            evaluation_tracker=tracker,
            log_samples=True,
            verbosity=None,
        )
    if results is not None:  # the first process of several
        results["config"]["model_args"] = without_secrets(request.model_args)
        check_model(request)  # pickled weights of the hub are here only now
        _save(tracker, results)
    return request.output_path / str(tracker.general_config_tracker.model_name_sanitized)


def settled(request: EvalRequest) -> EvalRequest:
    """The request with a chat template or without one, where it leaves that to the model.

    A model of the hub that is not on this machine yet is taken for one without.

    Raises:
        HarnessError: If a chat template is asked for, and the model has none.
    """
    if request.apply_chat_template:
        require_template(request.model, request.model_args)
    if request.apply_chat_template is not None:
        return request
    chat = request.metadata.get("template") != "dolly" and has_template(request.model, request.model_args)
    return replace(request, apply_chat_template=chat)


def response_cache(request: EvalRequest) -> str | None:
    """What lm-eval is told of where responses are kept; the file's name holds all that makes them but prompt and decoding."""
    if request.response_cache is None:
        return None
    if kind := endpoint_kind(request.model):
        seen = {
            key: str(value)
            for key, value in request.model_args.items()
            if key not in without_effect(request.model_args)
        }
        asked = {"endpoint": kind, "backend": request.model, "arguments": seen, "lm_eval": version("lm_eval")}
        return _file(request.response_cache, asked)
    models = [str(request.model_args[key]) for key in ("pretrained", "peft") if key in request.model_args]
    revision = str(request.model_args.get("revision") or "") or None
    made_by = {
        "models": [_of_responses(model_identity(name, revision)) for name in models],
        "backend": request.model,
        "arguments": {key: str(value) for key, value in without_secrets(request.model_args).items()},
        "libraries": {name: version(name) for name in ("lm_eval", "torch", "transformers")},
    }
    return _file(request.response_cache, made_by)


def _file(folder: Path, made_by: Mapping[str, Any]) -> str:
    return str(folder / sha256_bytes(canonical_json(made_by).encode())[:16])


def _of_responses(identity: dict[str, Any]) -> dict[str, Any]:
    """What tells models apart: the content of a folder; for a model of the hub, of which more may yet be downloaded, its commit."""
    return (
        identity if identity["revision"] == "local" else {key: identity[key] for key in ("name", "revision")}
    )


def tasks_of(request: EvalRequest) -> dict[str, Any]:
    """The tasks that `evaluate` would run, loaded as it does; no model is needed.

    Raises:
        HarnessError: If a task is unknown, or its data, a metric or an option is missing or wrong.
    """
    hide_loading_bars()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    manager = _task_manager(request)
    found = {name: task for asked in request.tasks for name, task in manager.load([asked])["tasks"].items()}
    require_own_files(found.values())
    return found


def all_task_names() -> list[str]:
    """Names of our tasks and groups."""
    from lm_eval.tasks import TaskManager

    return list(TaskManager(include_path=include_path(TaskManager), include_defaults=False).all_tasks)


def _task_manager(request: EvalRequest) -> Any:
    """An index of our tasks, and of lm-eval's own where they are asked for: indexing those takes seconds."""
    from lm_eval.tasks import TaskManager

    metadata = {**request.metadata, **without_secrets(request.model_args)}  # as lm_eval's command merges them
    ours_at = include_path(TaskManager)
    manager = TaskManager(include_path=ours_at, include_defaults=False, metadata=metadata)
    ours = list(manager.all_tasks)
    others = set(_leaves(request.tasks, manager)) - set(ours)
    if others and not all(name.startswith("kd_") for name in others):
        manager = TaskManager(include_path=ours_at, metadata=metadata)
    unknown = [name for name in request.tasks if name not in manager.all_tasks]
    HarnessError.raise_for(
        [f"no task is called {name!r}" for name in unknown],
        f"Ours are: {', '.join(ours)}. `lm_eval ls tasks` lists lm-eval's own.",
    )
    return manager


def _load_tasks(names: Sequence[str], manager: Any) -> list[Any]:
    """The tasks and groups themselves: what is wrong with data or options shows before a large model is loaded."""
    loaded: list[Any] = []
    tasks: dict[str, Any] = {}
    for name in names:
        found = manager.load([name])
        tasks |= found["tasks"]
        loaded += [found["groups"][name]] if name in found["groups"] else found["tasks"].values()
    require_own_files(tasks.values())
    return loaded


def _leaves(names: Sequence[str], manager: Any) -> list[str]:
    """The tasks behind names of tasks and groups, as far as the manager knows them."""
    found = []
    for name in names:
        entry = manager.task_index.get(name)
        members = entry.cfg.get("task") if entry is not None and entry.cfg else None
        if isinstance(members, list):
            found += _leaves([m if isinstance(m, str) else m["task"] for m in members], manager)
        else:
            found.append(name)
    return found


def _save(tracker: Any, results: dict[str, Any]) -> None:
    """Write as lm-eval does, into a folder beside the results, then move the files: the results file last."""
    output = Path(tracker.output_path)
    output.mkdir(parents=True, exist_ok=True)
    samples = results.pop("samples")
    expected = 1 + len(results["configs"])
    with TemporaryDirectory(prefix=".", dir=output) as folder:
        staging = Path(folder)
        tracker.output_path = str(staging)
        tracker.save_results_aggregated(results=results, samples=samples)
        for task in results["configs"]:
            tracker.save_results_samples(task_name=task, samples=samples[task])
        written = sorted(
            staging.rglob("*.json*"), key=lambda path: path.name, reverse=True
        )  # samples_ before results_
        if len(written) != expected or not all(path.stat().st_size for path in written):
            raise HarnessError(
                f"{output}: the results could not be written", "Free some space, or choose another folder."
            )
        for path in written:
            target = output / path.relative_to(staging)
            target.parent.mkdir(exist_ok=True)
            path.replace(target)


def _device(request: EvalRequest) -> str | None:
    """What lm-eval is told: its own default is CUDA, also where there is none. None for an endpoint, which is somewhere else."""
    if endpoint_kind(request.model):
        return None
    return request.device or ("cpu" if choose_device().type == "cpu" else None)


def check_model(request: EvalRequest, *, download: bool = False) -> None:
    """Say at once what a missing folder would say after a long search on the hub; refuse a model that is not whole.

    A backend that is not there is refused first.

    Args:
        request: What is to be evaluated.
        download: Whether to fetch a model of the hub; else only one that is on this machine is checked.

    Raises:
        HarnessError: See `harness.lmeval.models.registry.require_known` and `harness.lmeval.bridge.whole_model`.
    """
    registry.require_known(request.model)
    if request.model in BACKENDS:
        require_device(request.device, present=download)
    if endpoint_kind(request.model):
        require_endpoint(request.model, request.model_args)
        return
    pretrained = str(request.model_args.get("pretrained", ""))
    folder = Path(pretrained)
    looks_local = folder.is_absolute() or pretrained.startswith(".") or len(folder.parts) > 2
    if request.model == "hf" and looks_local and not (folder / "config.json").is_file():
        raise HarnessError(
            f"{pretrained}: no model here (config.json is missing)", "Give a Hugging Face model folder."
        )
    if request.model in BACKENDS:
        loaded = Loaded.of_arguments(request.model_args)
        if download:
            fetch(loaded)
        require_whole_files(loaded)
