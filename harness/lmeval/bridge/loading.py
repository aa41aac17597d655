"""A model that lm-eval cannot load is one clear error, whatever library it is that fails on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb

from harness.errors import HarnessError
from harness.models.hub_errors import refused

_LOADS = "create_from_arg_obj"
"""The function in which lm-eval builds a model from its arguments."""


@contextmanager
def plain_loading(name: str) -> Iterator[None]:
    """Turn what is raised while lm-eval builds a model into a `HarnessError`; what is raised later is left as it is.

    Args:
        name: Of the model, as the user gave it.
    """
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:  # transformers, tokenizers, torch and the backends each raise their own
        if not any(frame.f_code.co_name == _LOADS for frame, _ in walk_tb(error.__traceback__)):
            raise
        remedy = "Download or save the model again, whole, with its tokenizer; or correct --model-args."
        raise refused(error, f"model {name}: cannot be loaded", name, remedy=remedy) from error
