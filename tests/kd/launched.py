"""Run by accelerate launch: trains plans from JSON files, one after another; each process leaves its number and how it shards."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from harness_kd.plan import TrainPlan
from harness_kd.training import fit
from harness_kd.training.train import train


def shard_on_processors() -> None:
    """accelerate takes FSDP for GPUs alone; torch's own runs on processors too, and all else is as it is there."""
    import accelerate.state
    from accelerate.utils import DistributedType

    state = accelerate.state.PartialState
    initialise = state.__init__
    state._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)
    state.__init__ = lambda self, cpu=False, **options: initialise(self, **options)
    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"


def note_sharding(folder: Path) -> None:
    """Write down what a model's weights are while it is saved."""
    save = fit._save

    def noted(trainer: Any, prepared: Any, target: Any) -> None:
        kinds = {type(parameter).__name__ for parameter in trainer.model.parameters()}
        wrapped = type(trainer.model_wrapped).__name__
        stage = getattr(trainer.model_wrapped, "zero_optimization_stage", lambda: 0)()
        (folder / f"sharding-{os.environ['RANK']}").write_text(f"{wrapped} {stage} {sorted(kinds)}")
        save(trainer, prepared, target)

    fit._save = noted  # type: ignore[assignment]  # one of its arguments is of no matter here


def main(*plans: str) -> None:
    folder = Path(plans[0]).parent
    (folder / f"pid-{os.environ['RANK']}").write_text(str(os.getpid()))
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        shard_on_processors()
    note_sharding(folder)
    for plan in plans:
        train(TrainPlan(**json.loads(Path(plan).read_text())))


if __name__ == "__main__":
    main(*sys.argv[1:])
