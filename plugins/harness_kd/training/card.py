"""The model card of a trained model: what it is, from what, and how to make it again."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

from harness import __version__
from harness.models import hub
from harness_kd.data.examples import TokenizedData
from harness_kd.data.named import hub_name
from harness_kd.loss.fused import kd_weight_of
from harness_kd.plan import TrainPlan

CAVEAT = """\
The exact options and content hashes are in `run.json`. Distillation lowers faithfulness errors where the hard
labels are noisy and the teacher is better than they are. It adds no knowledge, and a teacher that
hallucinates passes its errors on. Evaluate before use.
"""


def model_card(
    plan: TrainPlan, identity: dict[str, Any], data: TokenizedData, metrics: dict[str, Any]
) -> str:
    """The text of ``README.md``: teacher, data, loss, seed and code of a run, in markdown."""
    distilled = plan.kd_ratio > 0
    share = kd_weight_of(plan.kd_ratio)
    title = "Distilled" if distilled else "Finetuned"
    loss = f"{1 - share:.4f} cross-entropy + {share:.4f} {plan.divergence}" if share < 1 else plan.divergence
    facts = {
        "student": f"{plan.student} (sha256 {identity['student_sha256'][:16]})",
        "teacher": plan.teacher if distilled else "none",
        "soft labels": f"top {plan.top_k}{f' and {plan.tail_draws} draws' if plan.tail_draws else ''}, "
        f"sha256 {identity['soft_labels_sha256'][:16]}"
        if distilled
        else "none",
        "data": f"{plan.data} (sha256 {identity['data_sha256'][:16]})",
        "rows": f"{len(data.examples)} used; overlong: {data.dropped} dropped, {data.truncated} truncated",
        "tokens": f"{data.tokens}, of which {data.target_tokens} are targets",
        "loss": loss if distilled else "cross-entropy",
        "kd_ratio": f"{plan.kd_ratio:g}",
        "temperature": f"{plan.temperature:g}" if distilled else "none",
        "label smoothing": f"{plan.label_smoothing:g}",
        "optimizer": f"{plan.optimizer}, cosine from {plan.learning_rate:g}, weight decay {plan.weight_decay:g}",
        "precision": f"trained in float32{' with bfloat16 autocast' if plan.bf16 else ''}, saved in {identity['save_dtype']}",
        "adapter": f"LoRA rank {plan.lora_rank}, alpha {plan.lora_alpha}, dropout {plan.lora_dropout:g}, "
        + ("kept apart" if plan.keep_adapter else "merged")
        if plan.lora_rank
        else "none",
        "checkpoint": f"best {plan.select} on {plan.dev}: "
        + ", ".join(f"{score:.4f}" for entry in metrics["dev"] for k, score in entry.items() if k != "epoch")
        if plan.dev
        else "last",
        "batch": f"{plan.batch_size} rows x {plan.accumulation} x {identity['world_size']} processes",
        "epochs": f"{plan.epochs:g}, {metrics['steps']} steps",
        "seed": str(plan.seed),
        "code": f"faithfulness-harness {__version__}, commit {code_commit()}",
    }
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    return _front_matter(plan) + f"# {title} with harness train-kd\n\n| | |\n|---|---|\n{rows}\n\n" + CAVEAT


def _front_matter(plan: TrainPlan) -> str:
    """What the hub reads of a card; it names models and data of the hub alone."""
    stated: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    base = plan.student.partition("@")[0]
    if hub.names_repository(base) and not Path(plan.student).exists():
        stated["base_model"] = [base]
    if named := hub_name(plan.data):
        stated["datasets"] = [named]
    return f"---\n{yaml.safe_dump(stated, sort_keys=False)}---\n\n"


def code_commit() -> str:
    """Commit of the source checkout, with ``-dirty`` for local changes; ``none`` outside a checkout."""
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],  # noqa: S607
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "none"
    return result.stdout.strip()
