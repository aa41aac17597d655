"""Scoring a task with HHEM-2.1-open's architecture: our batches against the model card's own ways.

The model is flan-t5-base's encoder with two labels (109.6 million random weights, untrained: time does not depend on their
values), saved as the published checkpoint is laid out and loaded as a judge. The pairs' lengths follow CNN/DailyMail's: log-normal,
with the mean and spread of the logarithm of the words of REALSumm's 100 articles, summaries of about 61 words, and 1.35 tokens per
word. Contenders, from token ids to scores, in turns in one process, the last three on transformers' own model:

    ours           sorted by length, batches under a budget of padded tokens, oneDNN on a processor
    one by one     the card's loop
    one batch      the card's `model.predict(pairs)`: all pairs in one batch, padded to the longest

Batches of 8 in the order given are what a fixed batch size does. Scores are compared.

    python benchmarks/judge_scoring.py [--pairs 12] [--rounds 3] [--device cuda] [--dtype bfloat16]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from memory import PeakMemory
from transformers import T5Config, T5ForTokenClassification

from harness.judges.calibration import Calibration
from harness.judges.hhem21 import PARAMETERS, build
from harness.judges.judge import Identity, Judge, score_all
from harness.models.device import placed

LOG_WORDS_MEAN, LOG_WORDS_SPREAD = 6.505, 0.466
"""Of REALSumm's 100 CNN/DailyMail articles."""
SUMMARY_WORDS = 61
TOKENS_PER_WORD = 1.35
PROMPT_TOKENS = 22
PAD = 0


class Model:
    """The architecture as a judge's backbone that takes token ids; it has no tokenizer."""

    limit = None
    trained_length = 512
    pad_id = PAD

    def __init__(self, folder: Path) -> None:
        from safetensors.torch import save_file

        torch.manual_seed(0)
        config = T5Config(
            vocab_size=32128,
            d_model=768,
            d_kv=64,
            d_ff=2048,
            num_layers=12,
            num_heads=12,
            feed_forward_proj="gated-gelu",
            num_labels=2,
        )
        model = T5ForTokenClassification(config)
        # T5's own start scores every pair alike, which would compare nothing
        torch.nn.init.normal_(model.classifier.weight, std=0.4)
        state = {f"t5.{name}": value.clone() for name, value in model.state_dict().items()}
        state.pop("t5.transformer.encoder.embed_tokens.weight")
        config.save_pretrained(folder)
        save_file(state, folder / "model.safetensors")
        self.plain = model.eval()
        self._placed = False
        self._model = build(folder / "model.safetensors", folder, parameters=PARAMETERS)

    def encode(self, pairs: object) -> list[object]:
        """See `harness.judges.judge.Backbone`."""
        raise NotImplementedError("the benchmark starts from token ids")

    def probabilities(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """See `harness.judges.judge.Backbone`."""
        return self._model(input_ids=ids, attention_mask=mask).logits[:, 0].float().softmax(-1)[:, 1]

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """See `harness.judges.judge.Backbone`."""
        if not self._placed:
            self._model, self._placed = placed(self._model, device, dtype), True


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = Model(Path(folder))
    identity = Identity(name="random", revision="local", weights_sha256="", files_sha256="")
    judge = Judge(
        identity=identity,
        backbone=model,
        calibration=Calibration(),
        device=torch.device(arguments.device),
        dtype=arguments.dtype,
    )
    plain = model.plain.to(arguments.device, getattr(torch, arguments.dtype))
    rows = random_pairs(arguments.pairs)
    contenders: dict[str, Callable[[], list[float]]] = {
        "ours": lambda: score_all(judge, rows, progress=False),
        "one by one": lambda: in_batches(plain, rows, 1, arguments.device),
        "batches of 8": lambda: in_batches(plain, rows, 8, arguments.device),
        "one batch": lambda: in_batches(plain, rows, len(rows), arguments.device),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    peaks = dict.fromkeys(contenders, 0)
    scores: dict[str, list[float]] = {}
    contenders["one by one"]()  # first use allocates
    for turn in range(arguments.rounds):
        names = list(contenders)[turn % 4 :] + list(contenders)[: turn % 4]
        for name in names:
            with PeakMemory(arguments.device) as peak:
                started = time.perf_counter()
                scores[name] = contenders[name]()
                seconds[name].append(time.perf_counter() - started)
            peaks[name] = max(peaks[name], peak.mib)
    lengths = [len(row) for row in rows]
    print(
        f"{len(rows)} pairs of {min(lengths)} to {max(lengths)} tokens (mean {np.mean(lengths):.0f}), {arguments.dtype}, "
        f"{arguments.device}, {torch.get_num_threads()} threads, {arguments.rounds} rounds; scores from "
        f"{min(scores['ours']):.3f} to {max(scores['ours']):.3f}\n\n"
        "| | seconds | times ours | peak MiB | largest difference in score |\n|---|---|---|---|---|"
    )
    for name, values in seconds.items():
        ratio = median(other / ours for other, ours in zip(values, seconds["ours"], strict=True))
        worst = float(np.abs(np.subtract(scores[name], scores["ours"])).max())
        print(f"| {name} | {median(values):.1f} | {ratio:.2f} | {peaks[name]:,} | {worst:.0e} |")


def random_pairs(n: int) -> list[list[int]]:
    """Token ids as a prompt has them, with the padding token first."""
    rng = np.random.default_rng(0)
    words = np.exp(rng.normal(LOG_WORDS_MEAN, LOG_WORDS_SPREAD, n)) + SUMMARY_WORDS
    lengths = (words * TOKENS_PER_WORD).astype(int) + PROMPT_TOKENS
    return [[PAD, *rng.integers(3, 32_000, length - 1).tolist()] for length in lengths]


@torch.inference_mode()
def in_batches(model: T5ForTokenClassification, rows: list[list[int]], size: int, device: str) -> list[float]:
    """The card's way: pairs in the order given, each batch padded to its longest."""
    scores: list[float] = []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        longest = max(map(len, part))
        ids = torch.tensor([row + [PAD] * (longest - len(row)) for row in part], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in part], device=device)
        logits = model(input_ids=ids, attention_mask=mask).logits[:, 0]
        scores += logits.float().softmax(-1)[:, 1].tolist()
    return scores


if __name__ == "__main__":
    main()
