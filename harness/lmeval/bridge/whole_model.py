"""The evaluated model is whole, or nothing of it is scored.

lm-eval's Hugging Face backend loads a model as transformers does: what is missing becomes random numbers and a warning. So
`harness eval` checks the model's files before it is loaded. Under stock ``lm_eval`` our tasks do, when they are handed the model,
before anything is generated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.models import hub
from harness.models.adapters import require_whole_adapter
from harness.models.pickled import pickled_files
from harness.models.weights import ADAPTER, read_json, weight_files
from harness.models.whole import require_whole

BACKENDS = ("hf", "hf-auto", "huggingface", "harness-lookback-guided")
"""Those that load a language model with transformers."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What lm-eval is told to load."""

    pretrained: str
    """Folder or hub name."""
    revision: str | None = None
    peft: str | None = None
    """An adapter: folder or hub name."""
    delta: str | None = None
    """Weights that are added to the model's: folder or hub name."""
    own_code: bool = False
    """Whether the model may bring code of its own, which is not run here."""

    @classmethod
    def of_arguments(cls, arguments: Mapping[str, Any]) -> Loaded | None:
        """From ``--model_args``; None where another reader than transformers' loads the weights."""
        if arguments.get("gguf_file") or arguments.get("autogptq") or arguments.get("gptqmodel"):
            return None
        stated = {key: str(arguments[key]) for key in ("revision", "peft", "delta") if arguments.get(key)}
        pretrained = str(arguments.get("pretrained", ""))
        if folder := arguments.get("subfolder"):
            pretrained = f"{pretrained}/{folder}"
        own_code = str(arguments.get("trust_remote_code", False)).lower() == "true"
        return cls(pretrained=pretrained, own_code=own_code, **stated)

    @classmethod
    def of_model(cls, lm: Any) -> Loaded | None:
        """From a model of lm-eval's Hugging Face backend; None for any other, and for one that was handed over as an object."""
        from lm_eval.models.huggingface import HFLM

        if not isinstance(lm, HFLM) or not isinstance(getattr(lm, "pretrained", None), str):
            return None
        if type(_plain(lm.model)).__module__.split(".")[0] != "transformers":
            return None  # code of the model's own
        commit = getattr(lm.config, "_commit_hash", None)
        return cls(pretrained=lm.pretrained, revision=commit or lm.revision, peft=lm.peft, delta=lm.delta)


def fetch(loaded: Loaded | None) -> None:
    """Bring onto this machine what the hub has of a model, so that it is checked before it is loaded.

    Raises:
        HarnessError: If it is neither a folder, nor in the hub's cache, nor to be had from the hub.
    """
    if loaded is None:
        return
    for name in (loaded.pretrained, loaded.delta, loaded.peft):
        if name and not Path(name).is_dir():
            hub.snapshot(name, revision=loaded.revision, what=f"model {name}")


def require_whole_files(loaded: Loaded | None) -> None:
    """Refuse a model, an adapter or a delta whose files do not hold what its configuration describes.

    What is not on this machine yet is passed over (pickled weights of the hub): it is checked when lm-eval has downloaded it.

    Raises:
        HarnessError: See `harness.models.whole` and `harness.models.adapters`.
    """
    if loaded is None:
        return
    base = _folder(loaded.pretrained, loaded.revision, "config.json")
    delta = _folder(loaded.delta, loaded.revision, "config.json")
    for name, folder in ((loaded.pretrained, base), (loaded.delta, delta)):
        if folder and not (loaded.own_code and "auto_map" in read_json(folder / "config.json")):
            _require_model(str(name), folder)
    adapter = _folder(loaded.peft, loaded.revision, "adapter_config.json")
    if adapter and base:
        require_whole_adapter(adapter, base, what=f"adapter {loaded.peft}")


def _require_model(name: str, folder: Path) -> None:
    files = weight_files(folder) or pickled_files(folder)
    if not Path(name).is_dir() and not (files and all(file.is_file() for file in files)):
        return  # of the hub, and not downloaded yet
    if not files and (folder / ADAPTER).is_file():
        raise HarnessError(
            f"model {name}: holds an adapter ({ADAPTER}), not a model",
            f"Name its base, and add --model-args peft={name} (lm_eval: --model_args pretrained=BASE,peft={name}).",
        )
    require_whole(folder, what=f"model {name}", pickled=True)


def _folder(name: str | None, revision: str | None, holds: str) -> Path | None:
    """Where a model or an adapter is; None where it is not on this machine yet."""
    if not name:
        return None
    folder = Path(name) if Path(name).is_dir() else hub.cached(name, revision)
    return folder if folder is not None and (folder / holds).is_file() else None


def _plain(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model
