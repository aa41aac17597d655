"""``harness generate``: a model's responses to a file of prompts, plain or guided by a lookback classifier."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.questions import SOURCES, Asked, read_questions
from harness.errors import HarnessError
from harness.plugins import Command, add_run_file

if TYPE_CHECKING:
    from harness.generation import Answer, Decoding
    from harness.models.load import LanguageModel


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="folder or hub name")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="FILE",
        help=f"JSON Lines with prompt; with messages; or with {', '.join(SOURCES[:3])}, ... and --template",
    )
    parser.add_argument(
        "--template", metavar="TEXT", help="prompt of rows that have none, with {source}; \\n is a new line"
    )
    parser.add_argument(
        "--no-chat-template",
        action="store_true",
        help="give prompts as they are, also where the model has a chat template (default: as the user's turn of it)",
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="JSON Lines with prompt and response"
    )
    parser.add_argument("--max-new-tokens", type=int, default=128, help="default: 128")
    parser.add_argument("--temperature", type=float, help="0 is greedy (default: 0; guided: 0.9)")
    parser.add_argument("--top-p", type=float, default=1.0, help="sample from this mass (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the sampling (default: 0)")
    parser.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="ends a response; \\n is a new line"
    )
    parser.add_argument("--limit", type=int, help="rows, from the start")
    parser.add_argument("--batch-size", type=int, default=16, help="prompts at once (default: 16)")
    parser.add_argument("--revision", help="of a model on the hub")
    parser.add_argument("--device", help="torch device (default: the accelerator, else the processor)")
    parser.add_argument("--dtype", default="auto", help="of the weights (default: as stored)")
    guidance = parser.add_argument_group("guided decoding")
    guidance.add_argument(
        "--lookback-guided",
        action="store_true",
        help="sample several continuations, keep the one the classifier prefers",
    )
    guidance.add_argument(
        "--classifier", metavar="FILE", default="shipped", help="of harness lookback fit (default: shipped)"
    )
    guidance.add_argument(
        "--choose",
        choices=["lookback", "probability"],
        default="lookback",
        help="by the classifier, or by the model's own probability (default: lookback)",
    )
    guidance.add_argument("--candidates", type=int, default=8, help="continuations (default: 8)")
    guidance.add_argument("--chunk", type=int, default=8, help="tokens before each choice (default: 8)")
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything, print the plan, write nothing"
    )
    add_run_file(parser, lambda arguments: arguments.output)


def _run(arguments: Namespace) -> int:
    from harness.files import write_jsonl
    from harness.generation import Decoding, end_tokens, forget, respond
    from harness.metrics.loops import loops

    template = arguments.template.replace("\\n", "\n") if arguments.template else None
    asked = read_questions(arguments.data, template=template, limit=arguments.limit)
    guided = arguments.lookback_guided
    temperature = arguments.temperature if arguments.temperature is not None else 0.9 if guided else 0.0
    decoding = Decoding(
        max_new_tokens=arguments.max_new_tokens,
        temperature=temperature,
        top_p=arguments.top_p,
        seed=arguments.seed,
        stop=tuple(text.replace("\\n", "\n") for text in arguments.stop),
    )
    lm, model = _model(arguments)
    lm, prompts = _in_template(arguments, lm, asked)
    ids = [lm.encode(prompt) for prompt in prompts]
    _check_lengths(ids, lm.max_length, decoding.max_new_tokens)
    answer, how = _answer(arguments, lm, decoding, prompts, [one.source for one in asked])
    print(
        f"{len(ids)} prompts, {sum(map(len, ids)):,} tokens; at most {len(ids) * decoding.max_new_tokens:,} more; {how}"
    )
    if arguments.dry_run:
        return 0
    work = arguments.output.parent / f".{arguments.output.name}.parts"
    made_by = {"model": model, "how": how, "batch_size": arguments.batch_size}
    found = respond(
        lm.tokenizer,
        ids,
        answer,
        decoding,
        work=work,
        made_by=made_by,
        batch_size=arguments.batch_size,
        ends=end_tokens(lm.model, lm.tokenizer),
    )
    made = [
        {
            **one.with_response(response.text),
            "finished": response.finished,
            "tokens": response.tokens,
            "seed": response.seed,
        }
        for one, response in zip(asked, found, strict=True)
    ]
    write_jsonl(arguments.output, made)
    forget(work)
    cut = sum(not one.finished for one in found)
    empty = sum(not one.text.strip() for one in found)
    looping = sum(loops(one.text) for one in found)
    print(
        f"{arguments.output}: {len(made)} responses, {empty} empty, {cut} cut at {decoding.max_new_tokens} tokens, "
        f"{looping} that end in a loop"
    )
    return 0


def _in_template(
    arguments: Namespace, lm: LanguageModel, asked: Sequence[Asked]
) -> tuple[LanguageModel, list[str]]:
    """The model and the texts that it is given: in its chat template where it has one, unless told otherwise.

    Raises:
        HarnessError: If rows are chats and there is no template, or prompts stand in one already.
    """
    from harness.models.chat import in_template, marks_in

    if arguments.no_chat_template or not lm.tokenizer.chat_template:
        why = (
            "--no-chat-template is given" if arguments.no_chat_template else f"{lm.name} has no chat template"
        )
        HarnessError.raise_for(
            [f"{arguments.data}: its rows are chats, and {why}"] if any(one.turns for one in asked) else [],
            "Give rows with prompt, or an instruct model and its template.",
        )
        return lm, [one.prompt for one in asked]
    marked = [(n, marks_in(lm.tokenizer, one.prompt)) for n, one in enumerate(asked, start=1)]
    HarnessError.raise_for(
        [
            f"{arguments.data}, row {number}: the prompt holds {marks[0]}, a mark of the chat template"
            for number, marks in marked
            if marks
        ][:5],
        "Prompts that stand in a chat template are given as they are by --no-chat-template.",
    )
    print(f"asked in the chat template of {lm.name}; prompts as they are: --no-chat-template")
    texts = [
        in_template(lm.tokenizer, one.turns or [{"role": "user", "content": one.prompt}]) for one in asked
    ]

    def encode(text: str) -> list[int]:  # a template writes its special tokens itself
        return list(lm.tokenizer(text, add_special_tokens=False)["input_ids"])

    return replace(lm, encode=encode), texts


def _model(arguments: Namespace) -> tuple[LanguageModel, str]:
    """The model, and its identity."""
    from harness.files import canonical_json
    from harness.models.load import load_language_model
    from harness.models.source import ModelSource
    from harness.quiet import hide_loading_bars

    hide_loading_bars()
    source = ModelSource.find(arguments.model, revision=arguments.revision)
    lm = load_language_model(source, device=arguments.device, dtype=arguments.dtype)
    return lm, canonical_json(source.identity)


def _check_lengths(ids: list[list[int]], longest: int, new: int) -> None:
    over = [number for number, prompt in enumerate(ids, start=1) if len(prompt) + new > longest]
    if over:
        raise HarnessError(
            f"{len(over)} prompts leave no room for {new} tokens in a context of {longest}, such as that of row {over[0]}",
            "Shorten them, lower --max-new-tokens, or use a model with a longer context.",
        )


def _answer(
    arguments: Namespace, lm: LanguageModel, decoding: Decoding, prompts: list[str], sources: list[str]
) -> tuple[Answer, str]:
    """What answers a batch, and its description."""
    from harness.generation import plain

    if not arguments.lookback_guided:
        how = "greedy" if not decoding.temperature else f"sampled, temperature {decoding.temperature:g}"
        return plain(lm.model, lm.tokenizer, decoding), how
    from harness.lookback.classifier import find
    from harness.lookback.encoding import context_tokens
    from harness.lookback.guided import Guidance, check, ends_with, guided
    from harness.records.samples import find_source

    classifier = find(arguments.classifier, lm.model.config, lm.name)
    check(lm.model, classifier, lm.name)
    guidance = Guidance(
        candidates=arguments.candidates,
        chunk=arguments.chunk,
        choose=arguments.choose,
        temperature=decoding.temperature,
        max_new_tokens=decoding.max_new_tokens,
    )
    contexts: dict[tuple[int, ...], int] = {}
    problems = []
    for number, (prompt, source) in enumerate(zip(prompts, sources, strict=True), start=1):
        place = find_source(prompt, source)
        if place is None:
            problems.append(f"{arguments.data}, row {number}: the prompt holds no source to look back at")
            continue
        ids, context = context_tokens(lm, prompt, place[1])
        contexts[tuple(ids)] = context
    HarnessError.raise_for(
        problems[:5],
        f"Give each row its document as {' or '.join(SOURCES[:2])}, as it stands in the prompt.",
    )
    ended = ends_with(lm.tokenizer, decoding.stop)

    def answer(batch: Any, seed: int) -> list[list[int]]:
        return [
            guided(
                lm.model,
                classifier,
                (prompt, contexts[tuple(prompt)]),
                guidance,
                ended=ended,
                seed=seed * 1009 + number,
            )
            for number, prompt in enumerate(batch)
        ]

    by = f"{arguments.classifier} ({classifier.digest})" if guidance.choose == "lookback" else guidance.choose
    how = f"guided by {by}, {guidance.candidates} candidates, chunks of {guidance.chunk}, "
    return answer, how + f"temperature {guidance.temperature:g}"


COMMAND = Command(
    name="generate",
    help="write a model's responses to a file of prompts, plain or guided by a lookback classifier",
    add_arguments=_add_arguments,
    run=_run,
)
