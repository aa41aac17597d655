"""What the Trainer is told to do beside training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback


class StepProgress(TrainerCallback):
    """One progress bar on a terminal with the last loss at its end, instead of a printed line per log."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Open the bar, where a resumed run left off."""
        hidden = not (state.is_world_process_zero and sys.stderr.isatty())
        self._bar = tqdm(
            total=state.max_steps, initial=state.global_step, desc="training", unit="step", disable=hidden
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Advance."""
        if self._bar is not None:
            self._bar.update()

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Show the loss."""
        logs = kwargs.get("logs") or {}
        if self._bar is not None and "loss" in logs:
            self._bar.set_postfix(loss=f"{logs['loss']:.3f}")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()


class BestInPlace(TrainerCallback):
    """Finds the best checkpoint beside the others: the state holds its old path, and the Trainer would go on without one."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Name it anew."""
        if state.best_global_step:
            state.best_model_checkpoint = str(Path(args.output_dir) / f"checkpoint-{state.best_global_step}")


class EpochOrder(TrainerCallback):
    """Tells the sampler which epoch begins.

    The data loader tells it too, but not where a run of several processes goes on within an epoch: accelerate then wraps the
    sampler once more than it looks, and the epoch would go on in the order of the first.
    """

    def __init__(self, sampler: Any) -> None:
        self._sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Set the epoch, of which a part may be done."""
        self._sampler.set_epoch(int(state.epoch or 0))
