"""transformers' Trainer with the fused loss, cached labels and checkpoints that survive kill -9.

Shapes: B batch, T positions, N response tokens of the batch, K kept teacher entries.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler
from transformers import Trainer

from harness.errors import HarnessError
from harness_kd.data.examples import Example
from harness_kd.loss.packing import bins_of, packed
from harness_kd.loss.states import padded
from harness_kd.processes import agreed
from harness_kd.soft_labels.online import LabelSource
from harness_kd.training.callbacks import EpochOrder
from harness_kd.training.checkpoints import faults, rotate, seal
from harness_kd.training.precision import cast, state_dtype
from harness_kd.training.sharding import master_weights

_FULL = 1 << 20
"""Free bytes at which a disk counts as full."""


_BLANK = Example(np.zeros(1, dtype=np.int32), 1)
"""A row without targets, which adds nothing to loss or gradient."""


class ExampleDataset(Dataset[Example]):
    """The tokenised examples, in the order of the data, and a blank one behind them."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index] if index < len(self._examples) else _BLANK


class Collator:
    """Pads examples on the right, or packs them, and looks their soft labels up by content."""

    def __init__(
        self,
        labels: LabelSource | None = None,
        temperature: float = 1.0,
        start: int | None = None,
        width: int = 0,
    ) -> None:
        """Prepare for one model.

        Args:
            start: Its `harness_kd.loss.states.decoder_start`.
            width: Tokens of a packed row (`harness_kd.loss.packing`); 0 for one example per row.
        """
        self._labels, self._temperature = labels, temperature
        self._start, self._width = start, width

    def __call__(self, batch: Sequence[Example]) -> dict[str, Tensor]:
        """Build the tensors of `padded` or `packed`, and with soft labels ``teacher_*`` [N, ...]."""
        if self._width:
            rows = bins_of(batch, self._width)
            inputs, batch = packed(rows), [example for row in rows for example in row]
        else:
            inputs = padded(batch, self._start)
        if self._labels is not None:
            inputs |= self._targets(self._labels, batch)
        return inputs

    def _targets(self, cache: LabelSource, batch: Sequence[Example]) -> dict[str, Tensor]:
        grid = cache.manifest.temperatures.index(self._temperature)
        answered = [example for example in batch if example.targets]
        if not answered:
            none = torch.zeros(0, 1)
            return {"teacher_ids": none.long(), "teacher_log_probs": none, "teacher_log_tail": none[:, 0]}
        entries = cache.of(answered)
        tempered = [entry.at_temperature(grid, self._temperature) for entry in entries]
        per_token = np.concatenate([entry.entries_per_token() for entry in entries])
        kept = np.arange(per_token.max())[None] < per_token[:, None]
        ids = np.zeros(kept.shape, dtype=np.int64)
        log_probs = np.full(kept.shape, -np.inf, dtype=np.float32)
        ids[kept] = np.concatenate([entry.full_ids() for entry in entries])
        log_probs[kept] = np.concatenate([log_prob for log_prob, _ in tempered])
        return {
            "teacher_ids": torch.from_numpy(ids),
            "teacher_log_probs": torch.from_numpy(log_probs),
            "teacher_log_tail": torch.from_numpy(np.concatenate([tail for _, tail in tempered])),
        }


class EpochSampler(Sampler[int]):
    """Random batches of rows of similar length, as a pure function of seed and epoch.

    A resumed run therefore sees the same order, and so does one that splits a step into other micro-batches
    or processes: rows are grouped by whole optimizer steps. Each pool of random rows is sorted by length and
    cut into steps, which are shuffled.
    """

    POOL_STEPS = 8

    def __init__(self, lengths: Sequence[int], seed: int, step_rows: int, multiple: int = 1) -> None:
        """Prepare the order of one data set.

        Args:
            lengths: Tokens of each row.
            seed: Selects the order.
            step_rows: Rows of one optimizer step, over all micro-batches and processes.
            multiple: Rows that all processes read at once: blank ones (numbered as the row behind the last) fill an epoch up to a
                multiple of it. Without them the data loader would give the first rows again to processes that have none left.
        """
        self._lengths, self._multiple = np.asarray(lengths), multiple
        self._seed, self._step_rows, self._epoch = seed, step_rows, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return -(-len(self._lengths) // self._multiple) * self._multiple

    def __iter__(self) -> Iterator[int]:
        blank = len(self._lengths)
        return iter([*self._rows(), *[blank] * (len(self) - blank)])

    def _rows(self) -> list[int]:
        draw = np.random.default_rng([self._seed, self._epoch])
        order, pool = draw.permutation(len(self._lengths)), self.POOL_STEPS * self._step_rows
        steps = []
        for start in range(0, len(order), pool):
            rows = order[start : start + pool]
            rows = rows[np.argsort(self._lengths[rows], kind="stable")]
            steps += [rows[at : at + self._step_rows] for at in range(0, len(rows), self._step_rows)]
        last = steps.pop()  # it may be short, and a short step elsewhere would shift all that follow
        return [
            int(row)
            for step in (*draw.permutation(len(steps)), -1)
            for row in (last if step < 0 else steps[step])
        ]


class DistillationTrainer(Trainer):
    """Trains a model that `harness_kd.loss.head.attach_loss` prepared."""

    score_dev: Callable[[DistillationTrainer], dict[str, float]] | None = None
    """Scores the model on dev data; see `harness_kd.training.dev_scores`."""
    save_dtype: str | None = None
    """Precision that the finished model is saved in; None: that of its training, which a checkpoint needs."""
    finished = False
    """Whether what is saved is the result, and no checkpoint."""
    _parts: Tensor | None = None
    """float [2], sums since the step `_parts_since`."""
    _parts_since = 0

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        args = self.args
        at_once = args.per_device_train_batch_size * args.world_size
        sampler = EpochSampler(
            [len(dataset[row].ids) for row in range(len(dataset))],
            args.seed,
            step_rows=at_once * args.gradient_accumulation_steps,
            multiple=at_once if args.world_size > 1 else 1,
        )
        self.add_callback(EpochOrder(sampler))
        return sampler

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Loss of one micro-batch, divided by the targets of the whole step (``num_items_in_batch``, over all
        processes).

        The model is called through its wrapper, so that DistributedDataParallel reduces the gradients. It
        averages them over processes, which the factor undoes.
        """
        outputs = model(**inputs, num_items_in_batch=num_items_in_batch)
        shared = self.args.average_tokens_across_devices and num_items_in_batch is not None
        loss = outputs.loss * self.accelerator.num_processes if shared else outputs.loss
        if model.training:
            if self._parts is None:
                self._parts, self._parts_since = torch.zeros_like(outputs.parts), self.state.global_step
            self._parts += outputs.parts
        return (loss, outputs) if return_outputs else loss

    def recent_loss(self) -> float:
        """Mean over the steps since the last log, in this process, read from its device."""
        return float(self._tr_loss) / (self.state.global_step - self._globalstep_last_logged)

    @torch.no_grad()
    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:  # noqa: ARG002
        """Score the model by `score_dev`; the Trainer calls it before it saves."""
        if self.score_dev is None or self.model is None:
            raise RuntimeError("there is nothing to evaluate on")
        self.model.train(False)
        metrics = self.score_dev(self)
        self.model.train()
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the unweighted parts of the loss, in nats per target token, to each training log.

        Raises:
            HarnessError: If they are no numbers: transformers would log the last loss that was one, and go on.
        """
        if self._parts is not None and "loss" in logs:
            steps = max(1, self.state.global_step - self._parts_since)
            parts = self.accelerator.reduce(self._parts, reduction="sum") / steps
            if not parts.isfinite().all():
                raise HarnessError(
                    f"the loss is no number in the {steps} steps before step {self.state.global_step}",
                    "Train with a lower --learning-rate or more --warmup-steps, into another --output.",
                )
            logs = {**logs, "cross_entropy": parts[0].item(), "divergence": parts[1].item()}
            self._parts = None
        super().log(logs, start_time)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        # a tied head is not in the file, and is there all the same
        tied = getattr(self.model, "all_tied_weights_keys", None) or {}
        load_result.missing_keys[:] = [name for name in load_result.missing_keys if name not in tied]
        super()._issue_warnings_after_load(load_result)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        if self.finished and self.is_deepspeed_enabled:
            state_dict = master_weights(self.model_wrapped, state_dict)
        if self.save_dtype is None or output_dir is None or not self.args.should_save:
            super()._save(output_dir, state_dict)
            return
        model: Any = self.accelerator.unwrap_model(self.model)
        whole = model.state_dict() if state_dict is None else dict(state_dict)
        for name, twin in (getattr(model, "all_tied_weights_keys", None) or {}).items():
            if twin in whole:  # gathered from shards, they are two tensors, and both would be saved
                whole.pop(name, None)
        super()._save(output_dir, cast(whole, self.save_dtype))
        state_dtype(Path(output_dir), self.save_dtype)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        output = Path(str(self.args.output_dir))
        try:
            super()._save_checkpoint(model, trial)
        except RuntimeError as error:  # torch does not say why it could not write
            if shutil.disk_usage(output).free > _FULL:
                raise
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(output)) from error
        self.accelerator.wait_for_everyone()  # each process writes files of its own
        if self.args.should_save:
            seal(output / f"checkpoint-{self.state.global_step}")
            best = self.state.best_global_step
            rotate(output, best=f"checkpoint-{best}" if best else None)

    def _load_best_model(self) -> None:
        path = Path(str(self.state.best_model_checkpoint))
        problems = agreed(lambda: faults(path))
        HarnessError.raise_for(
            [f"{path}, the best checkpoint: {problem}" for problem in problems],
            f"Delete {path.parent} and run the same command again: that epoch has to be trained anew.",
        )
        super()._load_best_model()
