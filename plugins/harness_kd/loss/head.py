"""The fused loss inside a model's own forward pass.

`attach_loss` changes what ``model(..., labels=...)`` computes and nothing else: the loss comes from
`harness_kd.loss.fused` on the last hidden states, so logits are never built. It stays inside ``forward`` because
wrappers hook there: calling the body past a DistributedDataParallel wrapper silently skips the gradient
all-reduce, and past FSDP it sees unsharded nothing. Called without labels, as in generation or evaluation,
the model is as it was.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from harness.errors import HarnessError
from harness_kd.loss.fused import LossSettings, SparseTargets, linear_loss
from harness_kd.loss.states import head_inputs, target_rows


@dataclass
class DistillationOutput(ModelOutput):
    """What a model returns for a batch with labels."""

    loss: Tensor | None = None
    """Scalar, nats per target token of the whole optimizer step."""
    parts: Tensor | None = None
    """float [2], unweighted cross-entropy and divergence, detached."""


def attach_loss(model: PreTrainedModel, settings: LossSettings) -> None:
    """Make ``model(input_ids, attention_mask, labels, ...)`` compute the fused loss.

    The patched forward takes, besides the model's own arguments: ``labels`` int64 [B, T] with -100 where
    masked, aligned with ``input_ids``; ``num_items_in_batch``, target tokens of the whole step (by default
    this batch's); and for distillation ``teacher_ids`` int64 [N, K], ``teacher_log_probs`` float [N, K],
    ``teacher_log_tail`` float [N], whose N rows are the batch's targets in reading order. An encoder-decoder
    takes ``decoder_input_ids`` too, and its ``labels`` are aligned with those.

    Raises:
        HarnessError: If the model's logits are not a linear function of its last hidden state.
    """
    _require_linear_head(model)
    original = model.forward

    @functools.wraps(original)
    def forward(
        *args: Any,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        teacher_ids: Tensor | None = None,
        teacher_log_probs: Tensor | None = None,
        teacher_log_tail: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        if labels is None:
            return original(*args, **kwargs)
        kwargs["use_cache"] = False
        states = head_inputs(model, original, args, kwargs)
        hidden, tokens = target_rows(states, labels, shifted=not model.config.is_encoder_decoder)
        targets = None
        if teacher_ids is not None and teacher_log_probs is not None and teacher_log_tail is not None:
            targets = SparseTargets(ids=teacher_ids, log_probs=teacher_log_probs, log_tail=teacher_log_tail)
        head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        hidden, weight = _with_adapters(head, hidden)
        # dev loss is the plain cross-entropy, so that runs with different losses compare
        used = (
            settings if targets or model.training else LossSettings(vocabulary_size=settings.vocabulary_size)
        )
        loss, parts = linear_loss(
            hidden,
            weight,
            tokens,
            used,
            num_items=tokens.numel() if num_items_in_batch is None else num_items_in_batch,
            targets=targets,
            bias=getattr(head, "bias", None),
        )
        return DistillationOutput(loss=loss, parts=parts)

    model.forward = forward
    # the Trainer then counts num_items_in_batch and does not divide by the accumulation steps again
    model.accepts_loss_kwargs = True  # type: ignore[assignment]


def _with_adapters(head: Any, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """States and weight whose product is the head's, low-rank adapters (peft) on the head included.

    W h + s B A d(h) = [W, B] [h; s A d(h)], with d the adapter's dropout: the head's own ``weight`` leaves the second term out.

    Args:
        head: A linear layer, or peft's wrapper of one.
        hidden: float [N, D].

    Returns:
        float [N, D + r] and [V, D + r], r the adapters' ranks together.
    """
    states, weights = [hidden], [head.weight]
    for name in getattr(head, "active_adapters", ()):
        if name in head.lora_A:
            down = head.lora_A[name]
            low = down(head.lora_dropout[name](hidden.to(down.weight.dtype))) * head.scaling[name]
            states.append(low.to(hidden.dtype))
            weights.append(head.lora_B[name].weight.to(head.weight.dtype))
    if len(weights) == 1:
        return hidden, head.weight
    return torch.cat(states, 1), torch.cat(weights, 1)


@torch.no_grad()
def _require_linear_head(model: PreTrainedModel) -> None:
    """Compare the model's own logits with head(hidden): soft-capped or scaled logits would be trained
    wrongly.
    """
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    problem = f"{type(model).__name__}: its logits are not a linear map of its last hidden state"
    remedy = "Use a model without logit soft-capping or scaling, such as Llama, Qwen2, GPT-NeoX or OPT."
    if not isinstance(head, nn.Linear):
        raise HarnessError(problem, remedy)
    was_training = model.training
    model.train(False)
    ids = torch.arange(4, device=head.weight.device)[None]
    inputs = {"input_ids": ids}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids
    try:
        logits = model(**inputs).logits
        rebuilt = head(head_inputs(model, model.forward, (), inputs))
    finally:
        model.train(was_training)
    if not torch.allclose(logits.float(), rebuilt.float(), rtol=1e-2, atol=1e-2):
        raise HarnessError(problem, remedy)
