"""Peak memory and time of distillation losses at a large vocabulary, forward and backward, from hidden states to gradients.

Each contender runs in a process of its own. Given, and not counted: hidden states [N, D], the head's weight [V, D], and the
teacher's side in the form that the loss takes. Counted: everything from there, with the gradients of hidden states and
weight, which are the same for all and stand in the first row.

    gradients            the two gradients alone
    ours                 sparse labels (K = 64) with a ghost tail, fused with the head: `harness_kd.loss.fused`
    trl gkd              TRL's `GKDTrainer.generalized_jsd_loss`, forward KL of dense logits
    trl chunked          TRL's chunked divergence (its DistillationTrainer), forward KL, with the teacher's hidden states and head
    distillkit           DistillKit's sparse KL on dense student logits (--distillkit FOLDER: a checkout of arcee-ai/DistillKit)
    distillkit chunked   the same with its own option `sparse_chunk_length`, 256 tokens

    python benchmarks/loss_memory.py [--tokens 2048] [--width 896] [--vocabulary 151936] [--distillkit FOLDER] [--device cuda]

With --padding 271 that many of the head's rows are beyond the tokenizer, as in Qwen2.5; ours alone knows of them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from harness_kd.loss.fused import LossSettings, SparseTargets, linear_loss
from memory import PeakMemory
from torch import Tensor

TOP_K = 64


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--width", type=int, default=896)
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument(
        "--padding", type=int, default=0, help="rows of the vocabulary that are no tokens (default: 0)"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--distillkit", type=Path, metavar="FOLDER")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        print(*run(arguments))
        return
    found = {}
    for name in contenders(arguments):
        command = [sys.executable, __file__, *sys.argv[1:], "--contender", name]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        mib, seconds, loss = done.stdout.split()[-3:]
        found[name] = int(mib), float(seconds), float(loss)
    print(
        f"{arguments.tokens:,} tokens, D = {arguments.width}, V = {arguments.vocabulary:,}, float32, {arguments.device}, "
        f"{torch.get_num_threads()} threads\n\n| | peak MiB | times ours | processor seconds | loss |\n|---|---|---|---|---|"
    )
    for name, (mib, seconds, loss) in found.items():
        print(f"| {name} | {mib:,} | {mib / found['ours'][0]:.1f} | {seconds:.1f} | {loss:.4f} |")


def contenders(arguments: argparse.Namespace) -> list[str]:
    """Those that can run here."""
    names = ["gradients", "ours"]
    try:
        import trl  # noqa: F401

        names += ["trl gkd", "trl chunked"]
    except ImportError:
        pass
    return names + (["distillkit", "distillkit chunked"] if arguments.distillkit else [])


def run(arguments: argparse.Namespace) -> tuple[int, float, float]:
    """Peak MiB, seconds and loss of one contender."""
    torch.manual_seed(0)
    device, tokens, width = arguments.device, arguments.tokens, arguments.width
    hidden = torch.randn(tokens, width, device=device).requires_grad_()
    weight = (torch.randn(arguments.vocabulary, width, device=device) / width**0.5).requires_grad_()
    teacher_hidden = hidden.detach() + 0.3 * torch.randn(tokens, width, device=device)
    loss = make_loss(arguments, teacher_hidden, weight.detach())
    clock = time.process_time if device == "cpu" else time.perf_counter
    with PeakMemory(device) as peak:
        started = clock()
        value = loss(hidden, weight)
        value.backward()
        result = float(value.detach())
        seconds = clock() - started
    return peak.mib, seconds, result


def make_loss(
    arguments: argparse.Namespace, teacher_hidden: Tensor, teacher_weight: Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    """The contender's loss of hidden states and weight, with the teacher's side ready."""
    name = arguments.contender
    if name == "gradients":
        return lambda hidden, weight: hidden.sum() * 0 + weight.sum() * 0
    if name == "trl chunked":
        from trl.trainer.distillation_trainer import _chunked_divergence_loss

        mask = torch.ones(1, len(teacher_hidden), dtype=torch.long, device=teacher_hidden.device)

        def chunked(hidden: Tensor, weight: Tensor) -> Tensor:
            states = hidden[None], teacher_hidden[None]
            return _chunked_divergence_loss(*states, weight, teacher_weight, mask, 0.0)[0]

        return chunked
    if name == "trl gkd":
        from trl.experimental.gkd import GKDTrainer

        teacher_logits = (teacher_hidden @ teacher_weight.T)[None]

        def dense(hidden: Tensor, weight: Tensor) -> Tensor:
            labels = torch.zeros(teacher_logits.shape[:2], dtype=torch.long)
            return GKDTrainer.generalized_jsd_loss(
                (hidden @ weight.T)[None], teacher_logits, labels=labels, beta=0
            )

        return dense
    tokens = arguments.vocabulary - arguments.padding
    ids, log_probs, log_tail = sparse_labels(teacher_hidden, teacher_weight[:tokens])
    if name == "ours":
        targets = SparseTargets(ids=ids, log_probs=log_probs, log_tail=log_tail)
        labels, settings = ids[:, 0], LossSettings(kd_weight=1.0, vocabulary_size=tokens)
        return lambda hidden, weight: linear_loss(
            hidden, weight, labels, settings, num_items=len(labels), targets=targets
        )[0]
    return distillkit_loss(arguments, ids, log_probs)


def sparse_labels(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Top K of the teacher, in chunks, so that making them leaves no trace in the measurement."""
    parts = []
    for rows in hidden.split(64):
        log_probs = (rows @ weight.T).log_softmax(-1)
        kept, ids = log_probs.topk(TOP_K)
        parts.append((ids, kept, torch.log1p(-kept.exp().sum(-1))))
    ids, kept, tail = (torch.cat(column) for column in zip(*parts, strict=True))
    return ids, kept, tail


def distillkit_loss(
    arguments: argparse.Namespace, ids: Tensor, log_probs: Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    """DistillKit's sparse KL, missing mass as a uniform tail on both sides, as ours."""
    sys.path.insert(0, str(arguments.distillkit))
    from distillkit.lossfuncs.common import MissingProbabilityHandling
    from distillkit.lossfuncs.kl import sparse_kl_div

    def sparse(hidden: Tensor, weight: Tensor) -> Tensor:
        options: dict[str, Any] = dict(missing=MissingProbabilityHandling.SYMMETRIC_UNIFORM, log_target=True)
        if arguments.contender.endswith("chunked"):
            options["chunk_length"] = 256
        return sparse_kl_div((hidden @ weight.T)[None], ids[None], log_probs[None], **options) / len(ids)

    return sparse


if __name__ == "__main__":
    main()
