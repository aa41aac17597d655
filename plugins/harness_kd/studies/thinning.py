"""A smaller student from a larger model: some of its layers, the rest as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.models.saving import save_whole
from harness.models.source import ModelSource


def kept_layers(layers: int, keep: int) -> list[int]:
    """Which of ``layers`` layers a model of ``keep`` layers has: the first, the last, and others evenly between.

    Raises:
        HarnessError: If there are not 2 to ``layers`` to keep.
    """
    if not 2 <= keep <= layers:
        raise HarnessError(f"cannot keep {keep} of {layers} layers", f"Keep 2 to {layers}.")
    return [round(number * (layers - 1) / (keep - 1)) for number in range(keep)]


def thinned(model: str, keep: int, folder: Path) -> Path:
    """Write a decoder-only model with ``keep`` of its layers, which must be finetuned before it is of use.

    Tokenizer, embeddings and head stay, so it can learn from any model of the family. A folder that is there already is left as it
    is: it appears whole. Source: Shleifer and Rush, 2020, arXiv 2010.13002, section 3, "shrink and fine-tune".

    Args:
        model: Folder or hub name.
        keep: Layers; see `kept_layers`.
        folder: To write.

    Raises:
        HarnessError: If the model cannot be loaded, or has no list of layers that its configuration counts.
    """
    if folder.exists():
        return folder
    source = ModelSource.find(model)
    loaded: Any = source.model(dtype="float32")
    layers = getattr(loaded.base_model, "layers", None)
    if layers is None or len(layers) != loaded.config.num_hidden_layers:
        raise HarnessError(
            f"{model}: {type(loaded).__name__} keeps its layers where they cannot be thinned",
            "Give a decoder-only model such as Llama, Qwen2 or Mistral.",
        )
    kept = kept_layers(len(layers), keep)
    loaded.base_model.layers = type(layers)(layers[number] for number in kept)
    for number, layer in enumerate(loaded.base_model.layers):
        layer.self_attn.layer_idx = number  # its place in the cache of keys and values
    loaded.config.num_hidden_layers = keep
    if getattr(loaded.config, "layer_types", None):
        loaded.config.layer_types = [loaded.config.layer_types[number] for number in kept]
    return save_whole(loaded, source.tokenizer(), folder)
