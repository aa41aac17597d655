"""The metric families by name, and what their scores are, without building one.

Adding a metric is a file with a ``FAMILY`` (`harness.metrics.base.Family`) and a line in `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import cast, get_args

from harness.errors import HarnessError
from harness.metrics import answers
from harness.metrics.base import Family, Kind, Metric, Options, Score
from harness.stats.bootstrap import ScoreFunction

FAMILIES: Mapping[str, str] = {
    "oracle": "harness.metrics.oracle",
    "slot_error": "harness.metrics.slot_error",
    "consistency": "harness.metrics.consistency",
    "lookback": "harness.metrics.lookback",
    "source_precision": "harness.metrics.source_precision",
    "unsupported": "harness.metrics.unsupported",
    "rouge": "harness.metrics.rouge",
    "chrf": "harness.metrics.chrf",
    "meteor": "harness.metrics.meteor",
    "meteor_nosyn": "harness.metrics.meteor_nosyn",
    "bertscore": "harness.metrics.bertscore",
    "surface": "harness.metrics.surface",
}
"""Family name -> module, in the order in which scores of one kind are shown."""


def family(name: str) -> Family:
    """A family of `FAMILIES` by name; importing it loads neither torch nor a model."""
    return cast(Family, import_module(FAMILIES[name]).FAMILY)


def score_of(key: str) -> Score | None:
    """What the numbers under a key are; None if the key is of no family here, as those of other tasks are not."""
    owner = _owner(key, FAMILIES)
    return owner.scores[key] if owner else answers.SCORES.get(key)


def described() -> dict[str, Score]:
    """Every known score in the order in which scores are shown: the leading one of each family, then the others by kind."""
    scores = {key: score for name in FAMILIES for key, score in family(name).scores.items()} | answers.SCORES
    kinds = get_args(Kind)
    return dict(sorted(scores.items(), key=lambda item: (not item[1].leading, kinds.index(item[1].kind))))


def build(names: Iterable[str], options: Options) -> list[Metric]:
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
        try:
            metrics.append(family(name).build(options))
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


def corpus_scorer(names: Iterable[str], options: Options, key: str) -> ScoreFunction | None:
    """How a corpus score follows from summed statistics [b, k]; no judge, encoder or word list is needed for it.

    Args:
        names: Families to look in.
        options: Metadata.
        key: Of a score.

    Returns:
        The function; None if the key is no corpus score of these families.
    """
    owner = _owner(key, names)
    if owner is None or owner.corpus_scorer is None or not owner.scores[key].corpus:
        return None
    return owner.corpus_scorer(owner.chosen(options), key)


def empty_statistics(key: str, statistics: Sequence[float]) -> tuple[float, ...] | None:
    """What a sample's statistics would be had its response been empty and its reference the same.

    With it a response that failed can be counted as one that got nothing right, beside what was measured.

    Args:
        key: Of a corpus score.
        statistics: Of any response to the document.

    Returns:
        The statistics; None where there is no honest answer: a share of windows of no window is no share.
    """
    owner = _owner(key, FAMILIES)
    if owner is None or not owner.scores[key].corpus:
        return None
    return owner.empty_statistics(key, statistics)


def signature_of(key: str, names: Iterable[str], options: Options) -> str | None:
    """The signature that options give a score.

    Returns:
        The signature; None if no listed family gives the score under these options, or if its signature also names files (weights,
        a word list) that only the machine that scored may have: `signature_problem` checks what can be known of it.

    Raises:
        HarnessError: If an option is wrong.
        TypeError, ValueError: If an option is of another type.
    """
    owner = _owner(key, names)
    if owner is None or owner.contradiction is not None:
        return None
    metric = owner.build(options)
    return metric.signature(key) if key in metric.scores else None


def signature_problem(key: str, signature: str, names: Iterable[str], options: Options) -> str | None:
    """What is wrong with a stated signature, in one sentence; None if nothing is, as far as it can be known without files.

    A score by rule must have exactly the signature that the options give. Of a score by a model, the form, the model's name and its
    settings are held against the options; hashes of weights and library versions are not. No model is loaded.

    Args:
        key: Of the score.
        signature: As stated.
        names: Families that the score is said to be of.
        options: Metadata, in which paths may have been cut to their last part.
    """
    names = list(names)
    owner = _owner(key, names)
    try:
        if key in answers.SCORES:
            found = answers.contradiction(key, signature, options)
        elif owner is None:
            return f"{key}: no score of the metrics {', '.join(names) or '(none)'}"
        elif owner.contradiction is not None:
            found = owner.contradiction(key, signature, owner.chosen(options))
        else:
            found = _misstated(signature, signature_of(key, names, options))
    except HarnessError as error:
        return f"{key}: {error.problem}"
    except (TypeError, ValueError, OverflowError) as error:
        return f"{key}: an option of its metric is of the wrong type: {error}"
    return found and f"{key}: its signature {signature} {found}"


def _misstated(stated: str, given: str | None) -> str | None:
    if given is None:
        return "is of a score that the options do not ask for"
    return None if stated == given else f"is not what the options give: {given}"


def _owner(key: str, names: Iterable[str]) -> Family | None:
    """The family, among those named, that gives a key."""
    families = (family(name) for name in names if name in FAMILIES)
    return next((each for each in families if key in each.scores), None)


def option_names() -> frozenset[str]:
    """Every metadata key that some family reads."""
    return frozenset(option for name in FAMILIES for option in family(name).options)
