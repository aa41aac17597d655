"""``harness soft-labels``. Heavy imports stay inside the functions that run."""

from __future__ import annotations

import dataclasses
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.plugins import Command, add_run_file, names
from harness.quiet import hide_loading_bars
from harness_kd.commands.options import DEFAULTS, add_data_options, add_option
from harness_kd.plan import TrainPlan

_DRY_RUN = "check everything, print the plan, write nothing"


def _add_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    capture = actions.add_parser("capture", help="store the teacher's soft labels of a data set")
    add_option(capture, "teacher", "model folder, or hub name[@revision]", metavar="PATH", required=True)
    capture.add_argument(
        "--output", required=True, metavar="DIR", help="cache folder; a second call adds what is missing"
    )
    capture.add_argument(
        "--student",
        metavar="PATH",
        help="tokenise as for this student, whose chat template may be another (default: the teacher)",
    )
    add_data_options(capture)
    capture.add_argument("--dry-run", action="store_true", help=_DRY_RUN)
    add_run_file(capture, lambda arguments: Path(arguments.output))
    _add_fidelity(
        actions.add_parser("fidelity", help="what each K would keep of the teacher, before capturing")
    )
    _add_generate(
        actions.add_parser("generate", help="the teacher's own responses, for sequence-level distillation")
    )
    for name, help_text in (("inspect", "say what a cache holds"), ("verify", "check every file of a cache")):
        action = actions.add_parser(name, help=help_text)
        action.add_argument("folder", type=Path, metavar="DIR", help="cache folder")
    merge = actions.add_parser("merge", help="several caches of one kind into one")
    merge.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="cache folders")
    merge.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="cache folder, new or of the same kind"
    )
    export = actions.add_parser("export", help="a cache as one Parquet file")
    export.add_argument("folder", type=Path, metavar="DIR", help="cache folder")
    export.add_argument("--output", type=Path, required=True, metavar="FILE", help="file to write (.parquet)")


def _add_fidelity(parser: ArgumentParser) -> None:
    add_option(parser, "teacher", "model folder, or hub name[@revision]", metavar="PATH", required=True)
    add_data_options(parser)
    parser.add_argument(
        "--student",
        metavar="PATH",
        help="tokenise as for it and measure with its gradient (default: the teacher, at twice the temperature)",
    )
    parser.add_argument(
        "--ks", type=names, default="8,16,32,64,128", help="to compare (default: 8,16,32,64,128)"
    )
    parser.add_argument("--tokens", type=int, default=512, help="response tokens to measure (default: 512)")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="report to write (.md); a plot (.svg) and numbers (.json) go beside it",
    )
    add_run_file(parser, lambda arguments: arguments.output)


def _add_generate(parser: ArgumentParser) -> None:
    add_option(parser, "teacher", "model folder, or hub name[@revision]", metavar="PATH", required=True)
    add_option(parser, "data", "as for train-kd; its references are not looked at", metavar="PATH_OR_NAME")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="JSON Lines that train-kd --data reads"
    )
    add_option(parser, "max_prompt_length", "tokens of the prompt; rows with longer ones are left out")
    parser.add_argument("--max-new-tokens", type=int, default=256, help="of a response (default: 256)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (default: 0)")
    parser.add_argument("--top-p", type=float, default=1.0, help="sample from this mass (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the sampling; kept in each row (default: 0)")
    parser.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="ends a response; \\n is a new line"
    )
    parser.add_argument("--batch-size", type=int, default=16, help="prompts at once (default: 16)")
    parser.add_argument("--dry-run", action="store_true", help=_DRY_RUN)
    add_run_file(parser, lambda arguments: arguments.output)


def _run(arguments: Namespace) -> int:
    actions = {
        "capture": _capture,
        "fidelity": _fidelity,
        "generate": _generate,
        "inspect": _inspect,
        "verify": _verify,
        "merge": _merge,
        "export": _export,
    }
    return actions[arguments.action](arguments)


def _plan_of(arguments: Namespace, output: str) -> TrainPlan:
    """Both models share the vocabulary, so the teacher can stand in for the student."""
    options = {
        name: getattr(arguments, name)
        for name in DEFAULTS
        if name not in ("output", "student") and hasattr(arguments, name)
    }
    student = arguments.student or arguments.teacher
    return TrainPlan(student=student, output=output, soft_labels=output, kd_ratio=1.0, **options)


def _capture(arguments: Namespace) -> int:
    from harness_kd.dry_run.describe import describe_capture
    from harness_kd.progress import duration
    from harness_kd.training.train import capture_labels, prepare

    prepared = prepare(_plan_of(arguments, arguments.output))
    hide_loading_bars()
    if arguments.dry_run:
        print(describe_capture(prepared))
        return 0
    started = time.perf_counter()
    count = capture_labels(prepared)
    print(f"{count} examples captured into {arguments.output} in {duration(time.perf_counter() - started)}")
    return 0


def _fidelity(arguments: Namespace) -> int:
    from harness.files import canonical_json, write_atomic
    from harness.models.source import ModelSource
    from harness_kd.placement import place
    from harness_kd.soft_labels.fidelity import figure, measure, recommend, table
    from harness_kd.training.train import prepare

    if arguments.output is not None and arguments.output.suffix != ".md":
        raise HarnessError(
            f"{arguments.output}: the report is markdown", f"Write {arguments.output.stem}.md."
        )
    try:
        ks = [int(word) for word in arguments.ks.split(",")]
    except ValueError:
        raise HarnessError(f"--ks {arguments.ks!r} are no numbers", "Give --ks as in 8,16,32,64.") from None
    prepared = prepare(_plan_of(arguments, "unused"))
    hide_loading_bars()
    student = (
        None if arguments.student is None else ModelSource.find(arguments.student, role="student").placed()
    )
    if prepared.teacher is None or prepared.manifest is None:
        raise AssertionError("a plan with a teacher has labels")
    found = measure(
        place(prepared.teacher, dtype=prepared.manifest.teacher_dtype),
        prepared.data.examples,
        prepared.manifest,
        ks=ks,
        tokens=arguments.tokens,
        student=student,
    )
    report = f"{table(found)}\n\n{recommend(found)}"
    print(report)
    if arguments.output is not None:
        picture = arguments.output.with_suffix(".svg")
        write_atomic(picture, figure(found))
        write_atomic(
            arguments.output.with_suffix(".json"), canonical_json([vars(one) for one in found]) + "\n"
        )
        title = f"# Fidelity of soft labels: {prepared.teacher.name}\n\n{arguments.tokens} response tokens of {arguments.data}."
        write_atomic(arguments.output, f"{title}\n\n{report}\n\n![gradient bias over K]({picture.name})\n")
    return 0


def _generate(arguments: Namespace) -> int:
    from harness.generation import Decoding
    from harness_kd.studies.teacher_responses import SequencePlan, generate, prepare

    decoding = Decoding(
        max_new_tokens=arguments.max_new_tokens,
        temperature=arguments.temperature,
        top_p=arguments.top_p,
        seed=arguments.seed,
        stop=tuple(text.replace("\\n", "\n") for text in arguments.stop),
    )
    plan = SequencePlan(
        teacher=arguments.teacher,
        data=arguments.data,
        output=arguments.output,
        decoding=decoding,
        max_prompt_length=int(getattr(arguments, "max_prompt_length", TrainPlan.max_prompt_length)),
        batch_size=arguments.batch_size,
    )
    prepared = prepare(plan)
    hide_loading_bars()
    if arguments.dry_run:
        print(prepared.describe())
        return 0
    counts = generate(prepared)
    print(
        f"{plan.output}: " + ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items())
    )
    return 0


def _inspect(arguments: Namespace) -> int:
    from harness_kd.soft_labels.cache import SoftLabelCache, label_files
    from harness_kd.soft_labels.manifest import Manifest

    manifest = Manifest.read(arguments.folder)
    cache = SoftLabelCache(arguments.folder, manifest)
    files = label_files(arguments.folder)
    size, tokens = sum(file.stat().st_size for file in files), cache.tokens
    shown: dict[str, Any] = dataclasses.asdict(manifest)
    shown |= {"examples": len(cache), "tokens": tokens, "files": len(files)}
    for name, value in shown.items():
        print(f"{name:18} {'none' if value == '' else value}")
    print(f"{'bytes':18} {size}" + (f" ({size / tokens:.1f} per token)" if tokens else ""))
    return 0


def _verify(arguments: Namespace) -> int:
    from harness_kd.soft_labels.cache import verify

    if not arguments.folder.is_dir():
        raise HarnessError(f"{arguments.folder}: no such folder", "Give a folder of soft labels.")
    print(f"{verify(arguments.folder)} files are whole")
    return 0


def _merge(arguments: Namespace) -> int:
    from harness_kd.soft_labels.transfer import merge

    print(f"{arguments.output}: {merge(arguments.folders, arguments.output)} examples")
    return 0


def _export(arguments: Namespace) -> int:
    from harness_kd.soft_labels.transfer import export

    print(f"{arguments.output}: {export(arguments.folder, arguments.output)} tokens")
    return 0


SOFT_LABELS = Command(
    name="soft-labels",
    help="capture a teacher's soft labels or responses; measure, check, merge and export them",
    add_arguments=_add_arguments,
    run=_run,
)
