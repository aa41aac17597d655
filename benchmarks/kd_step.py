"""What a distillation step costs over a finetuning step: time and peak memory, same model, batch and machine.

One step is collating the batch (for distillation with its soft labels read from the cache), forward, backward and AdamW. The
model is a Llama with random weights, the labels are random top-K entries in a real cache. Contenders:

    kd         distillation from the cache (forward KL, ghost tail), the fused loss of `harness_kd.loss.fused`
    sft        finetuning with the same fused loss, no labels read
    sft trl    finetuning with TRL's chunked cross-entropy (`trl.kernels`, torch code on a CPU); left out without trl
    sft liger  finetuning with Liger-Kernel's fused linear cross-entropy; needs a GPU and liger-kernel
    sft dense  finetuning with the model's own loss over all logits

On a CPU rounds go through all contenders in turn, in an order that turns too, ratios are medians over rounds, and the seconds are
the process's own, which other programs disturb less than the clock. On a GPU each contender has the device to itself. Memory is
the peak of a process of its own above what it held before its first step: gradients, optimizer and activations (on a GPU, the
allocator's peak). ``--dtype mixed`` is what ``train-kd --bf16`` does: float32 weights under a bfloat16 autocast.

    python benchmarks/kd_step.py [--hidden 512] [--layers 8] [--vocabulary 32000] [--batch 8] [--length 256] [--rounds 7]
    python benchmarks/kd_step.py --preset llama-2-7b --device cuda --rounds 20    # and the paper's Dolly run
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from harness_kd.data.examples import Example
from harness_kd.loss.fused import LossSettings, kd_weight_of
from harness_kd.loss.head import attach_loss
from harness_kd.soft_labels.cache import SoftLabelCache, writing
from harness_kd.soft_labels.labels import pack
from harness_kd.soft_labels.manifest import Manifest
from harness_kd.training.trainer import Collator
from memory import PeakMemory
from shapes import add_sizes, parse_sizes, random_llama, random_manifest

TOP_K = 64
PROMPT = 0.25
"""Share of each row that is prompt."""
PRESETS = {
    "llama-2-7b": dict(
        hidden=4096,
        layers=32,
        heads=32,
        intermediate=11008,
        vocabulary=32000,
        batch=8,
        length=1024,
        dtype="mixed",
        checkpointing=True,
    )
}
DOLLY_ROWS = 14_011 * 3
"""The paper's run: databricks-dolly-15k without its first 1,000 rows, 3 epochs."""


def main() -> None:
    """Print the table."""
    arguments = parse()
    if arguments.contender:
        print(json.dumps(_alone(arguments)))
        return
    contenders = available(arguments)
    with tempfile.TemporaryDirectory() as folder:
        arguments.cache = Path(folder)
        batch = write_labels(arguments)
        seconds = in_turn(contenders, arguments, batch) if arguments.device == "cpu" else {}
        peaks = {}
        for name in contenders:
            found = _process(name, arguments)
            peaks[name] = found["mib"]
            seconds.setdefault(name, found["seconds"])
    tokens = arguments.batch * (arguments.length - int(PROMPT * arguments.length))
    print(
        f"hidden {arguments.hidden}, {arguments.layers} layers, V = {arguments.vocabulary:,}, {arguments.batch} rows of "
        f"{arguments.length} tokens, {tokens:,} of them targets, K = {TOP_K}, {arguments.dtype}, {arguments.device}, "
        f"{torch.get_num_threads()} threads, {arguments.rounds} rounds\n\n"
        "| step | seconds | kd takes, times | peak MiB above the model | kd's, times |\n|---|---|---|---|---|"
    )
    for name, values in seconds.items():
        ratio = median(kd / other for kd, other in zip(seconds["kd"], values, strict=True))
        memory = peaks["kd"] / peaks[name]
        print(f"| {name} | {median(values):.3f} | {ratio:.3f} | {peaks[name]:,} | {memory:.3f} |")
    if arguments.preset:
        rate = arguments.batch * arguments.length / median(seconds["kd"])
        share = rate * _flops_per_token(arguments) / (arguments.peak_tflops * 1e12)
        print(
            f"\nkd: {rate:,.0f} tokens per second, {share:.0%} of {arguments.peak_tflops:g} TFLOP/s; the paper's Dolly run at this "
            f"rate, {arguments.row_tokens or arguments.length} tokens a row: "
            f"{DOLLY_ROWS * (arguments.row_tokens or arguments.length) / rate / 60:.0f} minutes"
        )


def in_turn(
    contenders: list[str], arguments: argparse.Namespace, batch: list[Example]
) -> dict[str, list[float]]:
    """Processor seconds of each contender's steps, all in this process."""
    steps = {name: make_step(name, arguments, batch) for name in contenders}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(arguments.rounds + 1):
        turn = number % len(contenders)
        for name in contenders[turn:] + contenders[:turn]:
            started = time.process_time()
            steps[name]()
            if number:  # the first step allocates
                seconds[name].append(time.process_time() - started)
    return seconds


def _flops_per_token(arguments: argparse.Namespace) -> float:
    """Of forward and backward: 6 per weight that multiplies, and 6 per layer, channel and token of a causal context."""
    hidden, layers = arguments.hidden, arguments.layers
    weights = layers * (4 * hidden**2 + 3 * hidden * arguments.intermediate) + hidden * arguments.vocabulary
    return 6.0 * (weights + layers * hidden * arguments.length)


def parse() -> argparse.Namespace:
    """Command-line arguments, with a preset's sizes filled in."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sizes = dict(hidden=512, layers=8, heads=8, intermediate=1376, vocabulary=32000, batch=8, length=256)
    add_sizes(parser, sizes, PRESETS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "mixed"), default="float32")
    parser.add_argument("--checkpointing", action="store_true", help="recompute activations")
    parser.add_argument(
        "--row-tokens",
        type=int,
        default=0,
        help="of Dolly, as `harness train-kd --data dolly --dry-run` counts them (default: --length, an upper bound)",
    )
    parser.add_argument(
        "--peak-tflops", type=float, default=989.0, help="of the GPU (default: H100, dense bf16)"
    )
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    return parse_sizes(parser, PRESETS)


def available(arguments: argparse.Namespace) -> list[str]:
    """Contenders that can run here."""
    names = ["kd", "sft", "sft dense"]
    try:
        import trl.kernels  # noqa: F401

        names.insert(2, "sft trl")
    except ImportError:
        pass
    if arguments.device != "cpu":
        try:
            import liger_kernel  # noqa: F401

            names.insert(2, "sft liger")
        except ImportError:
            pass
    return names


def write_labels(arguments: argparse.Namespace) -> list[Example]:
    """Random examples, and a cache with labels of each."""
    rng = np.random.default_rng(0)
    boundary = int(PROMPT * arguments.length)
    ids = rng.integers(0, arguments.vocabulary, (arguments.batch, arguments.length), dtype=np.int32)
    batch = [Example(row, boundary) for row in ids]
    items = []
    for example in batch:
        n = example.targets
        kept = np.stack([rng.choice(arguments.vocabulary, TOP_K, replace=False) for _ in range(n)])
        probabilities = rng.dirichlet(np.full(TOP_K + 1, 0.2), n).clip(1e-6)
        log_probs = np.log(probabilities / probabilities.sum(1, keepdims=True)).astype(np.float32)
        labels = pack(
            kept.astype(np.int64),
            log_probs[:, :-1],
            np.ones((n, TOP_K), dtype=bool),
            log_probs[:, -1:],
            np.zeros(n, dtype=np.float32),
            vocabulary_size=arguments.vocabulary,
            dtype="float16",
        )
        items.append((example.key, labels))
    with writing(arguments.cache, manifest(arguments)) as writer:
        writer.append(items)
    return batch


def manifest(arguments: argparse.Namespace) -> Manifest:
    """Of a cache of random labels."""
    return random_manifest(arguments.vocabulary, temperatures=(1.0,), top_k=TOP_K)


def make_step(name: str, arguments: argparse.Namespace, batch: list[Example]) -> Callable[[], None]:
    """One optimizer step of a contender, with a model of its own."""
    mixed = arguments.dtype == "mixed"
    model = random_llama(arguments, max_position_embeddings=arguments.length).train()
    model.to(torch.float32 if mixed else getattr(torch, arguments.dtype))
    if arguments.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    distil = name == "kd"
    if name in ("kd", "sft"):
        attach_loss(model, LossSettings(kd_weight=kd_weight_of(10.0) if distil else 0.0))
    elif name == "sft liger":
        from liger_kernel.transformers import apply_liger_kernel_to_llama

        apply_liger_kernel_to_llama(
            rope=False, swiglu=False, rms_norm=False, fused_linear_cross_entropy=True, model=model
        )
    collate = Collator(SoftLabelCache(arguments.cache, manifest(arguments)) if distil else None)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def step() -> None:
        inputs = {key: value.to(arguments.device) for key, value in collate(batch).items()}
        with torch.autocast(arguments.device, torch.bfloat16, enabled=mixed):
            loss = trl_loss(model, **inputs) if name == "sft trl" else model(**inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def trl_loss(model: Any, input_ids: Any, attention_mask: Any, labels: Any) -> Any:
    """TRL's chunked cross-entropy, given the rows that have a target only, as its GPU path does."""
    from trl.kernels import ChunkedLogProbFunction

    hidden = model.model(input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state[:, :-1]
    labels = labels[:, 1:]
    mask = labels != -100
    log_probs = ChunkedLogProbFunction.apply(
        hidden[mask], model.lm_head.weight, None, labels[mask], 1.0, 8192, None, 1.0, ()
    )[0]
    return -log_probs.mean()


def _process(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """What `_alone` measures, in a process that holds nothing else."""
    words = [word for word in sys.argv[1:] if word]
    command = [sys.executable, __file__, *words, "--contender", name, "--cache", str(arguments.cache)]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def _alone(arguments: argparse.Namespace) -> dict[str, Any]:
    """MiB above the model in two steps; on a GPU also the seconds of the rounds after them."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, arguments.vocabulary, (arguments.batch, arguments.length), dtype=np.int32)
    batch = [Example(row, int(PROMPT * arguments.length)) for row in ids]
    step = make_step(arguments.contender, arguments, batch)
    with PeakMemory(arguments.device) as peak:
        step()
        step()
    seconds = []
    for _ in range(0 if arguments.device == "cpu" else arguments.rounds):
        torch.accelerator.synchronize()
        started = time.perf_counter()
        step()
        torch.accelerator.synchronize()
        seconds.append(time.perf_counter() - started)
    return {"mib": peak.mib, "seconds": seconds}


if __name__ == "__main__":
    main()
