"""Measure how much a language model hallucinates, and distil it to hallucinate less.

`evaluate` and `compare` are the Python API (`harness.api`); torch and lm-eval are loaded when they are called, not before.
"""

from typing import TYPE_CHECKING

from harness.errors import HarnessError

__version__ = "0.1.0"

__all__ = ["Compared", "Evaluated", "HarnessError", "compare", "evaluate"]

if TYPE_CHECKING:
    from harness.api import Compared, Evaluated, compare, evaluate
else:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from harness import api

        return getattr(api, name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
