"""Knowledge distillation for faithfulness: a soft-label cache, fused losses and a trainer.

The plugin of the ``harness`` command that brings ``quickstart``, ``train-kd`` and ``soft-labels``. It imports
``harness``, never the reverse. Modules here import torch and transformers; `harness_kd.plugin`, which every
``harness --help`` loads, does not, and neither does ``import harness_kd``: `train` and `TrainPlan`, the Python API, are
loaded at their first use.
"""

import sys
from types import ModuleType
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

    class _Package(ModuleType):
        """Importing the module `harness_kd.train` must not put it in the place of the function of that name."""

        def __setattr__(self, name: str, value: object) -> None:
            if name != "train":
                super().__setattr__(name, value)

    sys.modules[__name__].__class__ = _Package
