"""Every model is whole or refused: transformers fills weights that it does not find with random numbers, and goes on.

Before anything is loaded, the names and shapes in the weight files' headers are put through transformers' own loading, with tensors
that have a shape and no memory: its renamings, merged experts, tied weights and weights that may be absent are so its own. What is
then loaded is held to the same report.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.models.architecture import REMEDY, empty_model, quiet_loading, read_config, require_one_kind
from harness.models.hashes import State, state_of
from harness.models.hub import first_line
from harness.models.pickled import pickled_files, pickled_shapes
from harness.models.weights import SINGLE, Shapes, read_json, shapes, weight_files

_log = logging.getLogger(__name__)

_SHOWN = 3
_MASK = re.compile(r"(attn|attention)\.(bias|masked_bias|causal_mask)$")
"""Causal masks that older releases stored beside the weights."""
_SCALE = re.compile(r"_(scale|zero_point|scale_inv)s?$")
"""Of a quantised cache or activation, which engines other than transformers read."""

_OTHER_SENSES = re.compile(r"vision|visual|image|audio|speech|multi_?modal|projector|vqmodel")
"""Of a model whose language model alone is loaded."""


def require_whole(folder: Path, *, what: str, pickled: bool = False) -> None:
    """Refuse a language model whose files do not hold what its configuration describes, no more and no less.

    A quantised checkpoint is checked where the package that reads it is installed and runs here; loading refuses it elsewhere.

    Args:
        folder: Folder of a model, sharded or not.
        what: The model as the user named it, for the error message.
        pickled: Whether weights may be pickles where there are no others. They are looked at, not loaded.

    Raises:
        HarnessError: If weights are missing, unexpected or of another shape; or a file is damaged; or the configuration describes
            no language model, or not the one that it names.
    """
    files = weight_files(folder)
    if not files and pickled:
        files = pickled_files(folder)
    absent = [file for file in files if not file.is_file()]
    HarnessError.raise_for([f"{what}: {file.name} is missing" for file in absent], REMEDY)
    if not files:
        raise HarnessError(
            f"{what}: no {SINGLE}", "Give a Hugging Face model folder, as save_pretrained writes it."
        )
    seen = (folder / "config.json", folder / "generation_config.json", *files)
    state = tuple((path.name, state_of(path)) for path in seen if path.exists())
    _require_whole(folder, what, tuple(files), state)


@lru_cache(maxsize=256)
def _require_whole(
    folder: Path, what: str, files: tuple[Path, ...], _state: tuple[tuple[str, State], ...]
) -> None:
    config = read_config(folder, what=what)
    if (folder / "generation_config.json").is_file():
        read_json(folder / "generation_config.json")  # transformers would go on without a damaged one
    held = shapes(files) if files[0].suffix == ".safetensors" else pickled_shapes(files)
    model = empty_model(config, what=what)
    require_one_kind(read_json(folder / "config.json"), config, model, what)
    try:
        report = _report(model, held, what)
    except HarnessError:
        raise
    except Exception as error:
        if not _quantised(config):  # whose package may not be here, or not run on this machine
            _log.warning("%s: not checked before it is loaded: %s", what, first_line(error))
        return
    refuse(report, what=what, harmless=_harmless(lambda: held, config, model))


def _report(model: Any, held: Shapes, what: str) -> Mapping[str, Any]:
    """What transformers says when it loads weights of these shapes; nothing is computed and nothing takes memory."""
    import torch

    weights = {name: torch.empty(shape, device="meta") for name, shape in held.items()}
    with quiet_loading(silent=True) as said:
        try:
            _, report = type(model).from_pretrained(
                None,
                config=model.config,
                state_dict=weights,
                device_map={"": "meta"},
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
        except RuntimeError as error:
            if problem := _unfit(said):
                raise HarnessError(f"{what}: {problem}", REMEDY) from error
            raise
    return dict(report)


def _unfit(said: list[str]) -> str | None:
    """What transformers' report says of weights that are merged while they are loaded, such as experts."""
    found = re.findall(r"^(\S+) +\| .*(?:MISSING|UNEXPECTED|CONVERSION)", "\n".join(said), re.MULTILINE)
    names = sorted(set(found))
    return (
        f"{len(names)} weights do not fit each other, such as {', '.join(names[:_SHOWN])}" if names else None
    )


def load_whole(
    kind: Any, folder: Path, config: Any, *, what: str, new_head: bool = False, **options: Any
) -> Any:
    """Load a model of any kind by ``kind.from_pretrained``, in evaluation mode: safetensors only, and no code of its own.

    Args:
        kind: An auto class of transformers.
        folder: Folder of the model.
        config: Of the model, as it was read from there.
        what: The model as the user named it, for the error message.
        new_head: Whether another head may be in the files, or none: it is yet to be trained. What the head stands on must be whole.
        options: Those of ``from_pretrained``.

    Raises:
        HarnessError: If it cannot be loaded, or not whole.
    """
    try:
        with quiet_loading() as said:
            model, report = kind.from_pretrained(
                folder,
                config=config,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
                use_safetensors=True,
                trust_remote_code=False,
                **options,
            )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        if problem := _unfit(said):
            raise HarnessError(f"{what}: {problem}", REMEDY) from error
        raise HarnessError(
            f"{what}: cannot be loaded: {first_line(error)}",
            "Give a folder that save_pretrained wrote, with safetensors weights, and install what it needs.",
        ) from error
    harmless = _harmless(lambda: shapes(weight_files(folder)), config, model)
    refuse(report, what=what, harmless=harmless, of_head=_of_head(model) if new_head else None)
    return model


def refuse(
    report: Mapping[str, Any],
    *,
    what: str,
    harmless: Callable[[str], bool],
    of_head: Callable[[str], bool] | None = None,
    remedy: str = REMEDY,
) -> None:
    """Raise for what transformers reports after loading: its ``output_loading_info``.

    Args:
        report: Keys ``missing_keys``, ``unexpected_keys``, ``mismatched_keys`` and ``error_msgs``.
        what: The model as the user named it.
        harmless: Whether a weight of this name may lie in the files without being loaded.
        of_head: Whether a weight of this name belongs to a head that may be missing, or be another; None: there is none.
        remedy: What to do about it.

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
    HarnessError.raise_for(problems, remedy)


def _harmless(held: Callable[[], Shapes], config: Any, model: Any) -> Callable[[str], bool]:
    """Which weights may lie in the files of a configuration without being loaded into its model."""
    quantised = _quantised(config)
    part = type(model.config) is not type(config)  # the language model of one that also sees or hears

    def harmless(name: str) -> bool:
        if (quantised and _SCALE.search(name)) or (part and _OTHER_SENSES.search(name)):
            return True
        shape = (
            held().get(name) if _MASK.search(name) else None
        )  # a weight may have this name, but not this shape
        return shape is not None and (math.prod(shape) == 1 or (len(shape) == 4 and shape[-1] == shape[-2]))

    return harmless


def _quantised(config: Any) -> bool:
    return bool(getattr(config, "quantization_config", None))


def _of_head(model: Any) -> Callable[[str], bool]:
    """Whether a weight lies outside the base model; the pooler is a part of many heads, and of some bases."""
    base = getattr(model, model.base_model_prefix, model)
    inside = {model.base_model_prefix, *(name for name, _ in base.named_children())} - {"pooler"}
    return lambda name: "pooler." in name or name.partition(".")[0] not in inside
