"""``harness lookback`` fits, imports and shows; heavy imports stay inside."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.plugins import Command, add_run_file

if TYPE_CHECKING:
    from harness.lookback.rows import Labeller

_ROWS = """
Rows are JSON Lines: {"context": document, "prompt": text that holds it, "response": ..., "spans": [[start, end], ...]};
spans are the hallucinated characters of the response. Without a prompt, --template makes it.
"""


def _add_arguments(parser: ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    _add_fit(
        verbs.add_parser(
            "fit",
            help="fit a classifier on responses with labelled spans",
            description="Fit a classifier of factual windows on a model's own attention." + _ROWS,
            formatter_class=RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
    )
    importing = verbs.add_parser(
        "import", help="convert a published pickle, of which nothing is run", allow_abbrev=False
    )
    importing.add_argument("pickle", type=Path, help="file with 'clf' and 'best_threshold'")
    importing.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="classifier to write (.safetensors)"
    )
    importing.add_argument("--layers", type=int, help="of the model (default: as many as heads)")
    showing = verbs.add_parser(
        "show", help="article and response with windows coloured, as a page", allow_abbrev=False
    )
    showing.add_argument(
        "results",
        type=Path,
        help="a results folder of lm_eval or harness eval, its samples file, or a record",
    )
    showing.add_argument("--output", type=Path, required=True, metavar="FILE", help="page to write (.html)")
    showing.add_argument("--task", help="of several in the folder")
    showing.add_argument("--limit", type=int, default=100, help="samples on the page (default: 100)")


def _add_fit(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--model", required=True, help="folder or hub name of the model that reads the responses"
    )
    parser.add_argument("--revision", help="of a model on the hub: commit, tag or branch")
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="rows to fit on")
    parser.add_argument(
        "--test", type=Path, metavar="FILE", help="held-out rows (default: a fifth of the documents)"
    )
    parser.add_argument("--transfer", type=Path, metavar="FILE", help="rows of another task")
    parser.add_argument(
        "--labels",
        default="spans",
        metavar="FROM",
        help="spans (in the rows), oracle (news world), or judge:NAME, applied to each sentence (default: spans)",
    )
    parser.add_argument(
        "--spans",
        choices=["sliding", "predefined"],
        default="sliding",
        help="fit on windows of 8 tokens, as the factual rate is scored, or on the annotated spans and what is between them",
    )
    parser.add_argument("--template", help="prompt of rows that have none, with {context}")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="classifier to write (.safetensors)"
    )
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--device", help="torch device (default: the accelerator, else the processor)")
    parser.add_argument("--dtype", default="auto", help="of the model's weights (default: as stored)")
    add_run_file(parser, lambda arguments: arguments.output)


def _run(arguments: Namespace) -> int:
    return {"fit": _fit, "import": _import, "show": _show}[arguments.verb](arguments)


def _fit(arguments: Namespace) -> int:
    from harness.files import sha256_file
    from harness.lookback.fit import evaluate, fit, held_out, read_examples, split, table
    from harness.lookback.rows import TEMPLATE, read_rows
    from harness.models.load import load_language_model
    from harness.quiet import hide_loading_bars

    _check_suffix(arguments.output)
    hide_loading_bars()
    template = arguments.template or TEMPLATE
    if "{context}" not in template:
        raise HarnessError(f"--template {template!r} has no {{context}}", f"For example: {TEMPLATE!r}.")
    labeller = _labeller(arguments.labels)
    rows = {"train": read_rows(arguments.data, labeller, template)}
    for part in ("test", "transfer"):
        if path := getattr(arguments, part):
            rows[part] = read_rows(path, labeller, template)
    if "test" not in rows:
        rows["train"], rows["test"] = split(rows["train"], 0.2)
    lm = load_language_model(
        arguments.model,
        device=arguments.device,
        dtype=arguments.dtype,
        batch_size=arguments.batch_size,
        revision=arguments.revision,
    )
    found = {part: read_examples(lm, these) for part, these in rows.items() if these}
    if "train" not in found:
        raise HarnessError(
            f"{arguments.data}: too few documents to hold some out", "Give --test, or more rows."
        )
    info = {
        "model": lm.name.rstrip("/").rsplit("/", 1)[-1],
        "labels": arguments.labels,
        "data_sha256": sha256_file(arguments.data),
    }
    classifier = fit(lm, found["train"], arguments.spans, info)
    proof = held_out(classifier, found.get("test", []))
    classifier = replace(classifier, info={**classifier.info, "held_out": proof.to_dict()})
    classifier.save(arguments.output)
    measured = [
        ("lookback lens", scheme, {part: evaluate(classifier, e, scheme) for part, e in found.items()})
        for scheme in ("predefined", "sliding")
    ]
    print(f"AUROC, fitted on {arguments.spans} spans:\n{table(measured)}")
    print(f"rows: {', '.join(f'{part} {len(e)}' for part, e in found.items())}")
    print(f"classifier: {arguments.output} (threshold {classifier.threshold:.4f})")
    print(f"windows of 8: {proof}")
    if not proof.beats_chance:
        print(
            "It learned nothing that shows: the interval of its held-out AUROC holds 0.5, which is chance, or there is none. "
            "It is refused wherever it is loaded, unless told: --metadata lookback_unproven=true."
        )
        return 0
    print(f"use it: lm_eval ... --metadata lookback_classifier={arguments.output}")
    return 0


def _labeller(name: str) -> Labeller | None:
    from harness.lookback.rows import judge_labeller, oracle_labeller

    if name == "spans":
        return None
    if name == "oracle":
        return oracle_labeller
    if name.startswith("judge:"):
        from harness.judges import load

        return judge_labeller(load(name.removeprefix("judge:")))
    raise HarnessError(f"--labels {name}: no such source of labels", "Choose spans, oracle or judge:NAME.")


def _check_suffix(path: Path) -> None:
    if path.suffix != ".safetensors":
        raise HarnessError(
            f"--output {path}: a classifier is a .safetensors file", f"Write {path.stem}.safetensors."
        )


def _import(arguments: Namespace) -> int:
    from harness.lookback.pickle_import import read_pickle

    _check_suffix(arguments.output)
    classifier = read_pickle(arguments.pickle, layers=arguments.layers)
    classifier.save(arguments.output)
    layers, heads = classifier.layout
    print(f"{arguments.output}: {layers} layers x {heads} heads, threshold {classifier.threshold:.6g}")
    print("It fits only the model it was fitted on, or one of the same layers and heads finetuned from it.")
    return 0


def _show(arguments: Namespace) -> int:
    from harness.board.windows import read_windows
    from harness.board.windows_page import page
    from harness.files import write_atomic

    title, samples = read_windows(arguments.results, arguments.task)
    write_atomic(arguments.output, page(title, samples[: arguments.limit]))
    print(f"{arguments.output}: {min(arguments.limit, len(samples))} of {len(samples)} samples")
    return 0


COMMAND = Command(
    name="lookback",
    help="fit, import and show Lookback Lens classifiers",
    add_arguments=_add_arguments,
    run=_run,
)
