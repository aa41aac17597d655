"""What a configuration describes: a kind of model, and one of it without memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.models.hub import first_line
from harness.models.weights import read_json

REMEDY = "Weights and config.json must belong together: download or save the model again, whole."


def read_config(folder: Path, *, what: str) -> Any:
    """The configuration of a model as transformers reads it; no code of the repository runs.

    Raises:
        HarnessError: If it is damaged, or of an unknown kind.
    """
    from transformers import AutoConfig

    read_json(folder / "config.json")
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # what is wrong with the settings has error types that differ between releases
        reason = first_line(error.__cause__ or error)
        raise HarnessError(
            f"{what}: config.json describes no model that can be built here: {reason}", REMEDY
        ) from error


def require_one_kind(stated: Mapping[str, Any], config: Any, model: Any, what: str) -> None:
    """Refuse an architecture of another model type: two types may have the same weights, and compute something else."""
    parts = (getattr(config, name, None) for name in getattr(config, "sub_configs", None) or ())
    known = {config.model_type, *(getattr(part, "model_type", None) for part in parts)}
    for name in stated.get("architectures") or []:
        kind = _kind_of(str(name))
        if kind and kind not in known and name != type(model).__name__:
            raise HarnessError(
                f"{what}: config.json contradicts itself: model_type is {config.model_type}, but {name} is a {kind}",
                REMEDY,
            )


def _kind_of(architecture: str) -> str | None:
    """Model type of a class of transformers; None for a name that it does not have, or whose packages are not here."""
    import transformers

    try:
        return str(getattr(transformers, architecture).config_class.model_type)
    except (AttributeError, ImportError):
        return None


def language_model_class(config: Any) -> Any:
    """The class of transformers that loads a configuration as a language model, decoder-only or encoder-decoder."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    return AutoModelForSeq2SeqLM if getattr(config, "is_encoder_decoder", False) else AutoModelForCausalLM


def empty_model(config: Any, *, what: str) -> Any:
    """A language model of a configuration, whose weights have shapes and no memory.

    Raises:
        HarnessError: If there is no such language model.
    """
    import torch

    try:
        with torch.device("meta"), quiet_loading(silent=True):
            return language_model_class(config).from_config(config, trust_remote_code=False)
    except Exception as error:  # whatever sizes do not fit each other, in any architecture
        raise HarnessError(
            f"{what}: config.json describes no language model that can be built: {first_line(error)}", REMEDY
        ) from error


@contextmanager
def quiet_loading(*, silent: bool = False) -> Iterator[list[str]]:
    """Keep back transformers' own report, which only warns of what is refused here, and give what it said.

    Args:
        silent: Keep back all else too, and the bars: nothing is really loaded.
    """
    from transformers.utils import logging as transformers_logging

    kept: list[str] = []

    def keep_back(record: logging.LogRecord) -> bool:
        if record.levelno < logging.ERROR:
            kept.append(record.getMessage())
        return record.levelno >= logging.ERROR

    reporter, library = (logging.getLogger(name) for name in ("transformers.modeling_utils", "transformers"))
    levels, bars = (reporter.level, library.level), transformers_logging.is_progress_bar_enabled()
    reporter.setLevel(logging.INFO)  # whatever is shown otherwise, the report is made
    reporter.addFilter(keep_back)
    if silent:
        library.setLevel(logging.ERROR)
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield kept
    finally:
        reporter.removeFilter(keep_back)
        reporter.setLevel(levels[0])
        library.setLevel(levels[1])
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
