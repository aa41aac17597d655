"""Every model is whole or refused: transformers fills weights that it does not find with random numbers, and goes on.

Before anything is loaded, the names and shapes in the weight files' headers are put through transformers' own loading, with tensors
that have a shape and no memory: its renamings, merged experts, tied weights and weights that may be absent are thereby its own. A
model of 70 billion weights takes a second. What is then loaded is held to the same report.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.models.hashes import State, state_of
from harness.models.hub import first_line
from harness.models.weights import Shapes, read_json, shapes, weight_files

REMEDY = "Weights and config.json must belong together: download or save the model again, whole."

_SHOWN = 3
_MASK = re.compile(r"(attn|attention)\.(bias|masked_bias|causal_mask)$")
"""Causal masks that older releases stored beside the weights."""
_SCALE = re.compile(r"_(scale|zero_point|scale_inv)s?$")
"""Of a quantised cache or activation, which engines other than transformers read."""


def require_whole(folder: Path, *, what: str) -> None:
    """Refuse a language model whose files do not hold what its configuration describes, no more and no less.

    A quantised checkpoint is checked where the package that reads it is installed and runs here; loading refuses it elsewhere.

    Args:
        folder: Folder of a model, sharded or not.
        what: The model as the user named it, for the error message.

    Raises:
        HarnessError: If weights are missing, unexpected or of another shape; or a file is damaged; or the configuration describes
            no language model, or not the one that it names.
    """
    files = weight_files(folder)
    seen = (folder / "config.json", folder / "generation_config.json", *files)
    _require_whole(folder, what, tuple((path.name, state_of(path)) for path in seen if path.exists()))


@lru_cache(maxsize=256)
def _require_whole(folder: Path, what: str, _state: tuple[tuple[str, State], ...]) -> None:
    config = read_config(folder, what=what)
    if (folder / "generation_config.json").is_file():
        read_json(folder / "generation_config.json")  # transformers would go on without a damaged one
    held = shapes(weight_files(folder))
    try:
        report = _report(language_model_class(config), config, held)
    except HarnessError as error:
        raise HarnessError(f"{what}: {error.problem}", error.remedy) from error
    except Exception:
        if getattr(config, "quantization_config", None):
            return  # its package is not here, or does not run on this machine: loading says which
        raise
    refuse(report, what=what, harmless=_harmless(lambda: held, config))


def read_config(folder: Path, *, what: str) -> Any:
    """The configuration of a model as transformers reads it; no code of the repository runs.

    Raises:
        HarnessError: If it is damaged, of an unknown kind, or contradicts itself.
    """
    from transformers import AutoConfig

    stated = read_json(folder / "config.json")
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (
        Exception
    ) as error:  # validation of a configuration has error types of its own, which differ between releases
        reason = first_line(error.__cause__ or error)
        raise HarnessError(
            f"{what}: config.json describes no model that can be built here: {reason}", REMEDY
        ) from error
    _require_one_kind(stated, config, what)
    return config


def _require_one_kind(stated: Mapping[str, Any], config: Any, what: str) -> None:
    """Refuse an architecture of another model type: two types may have the same weights, and compute something else."""
    import transformers

    for name in stated.get("architectures") or []:
        named = getattr(getattr(transformers, str(name), None), "config_class", None)
        kind = getattr(named, "model_type", None)
        if kind and kind not in {config.model_type, *_kinds_within(config)}:
            raise HarnessError(
                f"{what}: config.json contradicts itself: model_type is {config.model_type}, but {name} is a {kind}",
                REMEDY,
            )


def _kinds_within(config: Any) -> Iterator[str]:
    for name in getattr(config, "sub_configs", None) or ():
        if kind := getattr(getattr(config, name, None), "model_type", None):
            yield str(kind)


def language_model_class(config: Any) -> Any:
    """The class of transformers that loads a configuration as a language model, decoder-only or encoder-decoder."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    return AutoModelForSeq2SeqLM if getattr(config, "is_encoder_decoder", False) else AutoModelForCausalLM


def _report(kind: Any, config: Any, held: Shapes) -> Mapping[str, Any]:
    """What transformers says when it loads weights of these shapes; nothing is computed and nothing takes memory."""
    import torch

    with quiet_loading():
        try:
            with torch.device("meta"):
                architecture = type(kind.from_config(config, trust_remote_code=False))
        except Exception as error:  # whatever sizes do not fit each other, in any architecture
            problem = f"config.json describes no language model that can be built: {first_line(error)}"
            raise HarnessError(problem, REMEDY) from error
        weights = {name: torch.empty(shape, device="meta") for name, shape in held.items()}
        _, report = architecture.from_pretrained(
            None,
            config=config,
            state_dict=weights,
            device_map={"": "meta"},
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    return dict(report)


def load_whole(kind: Any, folder: Path, *, what: str, new_head: bool = False, **options: Any) -> Any:
    """Load a model of any kind by ``kind.from_pretrained``, in evaluation mode: safetensors only, and no code of its own.

    Args:
        kind: An auto class of transformers.
        folder: Folder of the model.
        what: The model as the user named it, for the error message.
        new_head: Whether another head may be in the files, or none: it is yet to be trained. What the head stands on must be whole.
        options: Those of ``from_pretrained``.

    Raises:
        HarnessError: If it cannot be loaded, or not whole.
    """
    try:
        with quiet_loading():
            model, report = kind.from_pretrained(
                folder,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
                use_safetensors=True,
                trust_remote_code=False,
                **options,
            )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise HarnessError(f"{what}: cannot be loaded: {first_line(error)}", REMEDY) from error
    harmless = _harmless(lambda: shapes(weight_files(folder)), model.config)
    refuse(report, what=what, harmless=harmless, of_head=_of_head(model) if new_head else None)
    return model


def refuse(
    report: Mapping[str, Any],
    *,
    what: str,
    harmless: Callable[[str], bool],
    of_head: Callable[[str], bool] | None = None,
) -> None:
    """Raise for what transformers reports after loading: its ``output_loading_info``.

    Args:
        report: Keys ``missing_keys``, ``unexpected_keys``, ``mismatched_keys`` and ``error_msgs``.
        what: The model as the user named it.
        harmless: Whether a weight of this name may lie in the files without being loaded.
        of_head: Whether a weight of this name belongs to a head that may be missing, or be another; None: there is none.

    Raises:
        HarnessError: With the number of weights that are missing, unexpected or misshapen, and the first of each.
    """

    def kept(names: Iterable[str]) -> list[str]:
        return sorted(name for name in names if of_head is None or not of_head(name))

    misshapen = {
        name: f"{list(stored)}, not {list(wanted)}" for name, stored, wanted in report["mismatched_keys"]
    }
    found = {
        "missing": kept(report["missing_keys"]),
        "unexpected": kept(name for name in report["unexpected_keys"] if not harmless(name)),
        "of another shape": [f"{name} ({misshapen[name]})" for name in kept(misshapen)],
    }
    problems = [
        f"{what}: {len(names)} {'weight is' if len(names) == 1 else 'weights are'} {how}, such as {', '.join(names[:_SHOWN])}"
        for how, names in found.items()
        if names
    ]
    problems += [f"{what}: {message}" for message in report.get("error_msgs", ())]
    HarnessError.raise_for(problems, REMEDY)


def _harmless(held: Callable[[], Shapes], config: Any) -> Callable[[str], bool]:
    quantised = bool(getattr(config, "quantization_config", None))

    def harmless(name: str) -> bool:
        if quantised and _SCALE.search(name):
            return True
        shape = (
            held().get(name) if _MASK.search(name) else None
        )  # a weight may have this name, but not this shape
        return shape is not None and (math.prod(shape) == 1 or (len(shape) == 4 and shape[-1] == shape[-2]))

    return harmless


def _of_head(model: Any) -> Callable[[str], bool]:
    """Whether a weight lies outside the base model; the pooler is a part of many heads, and of some bases."""
    base = getattr(model, model.base_model_prefix, model)
    inside = {model.base_model_prefix, *(name for name, _ in base.named_children())} - {"pooler"}
    return lambda name: "pooler." in name or name.partition(".")[0] not in inside


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Keep back transformers' own report, which only warns of what is refused here."""
    logger = logging.getLogger("transformers.modeling_utils")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
