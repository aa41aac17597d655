"""``harness eval`` evaluates a model: a thin front to stock lm-eval with defaults, resuming, and a table with intervals."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.api import DEFAULT_TASKS, eval_request, option_problems
from harness.errors import HarnessError
from harness.files import canonical_json, sha256_bytes
from harness.plugins import Command, add_run_file, names, settings

if TYPE_CHECKING:
    from harness.lmeval.request import EvalRequest

_QA_PROMPT = "{{source}}\nAnswer:"


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="model folder or hub name, or its name at an endpoint; gold scores the references themselves",
    )
    what = parser.add_argument_group("what to evaluate on")
    what.add_argument(
        "--tasks",
        type=names,
        default="",
        help=f"tasks or groups, with commas between (default: {DEFAULT_TASKS})",
    )
    what.add_argument(
        "--data", type=Path, metavar="FILE", help="your own jsonl, json, csv or parquet file, as a task"
    )
    what.add_argument(
        "--source-field", metavar="NAME", help="its column with the text to summarise, or the question"
    )
    what.add_argument(
        "--reference-field", metavar="NAME", help="its column with the reference, or a list of them"
    )
    what.add_argument(
        "--prompt", metavar="TEMPLATE", help="prompt for --data; {{source}} stands for the text"
    )
    what.add_argument(
        "--qa", action="store_true", help="--data holds questions: short answers count as answers"
    )
    what.add_argument("--data-dir", type=Path, metavar="PATH", help="local copy of the tasks' data")
    what.add_argument(
        "--limit", type=int, metavar="N", help="only the first N documents of each task; for trials"
    )
    what.add_argument("--num-fewshot", type=int, metavar="N", help="solved examples in the prompt")
    how = parser.add_argument_group("how")
    how.add_argument(
        "--metrics",
        type=names,
        metavar="NAMES",
        help="metric families, with commas between (default: the task's own)",
    )
    how.add_argument(
        "--without",
        type=names,
        action="append",
        default=[],
        metavar="NAMES",
        help="metric families to leave out; may be given several times",
    )
    how.add_argument(
        "--metadata",
        type=settings,
        metavar="OPTIONS",
        help="further options of the tasks and metrics, as key=value,key=value or a JSON object",
    )
    how.add_argument(
        "--chat",
        action="store_true",
        default=None,
        help="ask in the model's chat template, in the tasks' wording for it (default: where it has one)",
    )
    how.add_argument(
        "--no-chat-template",
        action="store_true",
        help="ask in the tasks' words for base models, also where the model has a chat template",
    )
    how.add_argument(
        "--gen-kwargs",
        type=settings,
        default="",
        metavar="K=V,...",
        help="decoding in place of the tasks' own, e.g. max_gen_toks=64, or a JSON object",
    )
    how.add_argument("--backend", default="hf", help="model backend of lm-eval (default: hf)")
    how.add_argument(
        "--model-args",
        type=settings,
        default="",
        metavar="K=V,...",
        help="further arguments of the backend, e.g. dtype=bfloat16",
    )
    how.add_argument("--batch-size", help="prompts at once, or auto (default: 16; of an endpoint 1)")
    how.add_argument("--device", help="torch device (default: the accelerator, else the processor)")
    how.add_argument(
        "--output",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="results folder (default: results)",
    )
    how.add_argument(
        "--fresh", action="store_true", help="ask the model again instead of resuming from kept responses"
    )
    how.add_argument("--dry-run", action="store_true", help="print the lm_eval command and stop")
    add_run_file(parser, _run_file)


def _run(arguments: Namespace) -> int:
    from harness.lmeval.results_table import summary_table
    from harness.lmeval.run import check_model, command_line, evaluate, settled

    request = _request(arguments)
    check_model(request, download=not arguments.dry_run)
    open_question, request = request.apply_chat_template is None, settled(request)
    print(command_line(request), flush=True)
    if open_question and request.apply_chat_template:
        print("asked in the model's chat template; in words for base models: --no-chat-template", flush=True)
    if arguments.dry_run:
        return 0
    folder = evaluate(request)
    print(f"\n{summary_table(folder)}\nresults: {folder}")
    return 0


def _request(arguments: Namespace) -> EvalRequest:
    _check(arguments)
    return eval_request(
        arguments.model,
        "kd_custom_factual" if arguments.data else arguments.tasks,
        output=arguments.output,
        limit=arguments.limit,
        num_fewshot=arguments.num_fewshot,
        metadata=_metadata(arguments),
        chat=False if arguments.no_chat_template else arguments.chat,
        gen_kwargs=_pairs(arguments.gen_kwargs, "--gen-kwargs"),
        backend=arguments.backend,
        model_args=_model_args(arguments.model_args),
        batch_size=arguments.batch_size,
        device=arguments.device,
        fresh=arguments.fresh,
    )


def _run_file(arguments: Namespace) -> Path:
    """Beside the results; one for each kind of call, since a results folder takes many."""
    given = {name: str(value) for name, value in vars(arguments).items()}
    digest = sha256_bytes(canonical_json(given).encode())[:8]
    return Path(arguments.output) / f"{Path(arguments.model).name or 'model'}-{digest}"


def _check(arguments: Namespace) -> None:
    problems = []
    if arguments.data and (arguments.tasks or arguments.data_dir):
        problems.append("--data is a task of its own and cannot stand beside --tasks or --data-dir")
    if arguments.data and not arguments.data.exists():
        problems.append(f"--data {arguments.data}: no such file")
    if arguments.chat and arguments.no_chat_template:
        problems.append("--chat and --no-chat-template contradict each other")
    for option in ("source_field", "reference_field", "prompt", "qa"):
        if getattr(arguments, option) and not arguments.data:
            problems.append(f"--{option.replace('_', '-')} describes --data, which is not given")
    wrong = option_problems(arguments.limit, arguments.batch_size, arguments.num_fewshot)
    problems += [
        f"--{problem.replace('batch_size', 'batch-size').replace('num_fewshot', 'num-fewshot')}"
        for problem in wrong
    ]
    HarnessError.raise_for(problems, "`harness eval --help` explains the options.")


def _metadata(arguments: Namespace) -> dict[str, Any]:
    from harness.lmeval.request import parse_metadata

    metadata: dict[str, Any] = parse_metadata(arguments.metadata) if arguments.metadata else {}
    if arguments.metrics:
        metadata["metrics"] = arguments.metrics.split(",")
    if arguments.without:
        metadata["without"] = ",".join(arguments.without).split(",")
    if local := arguments.data or arguments.data_dir:
        metadata["data_dir"] = str(local)
    if arguments.qa:
        metadata |= {"answer_min_words": 0, "prompt": _QA_PROMPT}
    if arguments.prompt:
        metadata["prompt"] = arguments.prompt
    for option in ("source_field", "reference_field"):
        if column := getattr(arguments, option):
            metadata[option] = column
    return metadata


def _pairs(text: str, option: str) -> dict[str, Any]:
    from harness.lmeval.request import parse_metadata

    return parse_metadata(text, option) if text else {}


def _model_args(text: str) -> dict[str, Any]:
    if text.lstrip().startswith("{"):
        from harness.lmeval.request import parse_metadata

        return parse_metadata(text, "--model-args")
    pairs = [pair.partition("=") for pair in text.split(",") if pair]
    HarnessError.raise_for(
        [f"--model-args: {key!r} has no value" for key, equals, _ in pairs if not equals],
        "Write key=value,key=value.",
    )
    return {key.strip(): value for key, _, value in pairs}


COMMAND = Command(
    name="eval",
    help="evaluate a model's faithfulness",
    add_arguments=_add_arguments,
    run=_run,
)
