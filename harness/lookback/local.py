"""A model from a folder or the hub, ready to read passages."""

from __future__ import annotations

from typing import Any

from harness.errors import HarnessError
from harness.lookback.encoding import LanguageModel


def load_model(
    path: str,
    *,
    device: str | None = None,
    dtype: str = "auto",
    batch_size: int = 8,
    revision: str | None = None,
) -> LanguageModel:
    """Load a causal or encoder-decoder model with its tokenizer; safetensors only, and no code of its own.

    Args:
        path: Folder, or name on the hub.
        device: torch device; by default the accelerator, else the processor.

    Raises:
        HarnessError: If it cannot be loaded.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        config = AutoConfig.from_pretrained(path, revision=revision)
        kind: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        model = kind.from_pretrained(path, revision=revision, dtype=dtype, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(path, revision=revision)
    except (OSError, ValueError) as error:
        raise HarnessError(
            f"{path}: cannot be loaded as a language model ({str(error).splitlines()[0]})",
            "Give a folder that save_pretrained wrote, with safetensors weights, or a name on the hub.",
        ) from error
    return wrap(model.to(device).eval(), tokenizer, batch_size=batch_size, name=str(path))


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
