"""Knowledge distillation for faithfulness: a soft-label cache, fused losses and a trainer.

The plugin of the ``harness`` command that brings ``quickstart``, ``train-kd`` and ``soft-labels``. It imports
``harness``, never the reverse. Modules here import torch and transformers; `harness_kd.plugin`, which every
``harness --help`` loads, does not, and neither does ``import harness_kd``: `train` and `TrainPlan`, the Python API, are
loaded at their first use.
"""

from typing import TYPE_CHECKING

__all__ = ["TrainPlan", "train"]

if TYPE_CHECKING:
    from harness_kd.api import TrainPlan, train
else:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from harness_kd import api

        return getattr(api, name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
