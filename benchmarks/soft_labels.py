"""Size, gradient bias and reading speed of cached soft labels, on a simulated peaked teacher.

    python benchmarks/soft_labels.py [--vocabulary 151936] [--tokens 256] [--distillkit FOLDER]

The teacher's ranks follow Zipf laws of three steepnesses, as in instruction-tuned models: 60% of positions
near-certain, 30% moderate, 10% open. The student is the teacher flattened, with noise. Labels go through the
product's own capture head, file format and reader; each is stored under several keys, because a file's fixed
part is shared by few tokens otherwise. Gradient bias is |g - g*| / |g*| over all tokens, g* = softmax(z) - p
being the gradient from the teacher's full distribution; drawn labels err by chance, which averages out, the others alike each
time. DistillKit's compressed entries (a checkout of arcee-ai/DistillKit, its README's two configurations) are judged with the
same ghost tail and with the renormalised head; its time is decompression alone, without reading.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from harness_kd.data.examples import Example
from harness_kd.soft_labels.cache import SoftLabelCache, label_files, writing
from harness_kd.soft_labels.capture import label_rows
from harness_kd.soft_labels.labels import SoftLabels, pack
from harness_kd.soft_labels.manifest import Manifest
from shapes import random_manifest
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
    uniform = torch.rand(len(logits), manifest.tail_draws, dtype=torch.float64)
    arrays = [tensor.numpy() for tensor in label_rows(logits, nn.Identity(), manifest, uniform)]
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
    parser.add_argument("--distillkit", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    torch.manual_seed(0)
    base = random_manifest(options.vocabulary)
    teacher, student = simulate(options.tokens, options.vocabulary)
    print(
        "| kept | bytes/token on disk | bias T=1 | bias T=2 | renormalised, T=1 | read and decode, tokens/s |"
    )
    print("|---|---|---|---|---|---|")
    ways = {f"top {k}": {"top_k": k} for k in (16, 50, 64)} | {
        f"adaptive, tail <= {tail}": {"top_k": 64, "max_tail": tail} for tail in (0.1, 0.05, 0.02)
    }
    once = {"temperatures": (1.0,)}
    ways |= {
        "50 draws": {"top_k": 0, "tail_draws": 50, **once},
        "top 50 and 8 draws": {"top_k": 50, "tail_draws": 8, **once},
    }
    for name, change in ways.items():
        print(f"| {name} | " + " | ".join(measure(teacher, student, replace(base, **change))) + " |")
    if options.distillkit:
        for name, columns in distillkit(options.distillkit, teacher, student).items():
            print(f"| {name} | " + " | ".join(columns) + " |")


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
        ghost = [
            f"{bias(cache, examples, teacher, student, t, ghost=True):.1%}"
            if t in manifest.temperatures
            else "-"
            for t in (1.0, 2.0)
        ]
        renormalised = (
            "-" if manifest.tail_draws else f"{bias(cache, examples, teacher, student, 1.0, ghost=False):.1%}"
        )
        speed = read_speed(cache, examples)
    return [f"{size:.0f}", *ghost, renormalised, f"{speed:,.0f}"]


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
    """Checked random reads, decoded, tokens per second on one thread."""
    start = time.perf_counter()
    for _ in range(repeats):
        for example in examples:
            labels = cache.get(example.key)
            labels.at_temperature(0, 1.0)
            labels.full_ids()
    return repeats * len(examples) * EXAMPLE_TOKENS / (time.perf_counter() - start)


CONFIGURATIONS = {
    "DistillKit, recommended": dict(k=128, exact_k=16, polynomial_terms=[0, 1, 2, 3, 4, "sqrt"]),
    "DistillKit, budget": dict(k=50, exact_k=1, polynomial_terms=[0, 1, "sqrt"]),
}


def distillkit(folder: Path, teacher: Tensor, student: Tensor) -> dict[str, list[str]]:
    """The same columns for DistillKit's compressor."""
    sys.path.insert(0, str(folder))
    from distillkit.compression.compressor import LogprobCompressor
    from distillkit.compression.config import DistributionQuantizationConfig

    rows = {}
    log_p, q = teacher.log_softmax(-1), student.softmax(-1)
    for name, changes in CONFIGURATIONS.items():
        common = dict(d=teacher.shape[1], exact_dtype="bfloat16", term_dtype="float32", residual_bins=[])
        config = DistributionQuantizationConfig(
            **common, **changes, delta_encoding=False, error_diffusion=False
        )
        compressor = LogprobCompressor(config)
        stored = compressor.compress(log_p)
        size = sum(value.numel() * value.element_size() for value in stored.values()) / len(teacher)
        started = time.perf_counter()
        for _ in range(10):
            ids, log_probs = compressor.decompress_to_sparse(stored)
        speed = 10 * len(teacher) / (time.perf_counter() - started)
        kept = torch.zeros_like(q).scatter(1, ids, log_probs.exp().float())
        tail = (1 - kept.sum(-1, keepdim=True)).clamp_min(0)
        outside = q.scatter(1, ids, 0.0)
        targets = kept + outside / outside.sum(-1, keepdim=True) * tail, kept / kept.sum(-1, keepdim=True)
        p = log_p.exp()
        ghost, renormalised = (float((p - t).norm() / (q - p).norm()) for t in targets)
        rows[name] = [f"{size:.0f}", f"{ghost:.1%}", "-", f"{renormalised:.1%}", f"{speed:,.0f}"]
    return rows


if __name__ == "__main__":
    main()
