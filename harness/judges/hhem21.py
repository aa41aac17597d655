"""HHEM-2.1-open: flan-t5-base's encoder with a classifier of two labels, built natively from the published weights.

The published code (remote code of the hub repository) fails under transformers 5, and a widely copied patch of it leaves the
encoder's embedding at random without a word. Here the state dict is mapped key by key and anything that does not fit is an error.

Source: model card and weights of vectara/hallucination_evaluation_model at `REVISION`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.judges.judge import EncodedPair, Pair
from harness.models.device import placed

if TYPE_CHECKING:
    import torch

REPO = "vectara/hallucination_evaluation_model"
REVISION = "8e4a2e6e96c708cc76c2344f7e4757df2515292c"
FOUNDATION = "google/flan-t5-base"
FOUNDATION_REVISION = "7bcac572ce56db69c1ea7c8af255c5d7c9672fc2"
PARAMETERS = 109_630_082
PROMPT = (
    "<pad> Determine if the hypothesis is true given the premise?\n\nPremise: {text1}\n\nHypothesis: {text2}"
)
"""Verbatim. "<pad>" is a real token here: position 0, at which the classifier reads."""
TRAINED_LENGTH = 512
"""flan-t5's input length. Longer pairs are read whole, as the card does, and counted."""
FOUNDATION_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")

_PREFIX = "t5."
_SHARED = "transformer.shared.weight"
_TIED = "transformer.encoder.embed_tokens.weight"
_CONSISTENT = 1


class Hhem21:
    """The model and its tokenizer.

    Args:
        weights: The published ``model.safetensors``, or one laid out like it.
        foundation: Folder with flan-t5's configuration and tokenizer.
        parameters: Number of weights to insist on; None for other sizes of the same architecture.

    Raises:
        HarnessError: If a weight is missing, unexpected, of another shape, or untied, or their number is wrong.
    """

    limit: int | None = None
    trained_length: int | None = TRAINED_LENGTH

    def __init__(self, weights: Path, foundation: Path, *, parameters: int | None = PARAMETERS) -> None:
        from transformers import AutoTokenizer

        self._model = build(weights, foundation, parameters=parameters)
        self._place: tuple[torch.device, torch.dtype] | None = None
        self._tokenizer = AutoTokenizer.from_pretrained(foundation)
        self.pad_id = int(self._tokenizer.pad_token_id)
        first = self._tokenizer(PROMPT.format(text1="a", text2="b")).input_ids[0]
        if first != self.pad_id:
            raise HarnessError(
                f"{foundation.name}: its tokenizer does not read '<pad>' as the padding token",
                f"Give the tokenizer of {FOUNDATION}.",
            )

    def encode(self, pairs: Sequence[Pair]) -> list[EncodedPair]:
        """See `harness.judges.judge.Backbone`; nothing is ever cut."""
        texts = [PROMPT.format(text1=source, text2=summary) for source, summary in pairs]
        ids = self._tokenizer(texts, truncation=False, verbose=False).input_ids
        return [EncodedPair(tuple(row), cut=False) for row in ids]

    def probabilities(self, ids: Any, mask: Any) -> Any:
        """See `harness.judges.judge.Backbone`. The mask says which tokens count: ids != pad would hide position 0."""
        logits = self._model(input_ids=ids, attention_mask=mask).logits[:, 0, :]
        return logits.float().softmax(dim=-1)[:, _CONSISTENT]

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """See `harness.judges.judge.Backbone`."""
        if self._place != (device, dtype):
            self._model, self._place = placed(self._model, device, dtype), (device, dtype)

    def check_ties(self) -> str | None:
        """What is wrong with the tied embedding, or None."""
        shared, used = self._model.transformer.shared, self._model.transformer.encoder.embed_tokens
        return None if shared.weight is used.weight else "the encoder's embedding is not the shared one"


def build(weights: Path, foundation: Path, *, parameters: int | None) -> Any:
    """The token classifier, float32, in evaluation mode. Errors as in `Hhem21`."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers import T5Config, T5ForTokenClassification

    config = T5Config.from_pretrained(foundation, num_labels=2, tie_word_embeddings=True)
    config.classifier_dropout = 0.0
    try:
        published = load_file(weights)
    except SafetensorError as error:
        raise HarnessError(f"{weights}: not a safetensors file: {error}", "Download it again.") from error
    model: Any = T5ForTokenClassification(config)
    state = model_state(
        published, {name: tuple(value.shape) for name, value in model.state_dict().items()}, weights
    )
    model.load_state_dict(state, strict=True)
    # loading copies into both names; what makes them one weight is this
    model.transformer.encoder.embed_tokens.weight = model.transformer.shared.weight
    model = model.float().eval()
    _quicken(model)
    count = sum(weight.numel() for weight in {id(p): p for p in model.parameters()}.values())
    if parameters is not None and count != parameters:
        raise HarnessError(
            f"{weights.parent.name}: {count:,} parameters, but HHEM-2.1-open has {parameters:,}",
            f"Give the files of {REPO} at revision {REVISION[:12]}.",
        )
    return model


def _quicken(model: Any) -> None:
    """The same numbers in fewer steps: GELU in one kernel, and position biases in the order in which attention reads them.

    transformers writes T5's GELU as eight operations, and hands each layer a transposed bias, which each layer then copies.
    """
    from functools import partial

    from torch import nn

    for block in model.transformer.encoder.block:
        block.layer[-1].DenseReluDense.act = nn.GELU(approximate="tanh")
        attention = block.layer[0].SelfAttention
        if attention.has_relative_attention_bias:
            attention.compute_bias = partial(_contiguous_bias, attention.compute_bias)


def _contiguous_bias(compute: Any, *args: Any, **kwargs: Any) -> Any:
    return compute(*args, **kwargs).contiguous()


def model_state(
    published: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]], weights: Path
) -> dict[str, Any]:
    """The published weights under the model's own names.

    Args:
        published: Name -> tensor, with the prefix ``t5.``; the tied embedding under either of its names, or both.
        expected: Name -> shape of the model's own weights.
        weights: For messages.

    Raises:
        HarnessError: All missing, unexpected, misshapen and untied weights at once.
    """
    import torch

    foreign = [name for name in published if not name.startswith(_PREFIX)]
    state = {
        name.removeprefix(_PREFIX): value for name, value in published.items() if name.startswith(_PREFIX)
    }
    problems = []
    if _SHARED in state and _TIED in state and not torch.equal(state[_SHARED], state[_TIED]):
        problems.append("the encoder's embedding differs from the shared one: they must be tied")
    for name, other in ((_SHARED, _TIED), (_TIED, _SHARED)):
        if name not in state and other in state:
            state[name] = state[other]
    missing = sorted(expected.keys() - state.keys())
    unexpected = sorted([*foreign, *(_PREFIX + name for name in state.keys() - expected.keys())])
    for what, names in (("missing", missing), ("unexpected", unexpected)):
        if names:
            problems.append(f"{len(names)} weights are {what}, such as {', '.join(names[:3])}")
    problems += [
        f"{name} has shape {tuple(state[name].shape)}, not {shape}"
        for name, shape in expected.items()
        if name in state and tuple(state[name].shape) != shape
    ][:3]
    HarnessError.raise_for(
        [f"{weights.parent.name}/{weights.name}: {problem}" for problem in problems],
        f"Give the files of {REPO} at revision {REVISION[:12]}, unchanged.",
    )
    return state


def is_hhem21(folder: Path) -> bool:
    """Whether a folder says that it is laid out as HHEM-2.1-open is published."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return str(config.get("model_type", "")).startswith("HHEMv2")


def check_prompt(folder: Path) -> None:
    """Refuse a checkpoint whose own prompt is another.

    Raises:
        HarnessError: If ``config.json`` holds a prompt that is not `PROMPT`.
    """
    prompt = json.loads((folder / "config.json").read_text("utf-8")).get("prompt", PROMPT)
    if prompt != PROMPT:
        raise HarnessError(
            f"{folder.name}: its prompt is not HHEM-2.1-open's: {prompt!r}",
            "Give the published configuration.",
        )
