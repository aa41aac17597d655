"""Command-line options that stand for fields of the plan; one that is not given is absent from the namespace."""

from __future__ import annotations

import argparse
import dataclasses
from argparse import ArgumentParser
from typing import Any

from harness.models.device import DTYPES
from harness_kd.plan import ENGINES, OVERLONG, TrainPlan

DEFAULTS = {field.name: field.default for field in dataclasses.fields(TrainPlan)}


def add_option(parser: ArgumentParser, name: str, help_text: str, **kwargs: Any) -> None:
    """Add ``--name`` for a field of `TrainPlan`, of its default's type; without one it is required."""
    default = DEFAULTS[name]
    flag = "--" + name.replace("_", "-")
    if isinstance(default, bool):
        parser.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=help_text)
    elif default is dataclasses.MISSING:
        parser.add_argument(flag, required=True, help=help_text, **kwargs)
    else:
        kind = kwargs.pop("type", str if default is None else type(default))
        shown = "" if default in (None, "") else f" (default: {default})"
        parser.add_argument(flag, default=argparse.SUPPRESS, type=kind, help=help_text + shown, **kwargs)


def add_data_options(parser: ArgumentParser) -> None:
    """Options that decide the tokenised examples and their soft labels."""
    add_option(
        parser,
        "data",
        "JSON Lines file, or dolly, cnndm, e2e, newsworld with options: newsworld?n=2000&noise=0.4&seed=0",
        metavar="PATH_OR_NAME",
    )
    add_option(parser, "max_length", "tokens of prompt and response together")
    add_option(parser, "max_prompt_length", "tokens of the prompt")
    add_option(parser, "overlong", "what to do with longer rows", choices=OVERLONG)
    add_option(parser, "top_k", "teacher entries kept per token, at most")
    add_option(parser, "max_tail", "keep fewer entries once the mass outside them is at most this")
    add_option(
        parser, "tail_draws", "unbiased labels: draws that stand for the mass outside the kept entries"
    )
    add_option(parser, "teacher_dtype", "precision that the teacher runs in", choices=("auto", *DTYPES))
    add_option(parser, "engine", "what captures the soft labels", choices=ENGINES)
    add_option(parser, "temperature", "temperature of the distillation loss")
