"""An adapter is whole, or the model that it changes is not evaluated with it: peft only warns of weights that it does not find."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.models.architecture import empty_model, quiet_loading, read_config
from harness.models.hub import first_line
from harness.models.pickled import pickled_shapes
from harness.models.weights import ADAPTER, Shapes, shapes
from harness.models.whole import refuse

_PICKLE = "adapter_model.bin"
_NAME = "held-against-its-files"
"""Of the adapter while it is checked: peft puts it into the name of each weight that belongs to it."""
_BASE = "base_model.model."


def require_whole_adapter(folder: Path, base: Path, *, what: str) -> None:
    """Refuse an adapter whose file does not hold the weights that its configuration adds to the base, no more and no less.

    Args:
        folder: Of the adapter.
        base: Folder of the model that it is for.
        what: The adapter as the user named it, for the error message.

    Raises:
        HarnessError: If weights are missing, unexpected or of another shape, or a file is damaged.
    """
    import torch

    if find_spec("peft") is None:
        return  # nothing here can load it
    from peft import PeftConfig, PeftModel, set_peft_model_state_dict

    held = _held(folder, what)
    model = empty_model(read_config(base, what=what), what=what)
    _add_rows(model, held)
    weights = {name: torch.empty(shape, device="meta") for name, shape in held.items()}
    try:
        config = PeftConfig.from_pretrained(str(folder))
        if config.is_prompt_learning:
            return  # a few vectors before the prompt, without which peft does not load
        with torch.device("meta"), quiet_loading(silent=True), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters of it is refused below
            adapted = PeftModel(model, config, adapter_name=_NAME, autocast_adapter_dtype=False)
            report: Any = set_peft_model_state_dict(adapted, weights, adapter_name=_NAME)
    except KeyError as error:  # a module that was trained and saved whole
        raise HarnessError(f"{what}: a weight is missing: {error.args[0]}", _REMEDY) from error
    except Exception as error:  # peft has no type for modules that are not there, nor for other shapes
        reason = " ".join(str(error).split()) or first_line(error)
        raise HarnessError(f"{what}: cannot be loaded on {base.name}: {reason}", _REMEDY) from error
    of_adapter = [name.replace(f".{_NAME}", "") for name in report.missing_keys if _NAME in name]
    refuse(
        {"missing_keys": of_adapter, "unexpected_keys": report.unexpected_keys, "mismatched_keys": ()},
        what=what,
        harmless=lambda _: False,
        remedy=_REMEDY,
    )


_REMEDY = "Adapter, adapter_config.json and base must belong together: save or download the adapter again, or name its own base."


def _held(folder: Path, what: str) -> Shapes:
    if (folder / ADAPTER).is_file():
        return shapes([folder / ADAPTER])
    if (folder / _PICKLE).is_file():
        return pickled_shapes([folder / _PICKLE])
    raise HarnessError(
        f"{what}: no {ADAPTER}", "Give the folder of an adapter, as peft's save_pretrained writes it."
    )


def _add_rows(model: Any, held: Shapes) -> None:
    """Rows that an adapter brings with it for tokens of its own."""
    embedding = model.get_input_embeddings()
    name = next(name for name, module in model.named_modules() if module is embedding)
    stored = held.get(f"{_BASE}{name}.weight")
    if stored is not None and stored[0] != embedding.weight.shape[0]:
        model.resize_token_embeddings(stored[0], mean_resizing=False)
