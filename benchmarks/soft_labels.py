"""Size, gradient bias and reading speed of cached soft labels, on a simulated peaked teacher.

    python benchmarks/soft_labels.py [--vocabulary 151936] [--tokens 256]

The teacher's ranks follow Zipf laws of three steepnesses, as in instruction-tuned models: 60% of positions
near-certain, 30% moderate, 10% open. The student is the teacher flattened, with noise. Labels go through the
product's own capture head, file format and reader; each is stored under several keys, because a file's fixed
part is shared by few tokens otherwise. Gradient bias is |g - g*| / |g*| over all tokens, g* = softmax(z) - p
being the gradient from the teacher's full distribution.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from harness_kd.data import Example
from harness_kd.soft_labels.cache import SoftLabelCache, label_files, writing
from harness_kd.soft_labels.capture import label_rows
from harness_kd.soft_labels.labels import SoftLabels, pack
from harness_kd.soft_labels.manifest import Manifest
from torch import Tensor, nn

EXAMPLE_TOKENS = 64
COPIES = 16


def simulate(tokens: int, vocabulary: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Teacher and student logits, float32 [tokens, vocabulary]; ids are shuffled so that rank and id are
    unrelated.
    """
    draw = torch.Generator().manual_seed(seed)
    kind = torch.multinomial(torch.tensor([0.6, 0.3, 0.1]), tokens, True, generator=draw)
    slope = torch.tensor([2.2, 1.6, 1.15])[kind] + 0.1 * torch.randn(tokens, generator=draw)
    ranks = torch.arange(1, vocabulary + 1).float().log()
    logits = -slope[:, None] * ranks + 0.4 * torch.randn(tokens, vocabulary, generator=draw)
    logits[:, 0] += torch.tensor([6.0, 1.0, 0.0])[kind] * torch.rand(tokens, generator=draw)
    logits = logits[:, torch.randperm(vocabulary, generator=draw)]
    return logits, 0.9 * logits + 0.7 * torch.randn(tokens, vocabulary, generator=draw)


def packed(logits: Tensor, manifest: Manifest) -> SoftLabels:
    """The labels of one example through the capture's own top-K."""
    arrays = [tensor.numpy() for tensor in label_rows(logits, nn.Identity(), manifest)]
    return pack(*arrays, vocabulary_size=manifest.vocabulary_size, dtype=manifest.label_dtype)


def target(labels: SoftLabels, grid: int, temperature: float, q: Tensor, *, ghost: bool) -> Tensor:
    """The distribution that the loss pulls q towards: the tail spread like q's own, or none and the head
    renormalised.
    """
    log_probs, log_tail = labels.at_temperature(grid, temperature)
    rows = torch.from_numpy(np.repeat(np.arange(len(q)), labels.entries_per_token()))
    ids = torch.from_numpy(labels.full_ids())
    dense = torch.zeros_like(q)
    dense[rows, ids] = torch.from_numpy(log_probs).exp()
    if not ghost:
        return dense / dense.sum(-1, keepdim=True)
    outside = q.clone()
    outside[rows, ids] = 0.0
    return dense + outside / outside.sum(-1, keepdim=True) * torch.from_numpy(log_tail).exp()[:, None]


def main() -> None:
    """Print one table row per way of keeping labels."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--tokens", type=int, default=256)
    options = parser.parse_args()
    base = Manifest(
        teacher="simulated",
        teacher_revision="local",
        weights_sha256="0" * 64,
        vocabulary_sha256="0" * 64,
        vocabulary_size=options.vocabulary,
        temperatures=(1.0, 1.5, 2.0, 4.0),
        top_k=64,
        max_tail=0.0,
        label_dtype="float16",
        teacher_dtype="float32",
    )
    teacher, student = simulate(options.tokens, options.vocabulary)
    print(
        "| kept | bytes/token on disk | bias T=1 | bias T=2 | renormalised, T=1 | read and decode, tokens/s |"
    )
    print("|---|---|---|---|---|---|")
    ways = {f"top {k}": {"top_k": k} for k in (16, 50, 64)} | {
        f"adaptive, tail <= {tail}": {"top_k": 64, "max_tail": tail} for tail in (0.1, 0.05, 0.02)
    }
    for name, change in ways.items():
        print(f"| {name} | " + " | ".join(measure(teacher, student, replace(base, **change))) + " |")


def measure(teacher: Tensor, student: Tensor, manifest: Manifest) -> list[str]:
    """The columns of one row."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chunks = list(range(0, len(teacher), EXAMPLE_TOKENS))
        examples = [Example(np.full(EXAMPLE_TOKENS + 1, at, np.int32), 1) for at in chunks]
        with writing(folder, manifest) as writer:
            items = [packed(teacher[at : at + EXAMPLE_TOKENS], manifest) for at in chunks]
            keys = [[example.key, *copies_of(example)] for example in examples]
            writer.append([(key, item) for own, item in zip(keys, items, strict=True) for key in own])
        size = sum(file.stat().st_size for file in label_files(folder)) / (COPIES * len(teacher))
        cache = SoftLabelCache(folder, manifest)
        ghost = [bias(cache, examples, teacher, student, t, ghost=True) for t in (1.0, 2.0)]
        renormalised = bias(cache, examples, teacher, student, 1.0, ghost=False)
        speed = read_speed(cache, examples)
    return [f"{size:.0f}", *(f"{value:.1%}" for value in (*ghost, renormalised)), f"{speed:,.0f}"]


def copies_of(example: Example) -> list[bytes]:
    """Further keys, as of examples with other ids."""
    return [Example(example.ids + copy * 1_000_000, example.boundary).key for copy in range(1, COPIES)]


def bias(
    cache: SoftLabelCache,
    examples: list[Example],
    teacher: Tensor,
    student: Tensor,
    temperature: float,
    *,
    ghost: bool,
) -> float:
    """Relative error of the logit gradient over all tokens."""
    grid, error, norm = cache.manifest.temperatures.index(temperature), 0.0, 0.0
    for index, example in enumerate(examples):
        rows = slice(index * EXAMPLE_TOKENS, (index + 1) * EXAMPLE_TOKENS)
        p, q = (torch.softmax(logits[rows] / temperature, -1) for logits in (teacher, student))
        approximate = target(cache.get(example.key), grid, temperature, q, ghost=ghost)
        error += (p - approximate).square().sum().item()
        norm += (q - p).square().sum().item()
    return (error / norm) ** 0.5


def read_speed(cache: SoftLabelCache, examples: list[Example], repeats: int = 50) -> float:
    """Checked random reads decoded for T = 2, tokens per second on one thread."""
    start = time.perf_counter()
    for _ in range(repeats):
        for example in examples:
            labels = cache.get(example.key)
            labels.at_temperature(2, 2.0)
            labels.full_ids()
    return repeats * len(examples) * EXAMPLE_TOKENS / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
