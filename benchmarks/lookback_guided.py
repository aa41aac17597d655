"""What classifier-guided decoding does to faithfulness in the news world, by the oracle.

Each method answers the same held-out articles: greedy decoding, plain sampling, guided by the shipped lookback classifier, and
guided by the model's own probability of the same candidates, which costs the same and needs no classifier. Differences are paired
by article.

    python benchmarks/lookback_guided.py [--articles 500] [--models student-sft student-kd teacher]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from make_lookback_classifier import SEED, model_path

from harness import newsworld
from harness.lookback.classifier import shipped_for
from harness.lookback.encoding import context_tokens
from harness.lookback.guided import Guidance, ends_with, guided, text_of
from harness.lookback.newsworld import MAX_NEW_TOKENS, responses
from harness.models.load import LanguageModel, load_language_model
from harness.newsworld.oracle import judge
from harness.stats.bootstrap import bootstrap_interval

METHODS = ("first", "lookback", "probability")
NAMES = {"first": "sampled", "lookback": "guided by lookback", "probability": "guided by probability"}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--articles", type=int, default=500)
    parser.add_argument("--models", nargs="+", default=["student-sft", "student-kd", "teacher"])
    parser.add_argument("--students", type=Path, default=Path("build/lookback"))
    parser.add_argument("--temperature", type=float, default=0.9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    articles = [row["article"] for row in newsworld.rows("test", arguments.articles, seed=SEED + 1)]
    print(
        f"{len(articles):,} articles, 8 candidates, chunks of 8, temperature {arguments.temperature:g}\n\n"
        "| model | decoding | faithful % | minus greedy, 95% interval | minus guided by probability | seconds |\n"
        "|---|---|---|---|---|---|"
    )
    for name in arguments.models:
        lm = load_language_model(str(model_path(name, arguments.students)), device="cpu", batch_size=64)
        found, seconds = {}, {}
        for method in ("greedy", *METHODS):
            started = time.process_time()
            found[method] = faithful(articles, answers(lm, articles, method, arguments.temperature))
            seconds[method] = time.process_time() - started
        for method in ("greedy", *METHODS):
            print(
                f"| {name} | {NAMES.get(method, method)} | {found[method].mean():.1%} | {minus(found, method, 'greedy')} "
                f"| {minus(found, method, 'probability')} | {seconds[method]:.0f} |",
                flush=True,
            )


def answers(lm: LanguageModel, articles: list[str], method: str, temperature: float) -> list[str]:
    """One response to each article."""
    prompts = [newsworld.prompt(article) for article in articles]
    if method == "greedy":
        return responses(lm, prompts)
    shipped = shipped_for(lm.model.config)
    if shipped is None:
        raise SystemExit("no shipped classifier fits")
    guidance = Guidance(max_new_tokens=MAX_NEW_TOKENS, choose=method, temperature=temperature)
    ended = ends_with(lm.tokenizer, ["\n"])
    found = []
    for number, (article, prompt) in enumerate(zip(tqdm(articles, desc=method), prompts, strict=True)):
        passage = context_tokens(lm, prompt, prompt.index(article) + len(article))
        ids = guided(lm.model, shipped[1], passage, guidance, ended=ended, seed=number)
        found.append(text_of(lm.tokenizer, ids, ["\n"]))
    return found


def faithful(articles: list[str], found: list[str]) -> np.ndarray:
    """1.0 where the oracle supports every fact, as in `oracle_faithfulness`."""
    return np.array(
        [float(judge(article, text.strip()).faithful) for article, text in zip(articles, found, strict=True)]
    )


def minus(found: dict[str, np.ndarray], method: str, other: str) -> str:
    """Mean paired difference in points with its interval."""
    if method == other:
        return ""
    difference = (found[method] - found[other]) * 100
    interval = bootstrap_interval(difference)
    return f"{difference.mean():+.1f} [{interval.low:+.1f}, {interval.high:+.1f}]"


if __name__ == "__main__":
    main()
