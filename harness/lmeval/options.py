"""What a task is told: the ``factual`` block of its YAML, overridden key by key by ``--metadata``.

lm-eval merges the model's arguments into the metadata, so an unknown key cannot be an error; one that is nearly a known key
is.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.documents import DataSpec
from harness.errors import HarnessError
from harness.lmeval import wording
from harness.lmeval.wording import Wording
from harness.metrics.answers import AnswerRule
from harness.metrics.registry import FAMILIES, build, option_names
from harness.metrics.suite import Bootstrap, Suite

_KNOWN_KEYS = frozenset(
    """version config_source metrics without answer_min_words refusals n_resamples bootstrap_seed prompt chat alias_of
    data_dir fields source_field reference_field separator sentence_marks merge n_documents data_seed
    template instruction response_tokens fewshot_data""".split()
)


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """The parsed metadata of a task."""

    version: str
    families: tuple[str, ...]
    """Metric families, see `harness.metrics.registry`."""
    metric_options: Mapping[str, Any]
    """The families' options as given; defaults are left out."""
    data: DataSpec
    suite: Suite
    bootstrap: Bootstrap
    wording: Wording
    """How the task asks, where that is not the YAML's way."""
    alias_of: str | None
    """The task that this is a former name of, for use under a chat template only."""


def parse(config: Mapping[str, Any]) -> TaskOptions:
    """Read the options of a task from its lm-eval configuration.

    Raises:
        HarnessError: If a key is misspelt or a value has the wrong type; all of them at once.
    """
    metadata: dict[str, Any] = {**(config.get("factual") or {}), **(config.get("metadata") or {})}
    _refuse_misspelt(metadata)
    families = _families(metadata)
    tokens = _whole_number(metadata, "response_tokens", 0) if "response_tokens" in metadata else None
    asked = wording.read(config, metadata, _columns(metadata), response_tokens=tokens)
    rule = AnswerRule(
        min_words=_whole_number(metadata, "answer_min_words", 5),
        refusals=bool(metadata.get("refusals", True)),
    )
    return TaskOptions(
        version=str(metadata.get("version", "")),
        families=families,
        metric_options={key: metadata[key] for key in sorted(option_names() & metadata.keys())},
        data=_data_spec(config, metadata, asked.fields),
        suite=Suite(build(families, metadata), rule),
        bootstrap=Bootstrap(
            n_resamples=_whole_number(metadata, "n_resamples", 1000),
            seed=_whole_number(metadata, "bootstrap_seed", 12345),
        ),
        wording=asked,
        alias_of=metadata.get("alias_of"),
    )


def _families(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """The metric families asked for, without those to be left out.

    Raises:
        HarnessError: If one to be left out is none: the one that was meant would be computed.
    """
    left_out = _names(metadata.get("without", ()))
    HarnessError.raise_for(
        [f"without: unknown metric family {name!r}" for name in left_out if name not in FAMILIES],
        f"Choose from: {', '.join(FAMILIES)}.",
    )
    return tuple(name for name in _names(metadata.get("metrics", ())) if name not in left_out)


def _names(value: str | Sequence[str]) -> tuple[str, ...]:
    """Names from a list, or from a shell word such as ``rouge,chrf`` or ``rouge+chrf`` (lm-eval splits arguments at commas)."""
    names = value.replace("+", ",").split(",") if isinstance(value, str) else value
    return tuple(name.strip() for name in names if name.strip())


def _columns(metadata: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    """The columns that may hold each field of a document."""
    columns: dict[str, Sequence[Any]] = {
        name: [candidates] if isinstance(candidates, str) else candidates
        for name, candidates in (metadata.get("fields") or {}).items()
    }
    for option, name in (("source_field", "source"), ("reference_field", "references")):
        if option in metadata:
            columns[name] = [metadata[option]]
    return columns


def _data_spec(config: Mapping[str, Any], metadata: Mapping[str, Any], columns: wording.Fields) -> DataSpec:
    marks = metadata.get("sentence_marks")
    split, examples = str(config.get("test_split") or "test"), config.get("fewshot_split")
    return DataSpec(
        path=str(config.get("dataset_path")),
        name=config.get("dataset_name"),
        revision=(config.get("dataset_kwargs") or {}).get("revision"),
        split=split,
        fewshot_split=None if examples in (None, split) else str(examples),
        fewshot_data=_data_dir(metadata.get("fewshot_data"), str(config.get("task"))),
        data_dir=_data_dir(metadata.get("data_dir"), str(config.get("task"))),
        fields=columns,
        references_named="reference_field" in metadata,
        separator=metadata.get("separator"),
        sentence_marks=(marks[0], marks[1]) if marks else None,
        merge=bool(metadata.get("merge", False)),
        n_documents=_whole_number(metadata, "n_documents", 1000),
        seed=_whole_number(metadata, "data_seed", 0),  # "seed" is an argument of some model backends,
    )


def _data_dir(given: str | None, task: str) -> str | None:
    """The task's own data: a subfolder or file named after it where there is one, so that one folder serves a group."""
    if given is None:
        return None
    name = task.removesuffix("_chat")
    own = sorted(Path(given).expanduser().glob(f"{name}*"))
    return str(next((path for path in own if path.stem == name), given))


def _whole_number(metadata: Mapping[str, Any], key: str, default: int) -> int:
    """A number of the metadata, none of which may be below 0."""
    value = metadata.get(key, default)
    try:
        number = int(value)
        if isinstance(value, bool) or number != float(value) or number < 0:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise HarnessError(
            f"--metadata {key}={value!r} is not a whole number of 0 or more", f"For example: {key}={default}."
        ) from None
    return number


def _refuse_misspelt(metadata: Mapping[str, Any]) -> None:
    known = _KNOWN_KEYS | option_names()
    problems = []
    for key in metadata:
        if key not in known and (near := difflib.get_close_matches(key, known, n=1, cutoff=0.85)):
            problems.append(f"unknown metadata key {key!r}: did you mean {near[0]!r}?")
    HarnessError.raise_for(problems, f"Known keys: {', '.join(sorted(known - {'config_source'}))}.")
