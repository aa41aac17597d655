"""Scores of a checkpoint on dev data: cross-entropy of the references, or ROUGE-L of greedy generations.

Every process scores its share of the rows, and sums are reduced, so that all choose the same checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from harness.metrics.base import Sample
from harness.metrics.rouge import Rouge
from harness_kd.data.examples import Example
from harness_kd.loss.states import decoder_start, padded
from harness_kd.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from harness_kd.training.trainer import DistillationTrainer

Score = Callable[["DistillationTrainer"], dict[str, float]]
METRICS = {"dev-loss": ("eval_loss", False), "rougeL": ("eval_rougeL", True)}
"""Choice -> key of the score and whether higher is better."""


def scorer(
    choice: str, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, *, new_tokens: int
) -> Score:
    """The function that scores a trainer's model for a `harness_kd.plan.TrainPlan.select`.

    Args:
        new_tokens: Longest generation, in tokens.
    """
    if choice == "dev-loss":
        return lambda trainer: {"eval_loss": dev_loss(trainer, examples)}
    return lambda trainer: dev_rouge(trainer, examples, tokenizer, new_tokens=new_tokens)


def dev_loss(trainer: DistillationTrainer, examples: Sequence[Example]) -> float:
    """Cross-entropy of the references, nats per response token; it does not depend on how a student is distilled."""
    model = trainer.model_wrapped
    start = decoder_start(_plain(trainer))
    sums = torch.zeros(2, device=trainer.args.device)
    for batch in _batches(trainer, examples, "dev loss"):
        inputs = _on(trainer, padded(batch or examples[:1], start))
        with trainer.autocast_smart_context_manager():
            outputs = model(**inputs, num_items_in_batch=1)
        if batch:
            sums += torch.stack([outputs.parts[0].float(), (inputs["labels"] != -100).sum()])
    total, tokens = trainer.accelerator.reduce(sums, reduction="sum").tolist()
    return float(total / tokens)


def dev_rouge(
    trainer: DistillationTrainer,
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    *,
    new_tokens: int,
) -> dict[str, float]:
    """ROUGE-L F1 of the greedy responses summed and divided by all dev rows, in [0, 1], and the share that hold a word.

    An empty response adds nothing here: over the answered rows alone, a checkpoint that answers one row well would win.
    """
    model = _plain(trainer)
    rouge = Rouge(("rougeL",))
    sums = torch.zeros(3, device=trainer.args.device)
    for batch in _batches(trainer, examples, "dev generations"):
        prompts = [example.ids[: example.boundary].tolist() for example in batch or examples[:1]]
        responses = generate(model, prompts, tokenizer, new_tokens=new_tokens)[: len(batch)]
        references = [decode(tokenizer, example.ids[example.boundary :].tolist()) for example in batch]
        samples = [
            Sample(response=response, references=(reference,), source="")
            for response, reference in zip(responses, references, strict=True)
        ]
        scores = [score["rougeL"] for score in rouge.score(samples) if "rougeL" in score]
        sums += torch.tensor([sum(scores), len(scores), len(batch)], device=sums.device)
    total, answered, asked = trainer.accelerator.reduce(sums, reduction="sum").tolist()
    return {"eval_rougeL": total / asked, "eval_answer_rate": answered / asked}


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """Text of some token ids, without special tokens."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=True))


def generate(
    model: Any, prompts: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerBase, *, new_tokens: int
) -> list[str]:
    """Greedy responses to prompts given as token ids; prompts are padded on the left."""
    length = max(map(len, prompts))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    ids = torch.tensor([[pad] * (length - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    found = model.generate(
        input_ids=ids.to(model.device),
        attention_mask=mask.to(model.device),
        max_new_tokens=new_tokens,
        do_sample=False,
        num_beams=1,
        pad_token_id=pad,
        eos_token_id=tokenizer.eos_token_id,
    )
    skipped = 1 if model.config.is_encoder_decoder else length
    return [decode(tokenizer, row[skipped:].tolist()) for row in found]


def _plain(trainer: DistillationTrainer) -> Any:
    return trainer.accelerator.unwrap_model(trainer.model)


def _on(trainer: DistillationTrainer, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to(trainer.args.device) for name, tensor in inputs.items()}


def _batches(
    trainer: DistillationTrainer, examples: Sequence[Example], name: str
) -> Iterator[Sequence[Example]]:
    """The rows of this process, in batches of similar length, longest first.

    All processes get as many batches, some of them empty: where weights are spread, they run the model together.
    """
    state, size = trainer.accelerator, 2 * trainer.args.per_device_train_batch_size
    mine = sorted(examples, key=lambda example: (-len(example.ids), example.key))
    mine = mine[state.process_index :: state.num_processes]
    most = -(-len(examples) // (state.num_processes * size))
    batches = [mine[number * size : (number + 1) * size] for number in range(most)]
    with Progress(name, len(batches), unit="batch", shown=state.process_index == 0, leave=False) as shown:
        for batch in batches:
            yield batch
            shown.advance()
