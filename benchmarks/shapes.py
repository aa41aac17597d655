"""Models and labels of given sizes with random content, for the benchmarks."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any

import torch
from harness_kd.soft_labels.manifest import Manifest
from transformers import LlamaConfig, LlamaForCausalLM


def add_sizes(parser: ArgumentParser, sizes: Mapping[str, int], presets: Mapping[str, Any]) -> None:
    """``--preset``, and an option for each size."""
    parser.add_argument("--preset", choices=presets)
    for name, default in sizes.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)


def parse_sizes(parser: ArgumentParser, presets: Mapping[str, Any]) -> Namespace:
    """The command line, over the sizes of the preset that it names."""
    preset = parser.parse_known_args()[0].preset
    if preset:
        parser.set_defaults(**presets[preset])
    return parser.parse_args()


def random_llama(arguments: Namespace, **config: Any) -> LlamaForCausalLM:
    """A Llama of random weights in float32, on ``arguments.device``."""
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=arguments.vocabulary,
        hidden_size=arguments.hidden,
        intermediate_size=arguments.intermediate,
        num_hidden_layers=arguments.layers,
        num_attention_heads=arguments.heads,
        **config,
    )
    with torch.device(arguments.device):
        return LlamaForCausalLM(shape)


def random_manifest(vocabulary: int, **fields: Any) -> Manifest:
    """Of labels that no teacher gave: top 64 at the default temperatures, unless ``fields`` say otherwise."""
    stated: dict[str, Any] = dict(
        teacher="random",
        teacher_revision="local",
        teacher_sha256="0" * 64,
        vocabulary_sha256="0" * 64,
        vocabulary_size=vocabulary,
        temperatures=(1.0, 1.5, 2.0, 4.0),
        top_k=64,
        max_tail=0.0,
        label_dtype="float16",
        teacher_dtype="float32",
    )
    return Manifest(**{**stated, **fields})
