"""What the Trainer is told to do beside training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from harness_kd.progress import Progress


class StepProgress(TrainerCallback):
    """How far training is, with the mean loss of this process since the last log."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._shown: Progress | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Begin where a resumed run left off."""
        first = state.is_world_process_zero
        self._shown = Progress("training", state.max_steps, unit="step", done=state.global_step, shown=first)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Advance."""
        if self._shown is not None:
            self._shown.advance(loss=lambda: f"{self._trainer.recent_loss():.3f}")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Stop."""
        if self._shown is not None:
            self._shown.close()


class LogEpochs(TrainerCallback):
    """Has a log end with each epoch, so that epochs can be told apart."""

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Ask for it."""
        control.should_log = True


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
