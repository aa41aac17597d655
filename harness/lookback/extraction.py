"""Lookback ratios of a response, from one teacher-forced forward pass, without the attention matrix.

For response token r, layer l and query head h, take the softmax row of the query that *predicts* token r (row 0 belongs to the
last prompt token). With A the mean weight on the context keys [0, C) and B the mean weight on the keys [C, row], the lookback
ratio is A / (A + B). Means, not sums; keys outside a sliding window count with weight 0, as in eager attention.

Legend: N passages, T tokens, R response rows, L layers, H query heads, K keys, D head dimension.

Source: arXiv 2407.07071, section 2, and voidism/Lookback-Lens @ f2846ef (step01_extract_attns.py).

Two ways to the same numbers:

* Models behind transformers' attention interface run on SDPA as usual. For the response rows alone, a registered attention
  function computes the weights once more, in pieces, and keeps two sums. Passages are padded on the right and run without a
  padding mask: under causal attention no real token sees what stands to its right.
* The others (Bloom's alibi, GPT-J, softcaps, sinks, encoder-decoders) run eager attention: first the prompt into the key-value
  cache, then the response rows with their weights, so that [T, T] weights of all layers are never held.

In an encoder-decoder the response attends to the prompt (cross-attention) and to itself (self-attention) in separate softmaxes,
so A and B have no common scale. There the ratio is taken inside the cross-attention: A over the encoder's tokens [0, C), B over
its other tokens (what follows the document in the prompt, and the end-of-sequence token).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from harness.errors import HarnessError

Ratios = NDArray[np.float32]

CONVENTION = "1"
"""Version of the definition above; a classifier fitted under another one does not fit."""
_NAME = "lookback_rows"  # a name with "sdpa" in it is refused for models without SDPA
_PIECE = 1 << 22  # attention weights held at once, in elements: 16 MiB


@dataclass(frozen=True)
class Passage:
    """A prompt and its response as tokens."""

    prompt: Sequence[int]
    response: Sequence[int]
    context: int
    """C: the first this many prompt tokens are the context, 0 < C; the last prompt token is never one of them."""

    def __post_init__(self) -> None:
        """Refuse what has no ratio."""
        if not (self.context > 0 and self.prompt and self.response):
            raise ValueError("a passage needs a context, a prompt and a response of at least one token each")

    @property
    def n_context(self) -> int:
        """C in a decoder: at most all prompt tokens but the last, so that the first row has a key that is not context."""
        return max(1, min(self.context, len(self.prompt) - 1))

    @property
    def fed(self) -> list[int]:
        """What a decoder reads: the last response token predicts nothing that is scored."""
        return [*self.prompt, *self.response[:-1]]


def lookback_ratios(model: Any, passages: Sequence[Passage]) -> list[Ratios]:
    """Lookback ratios of one batch, float32 [R, L, H] in [0, 1] for each passage.

    Args:
        model: A transformers model, causal or encoder-decoder; PEFT adapters may be on it.
        passages: One batch; each at least one prompt token before its last.

    Raises:
        HarnessError: If the model does not show its attention.
    """
    model = model.get_base_model() if hasattr(model, "get_base_model") else model
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            if model.config.is_encoder_decoder:
                return [_cross(model, passage) for passage in passages]
            if uses_interface(model):
                return _batched(model, passages)
            return [_eager(model, passage) for passage in passages]
    finally:
        model.train(was_training)


def head_layout(model: Any) -> tuple[int, int]:
    """(layers, query heads) of the ratios, found by reading three tokens: configurations name these in many ways."""
    (ratios,) = lookback_ratios(model, [Passage(prompt=[1, 1], response=[1], context=1)])
    return ratios.shape[1], ratios.shape[2]


def attention_kind(model: Any) -> str:
    """``cross`` for encoder-decoders, whose ratios are another quantity (see the module), else ``causal``."""
    return "cross" if model.config.is_encoder_decoder else "causal"


def uses_interface(model: Any) -> bool:
    """Whether the model's attention weights are softmax(scaling * q k^T + mask), computed behind the interface."""
    text = model.config.get_text_config(decoder=True)
    return (
        bool(getattr(model, "_supports_attention_backend", False))
        and bool(getattr(model, "_supports_sdpa", False))  # without: softcap (Gemma 2) or sinks (gpt-oss)
        and getattr(text, "attn_logit_softcapping", None) is None
    )


@dataclass
class Rows:
    """The rows to reduce, and what was found for them."""

    positions: Tensor
    """int64 [N, R], absolute key position of each row's own token."""
    n_context: Tensor
    """int64 [N]."""
    ratios: dict[int, Tensor] = field(default_factory=dict)
    """By layer, float32 [N, H, R], on the processor."""

    def add(self, layer: int, query: Tensor, key: Tensor, mask: Tensor | None, scaling: float | None) -> None:
        """Reduce one layer: query [N, H, T, D], key [N, H_kv, K, D], mask bool or additive [N or 1, 1 or H, T, K]."""
        n, heads, t, d = query.shape
        keys = key.shape[2]
        positions, n_context = self.positions.to(query.device), self.n_context.to(query.device)
        rows = positions - (keys - t)  # decoding with a cache: the queries are the last t of the keys
        where = torch.arange(keys, device=query.device)
        context = where < n_context[:, None]
        sums_of = torch.stack([context, ~context], -1)[:, None].float()  # [N, 1, K, 2]
        keys_t = key.float().transpose(-1, -2)
        piece = max(1, _PIECE // (n * heads * keys))
        found = []
        for start in range(0, rows.shape[1], piece):
            index = rows[:, start : start + piece]
            r = index.shape[1]
            q = query.gather(2, index[:, None, :, None].expand(n, heads, r, d)).float()
            # query heads of a key-value head are neighbours: one product serves them, nothing is repeated
            grouped = q.reshape(n, key.shape[1], -1, d)
            logits = (grouped @ keys_t).view(n, heads, r, keys).mul_(d**-0.5 if scaling is None else scaling)
            if mask is None:
                logits.masked_fill_(where > positions[:, None, start : start + piece, None], -torch.inf)
            else:
                logits = _masked(logits, mask, index)
            found.append(logits.softmax(-1) @ sums_of)
        sums = torch.cat(found, 2)  # [N, H, R, 2]
        new = positions + 1 - n_context[:, None]
        a = sums[..., 0] / n_context[:, None, None]
        b = sums[..., 1] / new[:, None]
        self.ratios[layer] = (a / (a + b)).cpu()

    def stacked(self) -> Tensor:
        """All layers, float32 [N, R, L, H]."""
        return torch.stack([self.ratios[layer] for layer in sorted(self.ratios)], 1).permute(0, 3, 1, 2)


def _masked(logits: Tensor, mask: Tensor, index: Tensor) -> Tensor:
    """Apply the rows of a mask that the model made (a sliding window, say) to logits [N, H, R, K]."""
    n, keys = logits.shape[0], logits.shape[-1]
    mask = mask[..., :keys].expand(n, -1, -1, -1)
    chosen = mask.gather(2, index[:, None, :, None].expand(n, mask.shape[1], index.shape[1], keys))
    if chosen.dtype == torch.bool:
        return logits.masked_fill_(~chosen, -torch.inf)
    return logits + chosen.float()


_ACTIVE: ContextVar[Rows | None] = ContextVar("rows", default=None)


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    rows = _ACTIVE.get()
    if rows is not None:
        layer = getattr(module, "layer_idx", None)
        rows.add(
            len(rows.ratios) if layer is None else layer, query, key, attention_mask, kwargs.get("scaling")
        )
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


AttentionInterface.register(_NAME, _attention)
AttentionMaskInterface.register(_NAME, sdpa_mask)  # without it no mask is made: windows would be ignored


@contextmanager
def recording(model: Any, rows: Rows) -> Iterator[Rows]:
    """Let the model's attention fill ``rows`` in this block; its own implementation is back afterwards.

    Raises:
        HarnessError: If the model's attention cannot be switched.
    """
    with _implementation(model, _NAME):
        token = _ACTIVE.set(rows)
        try:
            yield rows
        finally:
            _ACTIVE.reset(token)


@contextmanager
def _implementation(model: Any, name: str) -> Iterator[None]:
    before = model.config._attn_implementation
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _batched(model: Any, passages: Sequence[Passage]) -> list[Ratios]:
    """All passages in one pass, padded on the right."""
    device = device_of(model)
    fed = [passage.fed for passage in passages]
    length, count = max(map(len, fed)), max(len(passage.response) for passage in passages)
    ids = torch.tensor([row + [0] * (length - len(row)) for row in fed], device=device)
    positions = torch.tensor(
        [
            [len(p.prompt) - 1 + min(r, len(p.response) - 1) for r in range(count)]  # repeats fill the row
            for p in passages
        ]
    )
    rows = Rows(positions, torch.tensor([p.n_context for p in passages]))
    with recording(model, rows):
        model.base_model(input_ids=ids, use_cache=False)  # without the head: no [N, T, vocabulary] logits
    if not rows.ratios:
        raise _no_attention(model)
    found = rows.stacked().numpy()
    return [found[i, : len(p.response)] for i, p in enumerate(passages)]


def _eager(model: Any, passage: Passage) -> Ratios:
    """One passage through eager attention: the prompt into the cache, then the rows with their weights."""
    device = device_of(model)
    ids = torch.tensor([passage.fed], device=device)
    first = len(passage.prompt) - 1
    with _eager_attention(model):
        cache = DynamicCache()  # made without the configuration it drops no key outside a sliding window
        if first:
            model.base_model(input_ids=ids[:, :first], past_key_values=cache, use_cache=True)
        outputs = model.base_model(
            input_ids=ids[:, first:],
            attention_mask=torch.ones_like(ids),
            past_key_values=cache,
            use_cache=True,
            output_attentions=True,
        )
    layers = _weights(model, outputs.attentions)
    return _reduce(layers, passage.n_context, np.arange(first + 1, first + 1 + len(passage.response)))


def _cross(model: Any, passage: Passage) -> Ratios:
    """One passage through an encoder-decoder: ratios inside the cross-attention."""
    device = device_of(model)
    source = torch.tensor([passage.prompt], device=device)
    start = model.config.decoder_start_token_id
    start = model.generation_config.decoder_start_token_id if start is None else start
    target = torch.tensor([[start, *passage.response[:-1]]], device=device)
    with _eager_attention(model):
        encoded = model.get_encoder()(input_ids=source)
        outputs = model.get_decoder()(
            input_ids=target,
            encoder_hidden_states=encoded.last_hidden_state,
            encoder_attention_mask=torch.ones_like(source),
            use_cache=False,
            output_attentions=True,
        )
    layers = _weights(model, outputs.cross_attentions)
    return _reduce(layers, passage.n_context, np.full(len(passage.response), len(passage.prompt)))


@contextmanager
def _eager_attention(model: Any) -> Iterator[None]:
    if (
        not model._can_set_attn_implementation()
    ):  # Bloom, GPT-J: nothing but eager attention, or it falls back itself
        yield
        return
    with _implementation(model, "eager"):
        yield


def _weights(model: Any, attentions: Sequence[Tensor | None] | None) -> list[Tensor]:
    found = [layer[0].float() for layer in attentions or () if layer is not None]
    if not found:
        raise _no_attention(model)
    return found


def _reduce(layers: Sequence[Tensor], n_context: int, ends: NDArray[np.int64]) -> Ratios:
    """Weights [H, R, K] of each layer to ratios [R, L, H]; ``ends`` [R] is the number of keys that each row may see."""
    new = torch.as_tensor(ends - n_context, device=layers[0].device)
    a = torch.stack([weights[..., :n_context].sum(-1) for weights in layers]) / n_context  # [L, H, R]
    b = torch.stack([weights[..., n_context:].sum(-1) for weights in layers]) / new
    return cast(Ratios, (a / (a + b)).permute(2, 0, 1).cpu().numpy())


def device_of(model: Any) -> torch.device:
    """Where the tokens go; a model may be spread over several devices."""
    return cast(torch.device, model.get_input_embeddings().weight.device)


def _no_attention(model: Any) -> HarnessError:
    return HarnessError(
        f"{type(model).__name__} shows no attention weights, so it has no lookback ratios",
        "Leave the factual rate out (--metadata without=lookback), "
        "or name another model that reads the responses: --metadata lookback_model=PATH.",
    )
