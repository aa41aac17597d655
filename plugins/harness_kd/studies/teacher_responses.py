"""Sequence-level data: the teacher's own responses in place of the references (Kim and Rush, 2016, arXiv 1606.07947)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.files import canonical_json, write_atomic, write_jsonl
from harness.generation import Decoding, Response, end_tokens, forget, plain, respond
from harness.models.source import ModelSource
from harness_kd.data.examples import prompt_ids
from harness_kd.data.rows import TextRow, load_rows
from harness_kd.models import vocabulary_size
from harness_kd.placement import place


@dataclass(frozen=True, kw_only=True)
class SequencePlan:
    """What is generated from what."""

    teacher: str
    data: str
    """As `harness_kd.data.rows` reads it; the references are not looked at."""
    output: Path
    """JSON Lines that ``harness train-kd --data`` reads; a ``.json`` beside it says how it was made."""
    decoding: Decoding
    max_prompt_length: int
    """Rows with longer prompts are left out, and counted."""
    batch_size: int = 16


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A plan whose inputs were found good."""

    plan: SequencePlan
    teacher: ModelSource
    tokenizer: Any
    rows: tuple[TextRow, ...]
    prompts: tuple[list[int], ...]
    dropped: int

    def describe(self) -> str:
        """For ``--dry-run``."""
        tokens = sum(map(len, self.prompts))
        most = len(self.prompts) * self.plan.decoding.max_new_tokens
        how = (
            "greedy"
            if not self.plan.decoding.temperature
            else f"temperature {self.plan.decoding.temperature:g}"
        )
        return (
            f"teacher    {self.teacher.name} ({self.teacher.sha256[:12]})\n"
            f"prompts    {len(self.prompts):,} ({tokens:,} tokens), {self.dropped:,} too long and left out\n"
            f"responses  at most {most:,} tokens, {how}, seed {self.plan.decoding.seed}\n"
            f"output     {self.plan.output}"
        )


def prepare(plan: SequencePlan) -> Prepared:
    """Read and check everything, and write nothing.

    Raises:
        HarnessError: For a missing model, bad data, or if no prompt fits.
    """
    teacher = ModelSource.find(plan.teacher, role="teacher")
    tokenizer = teacher.tokenizer()
    rows = load_rows(plan.data)
    ids = prompt_ids(rows, tokenizer, closed=teacher.encoder_decoder)
    kept = [i for i, prompt in enumerate(ids) if len(prompt) <= plan.max_prompt_length]
    if not kept:
        raise HarnessError(
            f"all {len(rows)} prompts are longer than {plan.max_prompt_length} tokens",
            "Raise --max-prompt-length.",
        )
    return Prepared(
        plan=plan,
        teacher=teacher,
        tokenizer=tokenizer,
        rows=tuple(rows[i] for i in kept),
        prompts=tuple(ids[i] for i in kept),
        dropped=len(rows) - len(kept),
    )


def generate(prepared: Prepared) -> Mapping[str, int]:
    """Write the teacher's responses, and return the counts; a killed call goes on after its last whole batch.

    Rows with an empty response are left out: there is nothing to train on.
    """
    plan, teacher = prepared.plan, prepared.teacher
    dtype = teacher.inference_dtype
    model: Any = place(teacher, dtype=dtype)
    _suppress_padding(model, vocabulary_size(prepared.tokenizer))
    work = plan.output.parent / f".{plan.output.name}.parts"
    found = respond(
        prepared.tokenizer,
        prepared.prompts,
        plain(model, prepared.tokenizer, plan.decoding),
        plan.decoding,
        work=work,
        made_by={"teacher": teacher.sha256, "batch_size": plan.batch_size, "dtype": dtype},
        batch_size=plan.batch_size,
        ends=end_tokens(model, prepared.tokenizer),
    )
    written = [_row(row, one) for row, one in zip(prepared.rows, found, strict=True) if one.text.strip()]
    counts = {
        "rows": len(written),
        "empty": len(found) - len(written),
        "cut": sum(not one.finished for one in found),
        "too_long": prepared.dropped,
    }
    if not written:
        raise HarnessError(
            "all responses are empty", "Give another teacher, or prompts in the form that it was trained on."
        )
    provenance = {
        "teacher": teacher.name,
        "teacher_revision": teacher.revision,
        "teacher_sha256": teacher.sha256,
        "data": plan.data,
        "decoding": asdict(plan.decoding),
        "batch_size": plan.batch_size,
        "dtype": dtype,
        "counts": counts,
    }
    write_jsonl(plan.output, written)
    write_atomic(plan.output.with_suffix(".json"), canonical_json(provenance) + "\n")
    forget(work)
    return counts


def _suppress_padding(model: Any, tokens: int) -> None:
    """Keep the model's generation from rows of its head beyond the tokenizer's: they stand for no text that could be trained on."""
    settings, rows = model.generation_config, model.get_output_embeddings().weight.shape[0]
    if rows > tokens:
        settings.suppress_tokens = sorted({*(settings.suppress_tokens or ()), *range(tokens, rows)})


def _row(row: TextRow, response: Response) -> dict[str, Any]:
    made = {"finished": response.finished, "tokens": response.tokens, "seed": response.seed}
    if row.messages:
        return {"messages": [*row.messages, {"role": "assistant", "content": response.text}], **made}
    return {"prompt": row.prompt, "response": response.text, **made}
