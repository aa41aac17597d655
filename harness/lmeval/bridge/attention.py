"""The evaluated model as a reader of passages, where its backend keeps it in this process."""

from __future__ import annotations

from typing import Any

from harness.models.load import LanguageModel

_BATCH = 8
"""Passages at once where lm-eval searches for its batch size."""


def language_model(lm: Any) -> LanguageModel | None:
    """The transformers model behind lm-eval's, with its own tokenising; None for engines and APIs, which show no attention."""
    import torch

    model = getattr(lm, "model", None)
    if not isinstance(model, torch.nn.Module) or not hasattr(lm, "tok_batch_encode"):
        return None
    if not hasattr(model, "set_attn_implementation") and not hasattr(model, "get_base_model"):
        return None

    def encode(prompt: str) -> list[int]:
        ids, _ = lm.tok_batch_encode([prompt])
        return [int(token) for token in ids[0]]

    name = str(getattr(model.config, "_name_or_path", "") or "the evaluated model")
    batch_size = lm.batch_size if isinstance(lm.batch_size, int) else _BATCH
    return LanguageModel(
        model=model,
        tokenizer=lm.tokenizer,
        encode=encode,
        max_length=int(lm.max_length),
        batch_size=batch_size,
        name=name.rstrip("/").rsplit("/", 1)[-1],
    )
