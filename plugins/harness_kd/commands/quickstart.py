"""``harness quickstart``; heavy imports stay inside."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import fields
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.plugins import Command, add_run_file
from harness_kd.studies.quickstart import Quickstart
from harness_kd.studies.real import Real

_HELP = {
    "teacher": "shipped teacher",
    "noise": "share of training references that state something unsupported",
    "model": "teacher before its finetuning: model folder or hub name",
    "e2e": "folder with the E2E set's own devset.csv and testset_w_refs.csv",
    "layers": "layers of the students",
    "teacher_epochs": "passes of the teacher over the training rows",
    "kd_ratio": "weight of distillation relative to the hard labels",
    "rows": "training rows",
    "documents": "evaluation documents",
    "epochs": "passes over the training rows",
    "learning_rate": "peak of the cosine schedule",
    "batch_size": "rows per step",
    "seed": "of training data and training",
}
_UNSAID = {"model": "SmolLM2-135M-Instruct, from PyPI", "e2e": "the hub's copy"}


def _options() -> dict[str, dict[type, Any]]:
    """Option -> what a study that knows it takes where it is not given."""
    return {
        name: {
            kind: field.default for kind in (Quickstart, Real) for field in fields(kind) if field.name == name
        }
        for name in _HELP
    }


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--output", type=Path, default=Path("quickstart"), metavar="DIR", help="folder (default: quickstart)"
    )
    parser.add_argument(
        "--board",
        type=Path,
        metavar="FILE",
        help="board to write, NAME.json (default: leaderboard.json in DIR)",
    )
    parser.add_argument(
        "--real",
        action="store_true",
        help="a pretrained model on text that people wrote, in place of the made-up news world (not timed yet)",
    )
    for name, defaults in _options().items():
        said = {kind: _UNSAID.get(name, default) for kind, default in defaults.items()}
        if len(said) == 2 and len(set(said.values())) == 2:
            shown = f"{said[Quickstart]}, with --real {said[Real]}"
        else:
            shown = str(next(iter(said.values())))
        only = "--real: " if Quickstart not in defaults else ""
        default = next(iter(defaults.values()))
        parser.add_argument(
            "--" + name.replace("_", "-"),
            type=Path if name == "e2e" else str if default is None else type(default),
            help=f"{only}{_HELP[name]} (default: {shown})",
            choices=["teacher", "teacher-clean"] if name == "teacher" else None,
        )
    parser.add_argument("--dry-run", action="store_true", help="print the plan, write nothing")
    add_run_file(parser, lambda arguments: arguments.output)


def _run(arguments: Namespace) -> int:
    from harness_kd.studies import quickstart, real

    kind: type[Quickstart | Real] = Real if arguments.real else Quickstart
    given = {name: value for name in _HELP if (value := getattr(arguments, name)) is not None}
    known = {field.name for field in fields(kind)}
    HarnessError.raise_for(
        [
            f"--{name.replace('_', '-')}: {'not with --real' if arguments.real else 'with --real alone'}"
            for name in given
            if name not in known
        ],
        "Leave it out.",
    )
    study: Any = real if arguments.real else quickstart
    settings = kind(output=arguments.output, board=arguments.board, **given)
    if arguments.dry_run:
        print(study.describe(settings))
    else:
        study.run(settings)
    return 0


QUICKSTART = Command(
    name="quickstart",
    help="distil, evaluate and rank small models, offline, in minutes",
    add_arguments=_add_arguments,
    run=_run,
)
