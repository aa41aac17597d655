"""How well the shipped lookback classifiers find hallucinations on held-out articles, beside what costs nothing.

The quickstart's models write about articles of the test split that no model and no classifier has seen, and the oracle labels
every token. Two questions, each by AUROC: which of a response's windows of 8 tokens are factual, and which responses are wholly so.

    lookback lens   the classifier's probability (of a response: mean over its windows)
    mean ratio      mean lookback ratio over all heads, without a classifier
    entropy         minus the mean entropy of the model's next-token distribution
    probability     mean log-probability of the tokens that were written
    length          minus the tokens of the response (the same for all its windows)

    python benchmarks/lookback_quality.py [--articles 1000] [--students build/lookback]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from make_lookback_classifier import SEED, model_path

from harness.lookback.classifier import shipped_for
from harness.lookback.fit import Example, auroc, read_examples
from harness.lookback.newsworld import oracle_rows
from harness.lookback.windows import features, sliding, window_labels
from harness.models.load import LanguageModel, load_language_model

MODELS = ("teacher", "student-sft", "student-kd", "student")
METHODS = ("lookback lens", "mean ratio", "entropy", "probability", "length")
FloatArray = NDArray[np.float64]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--articles", type=int, default=1000)
    parser.add_argument(
        "--students", type=Path, default=Path("build/lookback"), help="trained there if they are not"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{arguments.articles:,} articles\n\n"
        f"| model | responses | windows (factual) | of | {' | '.join(METHODS)} |\n|---|---|---|---|{'---|' * len(METHODS)}"
    )
    for name in MODELS:
        lm = load_language_model(str(model_path(name, arguments.students)), device="cpu", batch_size=64)
        for how, temperature in (("greedy", 0.0), ("sampled", 1.0)):
            rows = oracle_rows(lm, "test", arguments.articles, temperatures=(temperature,), seed=SEED)
            measure(name, how, lm, read_examples(lm, rows))


def measure(name: str, how: str, lm: LanguageModel, examples: Sequence[Example]) -> None:
    """Two lines of the table."""
    found = shipped_for(lm.model.config)
    if found is None:
        raise SystemExit(f"no shipped classifier fits {name}")
    _, classifier = found
    surprise = token_statistics(lm, examples)
    per_window: dict[str, list[FloatArray]] = {method: [] for method in METHODS}
    labels = []
    for example, (entropies, log_probs) in zip(examples, surprise, strict=True):
        spans = sliding(len(example.labels))
        x = features(example.ratios, spans)
        labels.append(window_labels(example.labels, spans))
        per_window["lookback lens"].append(classifier.probabilities(x))
        per_window["mean ratio"].append(x.mean(-1))
        per_window["entropy"].append(-np.array([entropies[a:b].mean() for a, b in spans]))
        per_window["probability"].append(np.array([log_probs[a:b].mean() for a, b in spans]))
        per_window["length"].append(np.full(len(spans), -float(len(example.labels))))
    windows = np.concatenate(labels)
    whole = np.array([example.labels.min() for example in examples])
    share = f"{len(windows):,} ({windows.mean():.0%})"
    cells = [auroc(np.concatenate(per_window[method]), windows) for method in METHODS]
    print(
        f"| {name} | {how} | {share} | windows | {' | '.join(f'{c:.3f}' if c else '-' for c in cells)} |",
        flush=True,
    )
    cells = [auroc(np.array([found.mean() for found in per_window[method]]), whole) for method in METHODS]
    share = f"{len(whole):,} ({whole.mean():.0%})"
    print(
        f"| {name} | {how} | {share} | responses | {' | '.join(f'{c:.3f}' if c else '-' for c in cells)} |",
        flush=True,
    )


@torch.inference_mode()
def token_statistics(lm: LanguageModel, examples: Sequence[Example]) -> list[tuple[FloatArray, FloatArray]]:
    """For each response: entropy of the distribution that each token was drawn from, and its log-probability; nats, [R]."""
    found = []
    for example in examples:
        passage = example.encoded.passage
        n = len(example.labels)
        ids = torch.tensor([[*passage.prompt, *passage.response]])
        log_p = lm.model(ids).logits[0, -n - 1 : -1].double().log_softmax(-1)
        entropies = -(log_p.exp() * log_p).sum(-1)
        chosen = log_p.gather(1, ids[0, -n:, None])[:, 0]
        found.append((entropies.numpy(), chosen.numpy()))
    return found


if __name__ == "__main__":
    main()
