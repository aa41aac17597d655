"""The models that this package adds to lm-eval, and the one place that makes them known to it.

``pyproject.toml`` declares the same names as entry points, which lm-eval reads from its next release on (its pull request 4013).
Until then the start-up hook (`harness.lmeval.bridge.startup`) and ``harness eval`` call `register`.
"""

from __future__ import annotations

from typing import Any

from harness.errors import HarnessError

MODELS = {
    "harness-gold": "harness.lmeval.models.gold:Gold",
    "harness-judge": "harness.lmeval.models.judge:HarnessJudge",
    "harness-lookback-guided": "harness.lmeval.models.guided:LookbackGuided",
}
"""Name -> class, which is imported when it is asked for."""


def register() -> None:
    """Make `MODELS` known to lm-eval; what it knows already, by this or by its entry points, stays as it is."""
    import lm_eval.models  # noqa: F401  # lm-eval fills its registry when this is imported, and only while that is empty
    from lm_eval.api.registry import model_registry

    for name, target in MODELS.items():
        if name not in model_registry:
            model_registry.register(name, target=target)


def require_known(backend: str) -> None:
    """Refuse a model backend that is neither ours nor lm-eval's.

    Raises:
        HarnessError: Naming those that are known.
    """
    from lm_eval.api.registry import model_registry

    register()
    if backend not in model_registry:
        known = ", ".join(sorted(model_registry.keys()))
        raise HarnessError(f"no model backend is called {backend!r}", f"Known: {known}.")


def load(backend: str) -> Any:
    """The class behind a model backend.

    Raises:
        HarnessError: If it is not known, or a library that it needs is not installed.
    """
    from lm_eval.api.registry import model_registry

    require_known(backend)
    try:
        return model_registry.get(backend)
    except ImportError as error:
        raise HarnessError(
            f"backend {backend} cannot be loaded: {error}",
            f"Install what it needs: pip install 'lm-eval[{backend}]'.",
        ) from error
