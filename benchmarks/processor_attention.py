"""Attention forward and backward on a processor: plain matrix products against torch's fused kernel, by precision and length.

Nine heads of 64, as in SmolLM2-135M; rows of one length, some 1,680 tokens in all; milliseconds of processor time, the fastest of
some rounds. Above 1 the fused kernel is slower.

    python benchmarks/processor_attention.py [--threads 1] [--rounds 5]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

TOKENS, HEADS, WIDTH = 1680, 9, 64


def plain(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """As transformers' eager attention computes it; q, k, v [B, H, T, D]."""
    later = torch.full((q.shape[2],) * 2, torch.finfo(q.dtype).min, dtype=q.dtype).triu(1)
    weights = functional.softmax(q @ k.transpose(2, 3) / WIDTH**0.5 + later, dim=-1, dtype=torch.float32)
    return weights.to(q.dtype) @ v


def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """By torch's own choice of kernel; q, k, v [B, H, T, D]."""
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def seconds(attend: Callable[..., Tensor], length: int, dtype: torch.dtype, rounds: int) -> float:
    """Processor seconds of one forward and backward pass."""
    shape = max(1, TOKENS // length), HEADS, length, WIDTH
    given = [torch.randn(shape, dtype=dtype, requires_grad=True) for _ in range(3)]
    taken = []
    for _ in range(rounds + 1):
        start = time.process_time()
        attend(*given).sum().backward()
        taken.append(time.process_time() - start)
    return min(taken[1:])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print("| precision | tokens of a row | plain, ms | fused, ms | fused / plain |")
    print("|---|---:|---:|---:|---:|")
    for dtype in (torch.bfloat16, torch.float32):
        for length in (64, 105, 128, 192, 256, 512, 1024):
            one, other = (1e3 * seconds(kind, length, dtype, arguments.rounds) for kind in (plain, fused))
            name = str(dtype).removeprefix("torch.")
            print(f"| {name} | {length} | {one:.1f} | {other:.1f} | {other / one:.2f} |", flush=True)


if __name__ == "__main__":
    main()
