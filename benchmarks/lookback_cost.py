"""What the lookback ratios of a response cost, beside generating it: here, and in the original's way.

A Llama of random weights generates greedily from a random prompt. Then

    ours       one teacher-forced pass over prompt and response (`harness.lookback.extraction.lookback_ratios`)
    original   generation itself with eager attention, the weights of every step returned and kept, then reduced
               (voidism/Lookback-Lens @ f2846ef, step01_extract_attns.py)

The time added by ours is that pass; by the original, its generation and reduction less plain generation; both also in
plain forward passes over the same tokens. In turns, medians. Memory is the peak of a process of its own above the model. The
ratios of both are compared.

    python benchmarks/lookback_cost.py [--context 2048] [--response 128] [--rounds 3] [--long 32768]
    python benchmarks/lookback_cost.py --preset llama-3.1-8b --device cuda --dtype bfloat16 --context 8192
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from memory import PeakMemory
from numpy.typing import NDArray
from shapes import add_sizes, parse_sizes, random_llama
from transformers import LlamaForCausalLM

from harness.lookback.extraction import Passage, lookback_ratios

SUFFIX = 8
"""Prompt tokens after the document."""
PRESETS = {
    "llama-3.1-8b": dict(hidden=4096, layers=32, heads=32, kv_heads=8, intermediate=14336, vocabulary=128256)
}
FIT = (
    ("Llama-2-7B", 32, 32, 13.5, 80),
    ("Llama-3.1-8B", 32, 32, 16.1, 80),
    ("Qwen2.5-0.5B", 24, 14, 1.0, 24),
)
"""Model, layers, heads, GB of bf16 weights, and of the memory they are to fit into."""


def main() -> None:
    """Print the tables."""
    arguments = parse()
    if arguments.contender:
        print(peak_of(arguments))
        return
    model, prompt = make_model(arguments), make_prompt(arguments)
    passage = Passage(prompt, generate(model, prompt, arguments), len(prompt) - SUFFIX)
    tokens = torch.tensor([passage.fed], device=arguments.device)
    steps: dict[str, Callable[[], Any]] = {
        "forward": lambda: forward(model, tokens),
        "generate": lambda: generate(model, prompt, arguments),
        "ours": lambda: lookback_ratios(model, [passage])[0],
        "original": lambda: original(model, prompt, passage, arguments),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    found: dict[str, Any] = {}
    clock = time.process_time if arguments.device == "cpu" else time.perf_counter
    for turn in range(arguments.rounds + 1):
        for name in [*steps][turn % 4 :] + [*steps][: turn % 4]:
            started = clock()
            found[name] = steps[name]()
            if arguments.device != "cpu":
                torch.accelerator.synchronize()
            if turn:
                seconds[name].append(clock() - started)
    added = {
        "ours": seconds["ours"],
        "original": [a - b for a, b in zip(seconds["original"], seconds["generate"], strict=True)],
    }
    peaks = {name: peak_in_process(name) for name in ("generate", "ours", "original")}
    print(
        f"hidden {arguments.hidden}, {arguments.layers} layers, {arguments.heads} heads, context {arguments.context:,}, "
        f"response {arguments.response}, {arguments.dtype}, {arguments.device}, {torch.get_num_threads()} threads, "
        f"{arguments.rounds} rounds. "
        f"Plain generation takes {median(seconds['generate']):.2f} s, one forward pass {median(seconds['forward']):.2f} s; "
        f"largest difference between the ratios {np.abs(found['ours'] - found['original']).max():.0e}.\n\n"
        "| | seconds added | in forward passes | peak MiB | times ours |\n|---|---|---|---|---|"
    )
    for name, values in added.items():
        passes = median(value / one for value, one in zip(values, seconds["forward"], strict=True))
        print(
            f"| {name} | {median(values):.2f} | {passes:.2f} | {peaks[name]:,} | {peaks[name] / peaks['ours']:.1f} |"
        )
    print(f"| plain generation | | | {peaks['generate']:,} | {peaks['generate'] / peaks['ours']:.1f} |")
    if arguments.long:
        print(
            f"\n{arguments.long:,} context tokens, ours: peak {peak_in_process('ours', arguments.long):,} MiB"
        )
    print(
        "\n| model | memory GB | the original's weights alone at context 2,048 | no longer fit at context |\n|---|---|---|---|"
    )
    for name, layers, heads, weights, memory in FIT:
        most = next(n for n in range(256, 10**6, 256) if kept_gb(layers, heads, n, 128) + weights > memory)
        print(f"| {name}, bf16 | {memory} | {kept_gb(layers, heads, 2048, 128):.1f} GB | {most:,} |")


def parse() -> argparse.Namespace:
    """Command-line arguments, with a preset's sizes filled in."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sizes = dict(hidden=512, layers=8, heads=8, kv_heads=8, intermediate=1376, vocabulary=32000)
    add_sizes(parser, sizes, PRESETS)
    parser.add_argument("--context", type=int, default=2048, help="tokens of the prompt")
    parser.add_argument("--response", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--long", type=int, default=0, help="a longer context, for our peak memory alone")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    return parse_sizes(parser, PRESETS)


def kept_gb(layers: int, heads: int, context: int, response: int) -> float:
    """GB of the bf16 attention weights that the original keeps: the prompt's square, then a row for each new token."""
    elements = context**2 + sum(context + step for step in range(1, response))
    return layers * heads * elements * 2 / 1e9


def make_model(arguments: argparse.Namespace) -> LlamaForCausalLM:
    """Random weights."""
    model = random_llama(
        arguments,
        num_key_value_heads=arguments.kv_heads,
        max_position_embeddings=1 << 17,
        eos_token_id=None,
        pad_token_id=0,
    )
    return model.to(getattr(torch, arguments.dtype)).eval()


def make_prompt(arguments: argparse.Namespace) -> list[int]:
    """Random tokens."""
    return np.random.default_rng(0).integers(3, arguments.vocabulary, arguments.context).tolist()


@torch.inference_mode()
def forward(model: LlamaForCausalLM, tokens: torch.Tensor) -> None:
    """A pass over all tokens, without logits, as ours."""
    model.model(tokens, use_cache=False)


@torch.inference_mode()
def generate(model: LlamaForCausalLM, prompt: list[int], arguments: argparse.Namespace) -> list[int]:
    """Plain greedy generation."""
    ids = torch.tensor([prompt], device=arguments.device)
    count = arguments.response
    return model.generate(ids, max_new_tokens=count, min_new_tokens=count, do_sample=False)[
        0, len(prompt) :
    ].tolist()


@torch.inference_mode()
def original(
    model: LlamaForCausalLM, prompt: list[int], passage: Passage, arguments: argparse.Namespace
) -> NDArray[np.float32]:
    """Generation that keeps every step's attention, and the ratios from it, float32 [R, L, H]."""
    model.set_attn_implementation("eager")
    try:
        ids = torch.tensor([prompt], device=arguments.device)
        count = arguments.response
        attentions = model.generate(
            ids,
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            output_attentions=True,
            return_dict_in_generate=True,
        ).attentions
    finally:
        model.set_attn_implementation("sdpa")
    rows = []
    for step in attentions:
        last = torch.stack([layer[0, :, -1].float() for layer in step])  # [L, H, K]
        context, new = last[..., : passage.context].mean(-1), last[..., passage.context :].mean(-1)
        rows.append((context / (context + new)).cpu().numpy())
    return np.stack(rows)


def peak_in_process(name: str, context: int | None = None) -> int:
    """MiB, measured by this script in a process of its own."""
    words = [*sys.argv[1:], "--contender", name, *(["--context", str(context)] if context else [])]
    run = subprocess.run([sys.executable, __file__, *words], check=True, capture_output=True, text=True)
    return int(run.stdout.split()[-1])


def peak_of(arguments: argparse.Namespace) -> int:
    """MiB above the model; ours reads a given response, since plain generation stands in a row of its own."""
    model, prompt = make_model(arguments), make_prompt(arguments)
    response = np.random.default_rng(1).integers(3, arguments.vocabulary, arguments.response).tolist()
    passage = Passage(prompt, response, len(prompt) - SUFFIX)
    forward(model, torch.tensor([prompt[:64]], device=arguments.device))
    with PeakMemory(arguments.device) as peak:
        if arguments.contender == "generate":
            generate(model, prompt, arguments)
        elif arguments.contender == "ours":
            lookback_ratios(model, [passage])
        else:
            original(model, prompt, passage, arguments)
    return peak.mib


if __name__ == "__main__":
    main()
