"""Finding models, knowing them by content, and refusing pairs that cannot distil."""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.files import canonical_json, sha256_file

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """A model on this machine, known by what its files hold."""

    name: str
    """What the user typed: a folder, a hub name, or a hub name with ``@revision``."""
    folder: Path
    revision: str
    """Commit of a hub model; ``local`` for a folder."""
    weights_sha256: str
    """Over the names and contents of config.json and the weight files that transformers loads."""

    @classmethod
    def find(cls, name: str, *, role: str) -> ModelSource:
        """Locate a local folder, or download a hub model once; only safetensors weights are read.

        Args:
            role: ``teacher`` or ``student``, for the error message.

        Raises:
            HarnessError: If there is no such model, or it has no config.json, safetensors weights or
            tokenizer.
        """
        folder, revision = Path(name), "local"
        if not folder.exists():
            folder = _download(name, role=role)
            revision = folder.name
        problems = []
        weights = _weight_files(folder)
        if not (folder / "config.json").is_file():
            problems.append(f"{role} {name}: no config.json")
        if not weights:
            problems.append(f"{role} {name}: no *.safetensors weights (pickled weights are never loaded)")
        problems += [f"{role} {name}: {file.name} is missing" for file in weights if not file.is_file()]
        if not any((folder / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json")):
            problems.append(f"{role} {name}: no tokenizer files")
        HarnessError.raise_for(
            problems, "Give a complete Hugging Face model folder, as save_pretrained writes it."
        )
        digest = hashlib.sha256()
        for file in (folder / "config.json", *weights):
            digest.update(f"{file.name} {_content_hash(file)}\n".encode())
        return cls(name=name, folder=folder, revision=revision, weights_sha256=digest.hexdigest())

    @property
    def encoder_decoder(self) -> bool:
        """Whether prompts go to an encoder, as in T5."""
        config = json.loads((self.folder / "config.json").read_text("utf-8"))
        return bool(config.get("is_encoder_decoder", False))

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Load the tokenizer."""
        from transformers import AutoTokenizer

        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(self.folder)
        return tokenizer

    @property
    def parameters(self) -> int:
        """Numbers in the weight files, from their headers."""
        from safetensors import safe_open

        count = 0
        for path in _weight_files(self.folder):
            with safe_open(path, framework="np") as file:
                count += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
        return count

    @property
    def inference_dtype(self) -> str:
        """The precision to run in unless told otherwise: the checkpoint's own on an accelerator, float32 on a processor."""
        config = json.loads((self.folder / "config.json").read_text("utf-8"))
        stored = str(config.get("dtype") or config.get("torch_dtype"))  # the latter before transformers 4.56
        return stored if device().type != "cpu" and stored in DTYPES else "float32"

    def model(self, *, dtype: str = "float32") -> PreTrainedModel:
        """Load the language model, decoder-only or encoder-decoder, in evaluation mode, on the processor."""
        from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

        kind = AutoModelForSeq2SeqLM if self.encoder_decoder else AutoModelForCausalLM
        model: PreTrainedModel = kind.from_pretrained(
            self.folder, dtype=dtype, use_safetensors=True, trust_remote_code=False
        )
        return model

    def placed(self, *, dtype: str = "float32") -> PreTrainedModel:
        """`model`, on the accelerator of this process where there is one."""
        model = self.model(dtype=dtype)
        model.to(device())  # type: ignore[arg-type]
        return model


def _content_hash(path: Path) -> str:
    """SHA-256 of a file, computed once per process: a command may prepare several runs of models of many gigabytes."""
    stat = path.stat()
    return _hashed(path.resolve(), stat.st_ino, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1024)
def _hashed(path: Path, *_state: int) -> str:
    return sha256_file(path)


def device() -> torch.device:
    """The accelerator of this process, or the processor."""
    import torch

    if not torch.accelerator.is_available():
        return torch.device("cpu")
    found = torch.accelerator.current_accelerator()
    index = int(os.environ.get("LOCAL_RANK", "0")) % torch.accelerator.device_count()
    return torch.device(found.type if found else "cpu", index)


def free_memory() -> int:
    """Bytes that a model may take on the device of this process."""
    import psutil
    import torch

    place = device()
    if place.type == "cuda":
        return torch.cuda.mem_get_info(place)[0]
    return int(psutil.virtual_memory().available)


_INDEX = "model.safetensors.index.json"


def _weight_files(folder: Path) -> list[Path]:
    """The files that transformers loads; some repositories hold the same weights again, in another layout."""
    if (folder / _INDEX).is_file():
        names = json.loads((folder / _INDEX).read_text("utf-8"))["weight_map"].values()
        return sorted(folder / name for name in set(names))
    return sorted(folder.glob("*.safetensors"))


_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]


def _download(name: str, *, role: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    remedy = "Give an existing model folder, or a hub name such as organisation/model with access to the hub."
    repository, _, revision = name.partition("@")
    try:
        return Path(
            snapshot_download(
                repository,
                revision=revision or None,
                allow_patterns=_FILES,
                ignore_patterns=["consolidated*"],
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        reason = str(error).splitlines()[0]
        raise HarnessError(
            f"{role} {name}: no such folder, and not found on the hub ({reason})", remedy
        ) from error


def vocabulary_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hexadecimal SHA-256 over every token and its id, added tokens included.

    Padded rows of a model's embedding are not part of it, so Qwen2.5's 151,936 and 152,064 rows compare as
    equal.
    """
    return hashlib.sha256(canonical_json(tokenizer.get_vocab()).encode()).hexdigest()


def vocabulary_size(tokenizer: PreTrainedTokenizerBase) -> int:
    """Largest token id plus one: the rows of an output head that mean something."""
    return max(tokenizer.get_vocab().values()) + 1


def require_same_vocabulary(teacher: PreTrainedTokenizerBase, student: PreTrainedTokenizerBase) -> None:
    """Refuse a teacher whose token ids mean something else to the student.

    Raises:
        HarnessError: If any token or id differs; it names the first difference.
    """
    if vocabulary_hash(teacher) == vocabulary_hash(student):
        return
    of_teacher, of_student = teacher.get_vocab(), student.get_vocab()
    index, token = min((index, token) for token, index in of_teacher.items() ^ of_student.items())
    raise HarnessError(
        f"different vocabularies: the teacher has {len(of_teacher)} tokens, the student {len(of_student)} "
        f"(hash {vocabulary_hash(teacher)[:12]} against {vocabulary_hash(student)[:12]}), "
        f"first difference at id {index} ({token!r})",
        "Choose a teacher of the student's family; or --divergence uld, which compares ranks in place of tokens; or train on texts "
        "that the teacher wrote (harness soft-labels generate).",
    )
