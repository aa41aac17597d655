"""Cross-encoders: sequence classifiers that read source and summary together, as sentence-transformers saves them.

HHEM-1.0-open is one (DeBERTa-v3-base, one logit). Weights come from safetensors, are checked name by name, and no remote code runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.judges.judge import EncodedPair, Pair
from harness.models.device import placed
from harness.models.hub import first_line
from harness.models.weights import local_weights
from harness.models.whole import load_whole

if TYPE_CHECKING:
    import torch

_CONSISTENT_NAMES = ("entailment", "consistent", "supported", "faithful", "factual", "label_1")
_MOST_TOKENS = 1_000_000  # transformers writes 1e30 where a tokenizer has no limit


class CrossEncoder:
    """A sequence classifier over pairs.

    One label: probability is the logit's sigmoid. Two or three labels: the softmax share of the label that is called entailment,
    consistent, supported, faithful or factual, or of the second of two without names.

    Args:
        folder: A folder with ``config.json``, ``model.safetensors`` and tokenizer files.
        max_length: Tokens at which pairs are cut; None: what tokenizer and model say.

    Raises:
        HarnessError: If the folder holds no such classifier, a pickle, or weights that do not fit its configuration.
    """

    trained_length: int | None = None

    def __init__(self, folder: Path, *, max_length: int | None = None) -> None:
        from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

        weights = local_weights(folder)
        config = _read_config(folder, AutoConfig)
        self._label = consistent_label(config, folder)
        where = f"{folder.name}/{weights.name}"
        model = load_whole(AutoModelForSequenceClassification, folder, config, what=where)
        self._model = model.float()
        self._place: tuple[torch.device, torch.dtype] | None = None
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        pad = self._tokenizer.pad_token_id
        if pad is None:
            raise HarnessError(f"{folder}: its tokenizer has no padding token", _REMEDY)
        self.pad_id = int(pad)
        # decoder classifiers read the last token that is no padding, and look for it by id
        self._model.config.pad_token_id = self.pad_id
        self._tokenizer.truncation_side = "right"
        self.limit: int | None = max_length or _limit(config, self._tokenizer)

    def encode(self, pairs: Sequence[Pair]) -> list[EncodedPair]:
        """See `harness.judges.judge.Backbone`. The longer text of a pair is cut first, as sentence-transformers does."""
        sources, summaries = [source for source, _ in pairs], [summary for _, summary in pairs]
        whole = self._tokenizer(sources, summaries, truncation=False, verbose=False).input_ids
        cut = [i for i, ids in enumerate(whole) if self.limit is not None and len(ids) > self.limit]
        if cut:
            shorter = self._tokenizer(
                [sources[i] for i in cut],
                [summaries[i] for i in cut],
                truncation="longest_first",
                max_length=self.limit,
            ).input_ids
            for i, ids in zip(cut, shorter, strict=True):
                whole[i] = ids
        were_cut = set(cut)
        return [EncodedPair(tuple(ids), cut=i in were_cut) for i, ids in enumerate(whole)]

    def probabilities(self, ids: Any, mask: Any) -> Any:
        """See `harness.judges.judge.Backbone`."""
        import torch

        arguments = {"input_ids": ids, "attention_mask": mask}
        if (
            getattr(self._model.config, "type_vocab_size", 0) > 1
            and "token_type_ids" in self._tokenizer.model_input_names
        ):
            arguments["token_type_ids"] = self._segments(ids)
        logits = self._model(**arguments).logits.float()
        if self._label is None:
            return torch.sigmoid(logits[:, 0])
        return logits.softmax(dim=-1)[:, self._label]

    def known_share(self, texts: Sequence[str]) -> float:
        """Share of the texts' tokens that the tokenizer knows, in 0..1; 1 where it takes any text apart, as into bytes."""
        unknown = self._tokenizer.unk_token_id
        ids = self._tokenizer(list(texts), add_special_tokens=False, verbose=False).input_ids
        total = sum(map(len, ids))
        return 1 - sum(row.count(unknown) for row in ids) / total if total else 1.0

    def _segments(self, ids: Any) -> Any:
        """0 for the source, 1 for the summary, int64 [B, T]: the summary follows the first separator."""
        separators = (ids == self._tokenizer.sep_token_id).long()
        after_first = separators.cumsum(dim=1) - separators
        return (after_first.clamp(max=1) * (ids != self.pad_id)).long()

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """See `harness.judges.judge.Backbone`."""
        if self._place != (device, dtype):
            self._model, self._place = placed(self._model, device, dtype), (device, dtype)


_REMEDY = "Give a folder that sentence-transformers' CrossEncoder or `harness judge fit` saved."


def _read_config(folder: Path, auto_config: Any) -> Any:
    try:
        config = auto_config.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise HarnessError(
            f"{folder}: no configuration of a known architecture: {first_line(error)}", _REMEDY
        ) from error
    architectures = getattr(config, "architectures", None) or []
    if not any(name.endswith("ForSequenceClassification") for name in architectures):
        what = ", ".join(architectures) or "a model without a named architecture"
        raise HarnessError(f"{folder}: {what} is no sequence classifier, so it cannot judge pairs", _REMEDY)
    return config


def consistent_label(config: Any, folder: Path) -> int | None:
    """Index of the label that means consistent; None where there is one label alone.

    Raises:
        HarnessError: If no label's name says so.
    """
    if config.num_labels == 1:
        return None
    names = {int(i): str(name).lower() for i, name in config.id2label.items()}
    for wanted in _CONSISTENT_NAMES[:-1]:
        for index, name in names.items():
            if name == wanted:
                return index
    if config.num_labels == 2 and names[1] == _CONSISTENT_NAMES[-1]:
        return 1
    raise HarnessError(
        f"{folder}: none of its labels ({', '.join(names.values())}) says consistent",
        "Name one entailment or consistent in config.json's id2label.",
    )


def _limit(config: Any, tokenizer: Any) -> int | None:
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and config.model_type in ("roberta", "xlm-roberta", "camembert"):
        positions -= int(config.pad_token_id) + 1
    limits = [int(n) for n in (positions, tokenizer.model_max_length) if n is not None and n < _MOST_TOKENS]
    return min(limits, default=None)
