"""A language model from a folder or the hub, ready to read and to answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.models.device import choose_device
from harness.models.source import ModelSource


@dataclass(frozen=True)
class LanguageModel:
    """A model that can read a passage."""

    model: Any
    """A transformers model."""
    tokenizer: Any
    encode: Callable[[str], list[int]]
    """Prompt to token ids, special tokens included, as the model was given them when it generated."""
    max_length: int
    """Tokens of context."""
    batch_size: int
    """Passages at once."""
    name: str = "the model"


def load_language_model(
    model: str | ModelSource,
    *,
    device: str | None = None,
    dtype: str = "auto",
    batch_size: int = 8,
    revision: str | None = None,
) -> LanguageModel:
    """Load a causal or encoder-decoder model with its tokenizer; safetensors only, and no code of its own.

    Args:
        model: Folder, name on the hub, or a model that was found before.
        device: torch device; by default the accelerator, else the processor.
        dtype: Of the weights; by default as they are stored.
        batch_size: Passages at once.
        revision: Of a name on the hub.

    Raises:
        HarnessError: If it cannot be loaded whole.
    """
    place = choose_device(device)
    source = ModelSource.find(model, revision=revision) if isinstance(model, str) else model
    tokenizer = source.tokenizer()
    loaded: Any = source.model(dtype=dtype)
    return wrap(loaded.to(place), tokenizer, batch_size=batch_size, name=source.name)


def wrap(model: Any, tokenizer: Any, *, batch_size: int = 8, name: str = "the model") -> LanguageModel:
    """A loaded model and its tokenizer as a reader."""
    text = model.config.get_text_config(decoder=True)
    stated = getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None)
    return LanguageModel(
        model=model,
        tokenizer=tokenizer,
        encode=lambda prompt: list(tokenizer(prompt)["input_ids"]),
        max_length=int(stated or min(tokenizer.model_max_length, 1 << 30)),
        batch_size=batch_size,
        name=name,
    )
