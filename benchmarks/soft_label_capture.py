"""What capturing and reading soft labels cost beside the work that they serve.

1. Capture (top 64, four temperatures, written to disk) against two plain passes of the same teacher over the same batches:
   the model's own forward, logits of all positions at once; and one as lean as capture itself, logits of the response rows alone,
   in the same chunks, thrown away. In turns, medians of paired ratios, processor seconds.
2. Reading: tokens per second from a cache in random order, checked and decoded by the trainer's own collator, against the target
   tokens per second of training a student on them.
3. Many examples: synthetic labels of --examples examples of 8 tokens written, opened, and read at random, with the peak memory of
   each.

    python benchmarks/soft_label_capture.py [--vocabulary 151936] [--rounds 5] [--examples 1000000]
    python benchmarks/soft_label_capture.py --preset 13b --device cuda --dtype bfloat16
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from harness_kd.data.examples import Example
from harness_kd.loss.fused import LossSettings, kd_weight_of, rows_per_chunk
from harness_kd.loss.head import attach_loss
from harness_kd.loss.states import padded, response_states
from harness_kd.soft_labels.cache import SoftLabelCache, label_files, writing
from harness_kd.soft_labels.capture import capture, length_buckets
from harness_kd.soft_labels.labels import SoftLabels
from harness_kd.training.trainer import Collator
from memory import PeakMemory
from shapes import add_sizes, parse_sizes, random_llama, random_manifest

PRESETS = {
    "13b": dict(
        hidden=5120,
        layers=40,
        heads=40,
        kv_heads=40,
        intermediate=13824,
        vocabulary=32000,
        rows=64,
        length=1024,
    )
}
SIZES = dict(
    hidden=896, layers=24, heads=14, kv_heads=2, intermediate=4864, vocabulary=151_936, rows=16, length=256
)
"""Qwen2.5-0.5B's, the smallest model with that vocabulary that anyone distils from."""
BLOCK = 2000
"""Examples written at once."""


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_sizes(parser, SIZES, PRESETS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--examples", type=int, default=1_000_000, help="0 leaves part 3 out")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    arguments = parse_sizes(parser, PRESETS)
    print(
        f"hidden {arguments.hidden}, {arguments.layers} layers, V = {arguments.vocabulary:,}, {arguments.rows} rows of "
        f"{arguments.length} tokens, three quarters of them targets, {arguments.dtype}, {arguments.device}, "
        f"{torch.get_num_threads()} threads\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        capture_and_read(arguments, Path(folder))
    if arguments.examples:
        with tempfile.TemporaryDirectory() as folder:
            many(arguments, Path(folder))


def capture_and_read(arguments: argparse.Namespace, folder: Path) -> None:
    """Parts 1 and 2."""
    clock = time.process_time if arguments.device == "cpu" else time.perf_counter
    model, examples = make_model(arguments), make_examples(arguments)
    stated = random_manifest(arguments.vocabulary, teacher_dtype=arguments.dtype)
    passes = {
        "forward": lambda _: forward(model, examples, arguments),
        "lean": lambda _: lean(model, examples, arguments),
        "capture": lambda turn: capture(
            lambda: model,
            examples,
            folder / str(turn),
            stated,
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    for turn in range(arguments.rounds + 1):
        for name, run in list(passes.items())[:: 1 if turn % 2 else -1]:
            started = clock()
            run(turn)
            if turn:
                seconds[name].append(clock() - started)
    targets = sum(example.targets for example in examples)
    size = sum(file.stat().st_size for file in label_files(folder / "1")) / targets
    print(f"capture: {median(seconds['capture']):.2f} s, {size:.0f} bytes per token")
    for name, what in (
        ("forward", "the model's own forward"),
        ("lean", "a pass with the response rows' logits in chunks"),
    ):
        ratio = median(a / b for a, b in zip(seconds["capture"], seconds[name], strict=True))
        print(f"  {ratio:.3f} times {what} ({median(seconds[name]):.2f} s)")

    collate = Collator(SoftLabelCache(folder / "1", stated))
    rng = np.random.default_rng(0)
    started, read = clock(), 0
    while clock() - started < 2:
        batch = [examples[i] for i in rng.choice(len(examples), 4, replace=False)]
        collate(batch)
        read += sum(example.targets for example in batch)
    reading = read / (clock() - started)
    attach_loss(model, LossSettings(kd_weight=kd_weight_of(1.0)))
    model.train()
    step = train_step(model, collate(examples[:4]), arguments)
    step()
    started = clock()
    step()
    training = sum(example.targets for example in examples[:4]) / (clock() - started)
    print(
        f"reading: {reading:,.0f} tokens/s, training: {training:,.0f} tokens/s, ratio {reading / training:,.0f}"
    )


def train_step(model: Any, inputs: dict[str, torch.Tensor], arguments: argparse.Namespace) -> Any:
    """A step on one batch."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)

    def step() -> None:
        loss = model(**{name: tensor.to(arguments.device) for name, tensor in inputs.items()}).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        float(loss.detach())

    return step


@torch.inference_mode()
def forward(model: Any, examples: list[Example], arguments: argparse.Namespace) -> None:
    """The teacher's own forward over the same batches."""
    for batch in length_buckets(examples):
        inputs = {name: tensor.to(arguments.device) for name, tensor in padded(batch).items()}
        inputs.pop("labels", None)
        model(**inputs, use_cache=False).logits[0, 0, 0].item()


@torch.inference_mode()
def lean(model: Any, examples: list[Example], arguments: argparse.Namespace) -> None:
    """The same with the logits of the response rows computed in capture's chunks and dropped."""
    rows = rows_per_chunk(arguments.vocabulary)
    for batch in length_buckets(examples):
        inputs = {name: tensor.to(arguments.device) for name, tensor in padded(batch).items()}
        for chunk in response_states(model, inputs).split(rows):
            model.lm_head(chunk)[0, 0].item()


def make_model(arguments: argparse.Namespace) -> Any:
    """A Llama of random weights."""
    sizes = dict(num_key_value_heads=arguments.kv_heads, max_position_embeddings=arguments.length)
    return random_llama(arguments, **sizes).to(getattr(torch, arguments.dtype)).eval()


def make_examples(arguments: argparse.Namespace) -> list[Example]:
    """Random tokens."""
    ids = np.random.default_rng(0).integers(
        0, arguments.vocabulary, (arguments.rows, arguments.length), dtype=np.int32
    )
    return [Example(row, arguments.length // 4) for row in ids]


def many(arguments: argparse.Namespace, folder: Path) -> None:
    """Part 3: 4 entries per token, as an adaptive K leaves a sure teacher."""
    tokens, entries = 8, 4
    rng = np.random.default_rng(0)
    labels = SoftLabels(
        ids=np.tile(np.arange(entries, dtype=np.uint16), tokens),
        log_probs=np.full(tokens * entries, -2.0, np.float16),
        counts=np.tile(np.array([entries, 0, 0], np.uint8), (tokens, 1)),
        log_tail=np.full((tokens, 4), -1.0, np.float16),
        log_normalizer=np.zeros(tokens, np.float32),
    )
    stated = random_manifest(151_936, teacher_dtype=arguments.dtype)

    def key(number: int) -> bytes:
        return Example(np.array([number, number >> 8, 1], np.int32), 1).key

    started = time.perf_counter()
    with PeakMemory() as writing_peak, writing(folder, stated) as writer:
        for start in range(0, arguments.examples, BLOCK):
            writer.append(
                [(key(number), labels) for number in range(start, min(start + BLOCK, arguments.examples))]
            )
    written = time.perf_counter() - started
    started = time.perf_counter()
    with PeakMemory() as opening_peak:
        cache = SoftLabelCache(folder, stated)
    opened = time.perf_counter() - started
    numbers = rng.integers(0, arguments.examples, 20_000)
    started = time.perf_counter()
    with PeakMemory() as reading_peak:
        for number in numbers:
            cache.get(key(int(number)))
    read = time.perf_counter() - started
    size = sum(file.stat().st_size for file in label_files(folder)) / 1e6
    print(
        f"{len(cache):,} examples, {size:,.0f} MB in {len(label_files(folder))} files: written in {written:.0f} s (peak "
        f"{writing_peak.mib:,} MiB), opened in {opened:.1f} s (peak {opening_peak.mib:,} MiB), "
        f"{len(numbers) / read:,.0f} random reads per second (peak {reading_peak.mib:,} MiB)"
    )


if __name__ == "__main__":
    main()
