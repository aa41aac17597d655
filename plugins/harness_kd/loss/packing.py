"""Several examples in one row of a batch, without one seeing another.

The examples of a micro-batch are joined into as few rows of ``width`` as first-fit gives, and ``position_ids`` begin
anew at each example. transformers turns such positions into block-diagonal attention, and into variable-length calls
with flash attention (which takes a batch of one row, so there the width is the whole batch). The optimizer step holds
the same examples as without packing; only padding goes.

`require_packable` runs the model on two examples, packed and apart: a model that ignores ``position_ids`` is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from harness.errors import HarnessError
from harness_kd.data.examples import Example
from harness_kd.loss.fused import IGNORE_INDEX
from harness_kd.loss.states import padded, response_states


def bins_of(batch: Sequence[Example], width: int) -> list[list[Example]]:
    """The examples, longest first, each in the first row that has room for it (first-fit decreasing).

    Args:
        width: Tokens of a row; an example that is longer gets a row of its own.
    """
    rows: list[list[Example]] = []
    room: list[int] = []
    for example in sorted(batch, key=lambda example: -len(example.ids)):
        for index, free in enumerate(room):
            if len(example.ids) <= free:
                rows[index].append(example)
                room[index] -= len(example.ids)
                break
        else:
            rows.append([example])
            room.append(width - len(example.ids))
    return rows


def packed(rows: Sequence[Sequence[Example]]) -> dict[str, Tensor]:
    """``input_ids``, ``position_ids`` and ``labels``, int64 [rows, longest row]; there is no ``attention_mask``.

    Padding at a row's end begins at position 0 again, so it is a block of its own.
    """
    length = max(sum(len(example.ids) for example in row) for row in rows)
    input_ids = torch.zeros(len(rows), length, dtype=torch.long)
    position_ids, labels = torch.zeros_like(input_ids), torch.full_like(input_ids, IGNORE_INDEX)
    for number, row in enumerate(rows):
        start = 0
        for example in row:
            end = start + len(example.ids)
            input_ids[number, start:end] = torch.from_numpy(example.ids)
            position_ids[number, start:end] = torch.arange(end - start)
            # the first token of an example is never a target: no state of the previous one predicts it
            labels[number, start + example.boundary : end] = input_ids[number, start + example.boundary : end]
            start = end
        position_ids[number, start:] = torch.arange(length - start)
    return {"input_ids": input_ids, "position_ids": position_ids, "labels": labels}


def pack_width(model: PreTrainedModel, max_length: int) -> int:
    """Tokens of a packed row: ``max_length``, or no limit where attention takes one row of any length."""
    flash = "flash" in str(model.config._attn_implementation)
    return int(np.iinfo(np.int64).max) if flash else max_length


@torch.no_grad()
def require_packable(model: PreTrainedModel) -> None:
    """Refuse a model for which packing would change what an example sees.

    Raises:
        HarnessError: If the states of two packed examples differ from those of the same examples apart.
    """
    problem = f"--packing: {type(model).__name__} does not keep packed examples apart"
    remedy = "Train without --packing: batches of similar length hold little padding as they are."
    if model.config.is_encoder_decoder:
        raise HarnessError(problem, remedy)
    pair = [Example(np.arange(n, n + 6, dtype=np.int32) % model.config.vocab_size, 2) for n in (1, 5)]
    device = next(model.parameters()).device
    was_training = model.training
    model.train(False)
    try:
        apart, joined = (
            response_states(model, {name: tensor.to(device) for name, tensor in inputs.items()})
            for inputs in (padded(pair), packed([pair]))
        )
    finally:
        model.train(was_training)
    scale = apart.float().abs().max()
    if not bool((apart.float() - joined.float()).abs().max() <= 1e-2 * scale):
        raise HarnessError(problem, remedy)
