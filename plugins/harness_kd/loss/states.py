"""The hidden states that an output head turns into logits, for decoder-only and encoder-decoder models alike.

Shapes: B batch, T positions, N response tokens, D hidden width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from harness_kd.data.examples import Example
from harness_kd.loss.fused import IGNORE_INDEX


def decoder_start(model: PreTrainedModel) -> int | None:
    """The token that an encoder-decoder's decoder begins with; None for a decoder-only model."""
    if not model.config.is_encoder_decoder:
        return None
    start = getattr(model.config, "decoder_start_token_id", None)
    return int(model.config.pad_token_id or 0) if start is None else int(start)


def padded(batch: Sequence[Example], start: int | None = None) -> dict[str, Tensor]:
    """``input_ids``, ``attention_mask`` and ``labels`` of a batch, int64 [B, T], padded on the right.

    Args:
        start: `decoder_start` of the model. With one, prompts go to the encoder, and ``labels`` and
            ``decoder_input_ids`` [B, longest response] to the decoder.
    """
    ids = [torch.from_numpy(example.ids).long() for example in batch]
    if start is None:
        masked = [
            torch.where(torch.arange(len(row)) < e.boundary, IGNORE_INDEX, row)
            for row, e in _with(ids, batch)
        ]
        inputs = ids
    else:
        inputs = [row[: example.boundary] for row, example in _with(ids, batch)]
        masked = [row[example.boundary :] for row, example in _with(ids, batch)]
    tensors = {
        "input_ids": _stack(inputs, 0),
        "attention_mask": _stack([torch.ones_like(row) for row in inputs], 0),
        "labels": _stack(masked, IGNORE_INDEX),
    }
    if start is not None:
        first = torch.tensor([start])
        tensors["decoder_input_ids"] = _stack([torch.cat([first, row[:-1]]) for row in masked], 0)
    return tensors


def _with(ids: list[Tensor], batch: Sequence[Example]) -> list[tuple[Tensor, Example]]:
    return list(zip(ids, batch, strict=True))


def _stack(rows: Sequence[Tensor], fill: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=fill)


def head_inputs(
    model: PreTrainedModel, forward: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Tensor:
    """Hidden states [B, T, D] that the output head is given, without its product.

    Args:
        forward: The model's own forward method.
    """
    if not model.config.is_encoder_decoder:
        hidden: Tensor = model.base_model(*args, **kwargs).last_hidden_state
        return hidden
    # T5 scales the states before a tied head, so what the head is handed is the only safe reading
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    own = vars(head).get("forward")  # of a model that is spread over devices
    head.forward = _identity
    try:
        hidden = forward(*args, **kwargs).logits
    finally:
        if own is None:
            del head.forward
        else:
            head.forward = own
    return hidden


def _identity(hidden: Tensor) -> Tensor:
    return hidden


def target_rows(states: Tensor, labels: Tensor, *, shifted: bool) -> tuple[Tensor, Tensor]:
    """The states that predict each unmasked label, and those labels, in reading order.

    Args:
        states: float [B, T, D].
        labels: int64 [B, T], -100 where masked.
        shifted: True where the state at a position predicts the label of the next one (decoder-only).

    Returns:
        float [N, D] and int64 [N].
    """
    if shifted:
        states, labels = states[:, :-1], labels[:, 1:]
    flat = labels.reshape(-1)
    rows = (flat != IGNORE_INDEX).nonzero().squeeze(1)
    return states.reshape(-1, states.shape[-1]).index_select(0, rows), flat[rows]


def response_states(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Tensor:
    """States [N, D] that predict the responses of a batch from `padded`, in reading order."""
    given = {name: tensor for name, tensor in inputs.items() if name != "labels"}
    states = head_inputs(model, model.forward, (), {**given, "use_cache": False})
    return target_rows(states, inputs["labels"], shifted=not model.config.is_encoder_decoder)[0]
