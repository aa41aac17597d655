"""The metric families by name. Adding one is a file with `OPTIONS` and `from_options`, and a line here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, cast

from harness.errors import HarnessError
from harness.metrics.base import Metric
from harness.stats.bootstrap import ScoreFunction

FAMILIES: Mapping[str, str] = {
    "rouge": "harness.metrics.rouge",
    "chrf": "harness.metrics.chrf",
    "meteor": "harness.metrics.meteor",
    "meteor_nosyn": "harness.metrics.meteor_nosyn",
    "bertscore": "harness.metrics.bertscore",
    "surface": "harness.metrics.surface",
    "lookback": "harness.metrics.lookback",
    "oracle": "harness.metrics.oracle",
    "consistency": "harness.metrics.consistency",
}
"""Family name -> module with ``OPTIONS`` (name -> default) and ``from_options(options) -> Metric``."""


def build(names: Iterable[str], options: Mapping[str, Any]) -> list[Metric]:
    """Build metrics from task metadata.

    Args:
        names: Family names.
        options: Metadata; each family takes its own options from it and ignores the rest.

    Raises:
        HarnessError: If families are unknown, or lack something they need on this machine; all of them at once.
    """
    names = list(dict.fromkeys(names))
    unknown = [name for name in names if name not in FAMILIES]
    HarnessError.raise_for(
        [f"unknown metric family {name!r}" for name in unknown], f"Choose from: {', '.join(FAMILIES)}."
    )
    metrics = []
    missing: dict[str, HarnessError] = {}
    for name in names:
        module = import_module(FAMILIES[name])
        chosen = {option: options.get(option, default) for option, default in module.OPTIONS.items()}
        try:
            metrics.append(cast(Metric, module.from_options(chosen)))
        except HarnessError as error:
            missing[name] = error
    if missing:
        raise HarnessError(
            "\n".join(error.problem for error in missing.values()),
            "\n".join(
                [
                    *(error.remedy for error in missing.values()),
                    f"To go on without: --metadata without={'+'.join(missing)}",
                ]
            ),
        )
    return metrics


def corpus_scorer(names: Iterable[str], options: Mapping[str, Any], key: str) -> ScoreFunction | None:
    """How a corpus score follows from summed statistics, without building the family: a judge or encoder is not needed for it.

    A family with corpus scores has a function ``corpus_scorer(options, key)`` in its module; None: no family claims the key.
    """
    for name in names:
        module = import_module(FAMILIES[name]) if name in FAMILIES else None
        find = getattr(module, "corpus_scorer", None)
        if find is not None and (found := find(options, key)) is not None:
            return cast(ScoreFunction, found)
    return None


def option_names() -> frozenset[str]:
    """Every metadata key that some family reads."""
    return frozenset(option for module in FAMILIES.values() for option in import_module(module).OPTIONS)
