"""What a distillation step costs over a finetuning step: time and peak memory, same model, batch and machine.

One step is collating the batch (for distillation with its soft labels read from the cache), forward, backward and AdamW. The
model is a Llama with random weights, the labels are random top-K entries in a real cache. Contenders:

    kd         distillation from the cache (forward KL, ghost tail), the fused loss of `harness_kd.loss`
    sft        finetuning with the same fused loss, no labels read
    sft trl    finetuning with TRL's chunked cross-entropy (`trl.kernels`, torch code on a CPU); left out without trl
    sft liger  finetuning with Liger-Kernel's fused linear cross-entropy; needs a GPU and liger-kernel
    sft dense  finetuning with the model's own loss over all logits

Rounds go through all contenders in turn, in an order that turns too; ratios are medians over rounds. On a CPU the seconds are the
process's own, which other programs disturb less than the clock. Memory is the peak of a process of its own above what it held
before its first step: gradients, optimizer and activations (on a GPU, the allocator's peak).

    python benchmarks/kd_step.py [--hidden 512] [--layers 8] [--vocabulary 32000] [--batch 8] [--length 256] [--rounds 7]
    python benchmarks/kd_step.py --preset llama-2-7b --device cuda --dtype bfloat16 --rounds 20    # and the paper's Dolly run
"""

from __future__ import annotations

import argparse
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
from harness_kd.data import Example
from harness_kd.head import attach_loss
from harness_kd.loss import LossSettings, kd_weight_of
from harness_kd.soft_labels.cache import SoftLabelCache, writing
from harness_kd.soft_labels.labels import pack
from harness_kd.soft_labels.manifest import Manifest
from harness_kd.trainer import Collator
from memory import PeakMemory
from transformers import LlamaConfig, LlamaForCausalLM

TOP_K = 64
PROMPT = 0.25
"""Share of each row that is prompt."""
PRESETS = {
    "llama-2-7b": dict(
        hidden=4096, layers=32, heads=32, intermediate=11008, vocabulary=32000, batch=8, length=1024
    )
}
DOLLY_STEPS = 14_011 * 3 // 8
"""databricks-dolly-15k without its first 1,000 rows, 3 epochs, batch 8: the paper's run."""


def main() -> None:
    """Print the table."""
    arguments = parse()
    if arguments.contender:
        print(_peak(arguments))
        return
    contenders = available(arguments)
    with tempfile.TemporaryDirectory() as folder:
        arguments.cache = Path(folder)
        batch = write_labels(arguments)
        steps = {name: make_step(name, arguments, batch) for name in contenders}
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        clock = time.process_time if arguments.device == "cpu" else time.perf_counter
        for number in range(arguments.rounds + 1):
            turn = number % len(contenders)
            for name in contenders[turn:] + contenders[:turn]:
                started = clock()
                steps[name]()
                _synchronise(arguments)
                if number:  # the first step allocates
                    seconds[name].append(clock() - started)
        del steps
        peaks = {name: _peak_of_process(name, arguments) for name in contenders}
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
        print(f"\nThe paper's Dolly run at this rate: {median(seconds['kd']) * DOLLY_STEPS / 60:.0f} minutes")


def parse() -> argparse.Namespace:
    """Command-line arguments, with a preset's sizes filled in."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", choices=PRESETS)
    sizes = dict(hidden=512, layers=8, heads=8, intermediate=1376, vocabulary=32000, batch=8, length=256)
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    preset = parser.parse_known_args()[0].preset
    if preset:
        parser.set_defaults(**PRESETS[preset])
    return parser.parse_args()


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
    return Manifest(
        teacher="random",
        teacher_revision="local",
        weights_sha256="0" * 64,
        vocabulary_sha256="0" * 64,
        vocabulary_size=arguments.vocabulary,
        temperatures=(1.0,),
        top_k=TOP_K,
        max_tail=0.0,
        label_dtype="float16",
        teacher_dtype="float32",
    )


def make_step(name: str, arguments: argparse.Namespace, batch: list[Example]) -> Callable[[], None]:
    """One optimizer step of a contender, with a model of its own."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=arguments.vocabulary,
        hidden_size=arguments.hidden,
        intermediate_size=arguments.intermediate,
        num_hidden_layers=arguments.layers,
        num_attention_heads=arguments.heads,
        max_position_embeddings=arguments.length,
    )
    dtype = getattr(torch, arguments.dtype)
    model = LlamaForCausalLM(config).to(arguments.device, dtype).train()
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


def _peak_of_process(name: str, arguments: argparse.Namespace) -> int:
    words = [word for word in sys.argv[1:] if word]
    command = [sys.executable, __file__, *words, "--contender", name, "--cache", str(arguments.cache)]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(run.stdout.split()[-1])


def _peak(arguments: argparse.Namespace) -> int:
    """MiB above the model in two steps."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, arguments.vocabulary, (arguments.batch, arguments.length), dtype=np.int32)
    batch = [Example(row, int(PROMPT * arguments.length)) for row in ids]
    step = make_step(arguments.contender, arguments, batch)
    with PeakMemory(arguments.device) as peak:
        step()
        step()
    return peak.mib


def _synchronise(arguments: argparse.Namespace) -> None:
    if arguments.device != "cpu":
        torch.accelerator.synchronize()


if __name__ == "__main__":
    main()
