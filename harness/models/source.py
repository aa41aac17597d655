"""A model on this machine: found by folder or hub name, whole, and known by what its files hold."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.models import architecture, hub, weights, whole
from harness.models.device import DTYPES, choose_device
from harness.models.identity import content, content_sha256, without_path

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A language model on this machine; `find` makes one."""

    name: str
    """What the user typed: a folder, a hub name, or a hub name with ``@revision``."""
    role: str
    """What it is here (``teacher``, ``student``, ``model``), for error messages."""
    folder: Path
    revision: str
    """Commit of a hub model; ``local`` for a folder."""

    @classmethod
    def find(cls, name: str, *, role: str = "model", revision: str | None = None) -> ModelSource:
        """Locate a local folder, or download a hub model once; it is whole, and only safetensors weights are read.

        Args:
            name: Folder, hub name, or hub name with ``@revision``.
            role: What it is here, for the error message.
            revision: Of a hub model, where the name does not say: commit, tag or branch.

        Raises:
            HarnessError: If there is no such model; or it lacks its configuration, weights in safetensors format or a tokenizer; or
            its weights are not the ones that its configuration describes (`harness.models.whole`).
        """
        what = f"{role} {name}"
        folder, found = Path(name).expanduser(), "local"
        if not folder.exists():
            repository, _, stated = name.partition("@")
            folder = hub.snapshot(repository, revision=stated or revision, what=what)
            found = folder.name
        _require_complete(folder, what)
        whole.require_whole(folder, what=what)
        return cls(name=name, role=role, folder=folder, revision=found)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What it is by content, as records state it: see `harness.models.identity.model_identity`."""
        if self.revision == "local":
            return {"name": self.folder.resolve().name, "revision": "local", **content(self.folder)}
        name = without_path(self.name.partition("@")[0])
        return {"name": name, "revision": self.revision, **content(self.folder)}

    @property
    def sha256(self) -> str:
        """One hash over configuration, generation configuration, tokenizer, chat template and weights."""
        return content_sha256(self.identity)

    @property
    def _what(self) -> str:
        return f"{self.role} {self.name}"

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What config.json holds."""
        return weights.read_json(self.folder / "config.json")

    @property
    def encoder_decoder(self) -> bool:
        """Whether prompts go to an encoder, as in T5."""
        return bool(self.settings.get("is_encoder_decoder", False))

    @property
    def parameters(self) -> int:
        """Numbers in the weight files, from their headers."""
        return weights.parameters(weights.weight_files(self.folder))

    @property
    def inference_dtype(self) -> str:
        """The precision to run in unless told otherwise: the checkpoint's own on an accelerator, float32 on a processor."""
        stored = str(
            self.settings.get("dtype") or self.settings.get("torch_dtype")
        )  # before transformers 4.56
        return stored if choose_device().type != "cpu" and stored in DTYPES else "float32"

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Load the tokenizer.

        Raises:
            HarnessError: If its files are damaged.
        """
        from transformers import AutoTokenizer

        try:
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                self.folder, trust_remote_code=False
            )
        except Exception as error:  # the tokenizers library raises plain Exceptions
            raise HarnessError(
                f"{self._what}: its tokenizer cannot be loaded: {hub.first_line(error)}",
                "Download or save the model again, with its tokenizer.",
            ) from error
        return tokenizer

    def model(self, *, dtype: str = "float32", **options: Any) -> PreTrainedModel:
        """Load the language model, decoder-only or encoder-decoder, in evaluation mode, on the processor.

        Args:
            dtype: Of the weights; ``auto`` as they are stored.
            options: Of ``from_pretrained``, to spread it over devices instead (``device_map``, ``max_memory``).

        Raises:
            HarnessError: If it cannot be loaded, or not whole.
        """
        config = architecture.read_config(self.folder, what=self._what)
        kind = architecture.language_model_class(config)
        model: PreTrainedModel = whole.load_whole(
            kind, self.folder, config, what=self._what, dtype=dtype, **options
        )
        return model

    def placed(self, *, dtype: str = "float32") -> PreTrainedModel:
        """`model`, on the accelerator of this process where there is one."""
        model = self.model(dtype=dtype)
        model.to(choose_device())  # type: ignore[arg-type]
        return model


def _require_complete(folder: Path, what: str) -> None:
    """All files that a model needs are there; what they hold is `harness.models.whole`'s to say."""
    if not folder.is_dir():
        raise HarnessError(f"{what}: is a file, not the folder of a model", _COMPLETE)
    files = weights.weight_files(folder)
    if not files and (folder / weights.ADAPTER).is_file():
        raise HarnessError(
            f"{what}: holds an adapter ({weights.ADAPTER}), not a model",
            "Merge it into its base first (peft's merge_and_unload); to evaluate it as it is, name the base and add "
            f"--model-args peft={os.fspath(folder)}.",
        )
    problems = []
    if not (folder / "config.json").is_file():
        problems.append(f"{what}: no config.json")
    if not files:
        pickled = weights.pickles(folder)
        beside = f"; {pickled[0]} is a pickle" if pickled else ""
        problems.append(f"{what}: no {weights.SINGLE} (pickled weights are never loaded{beside})")
    problems += [f"{what}: {file.name} is missing" for file in files if not file.is_file()]
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        problems.append(f"{what}: no tokenizer files")
    HarnessError.raise_for(problems, _COMPLETE)


_COMPLETE = "Give a complete Hugging Face model folder, as save_pretrained writes it."
