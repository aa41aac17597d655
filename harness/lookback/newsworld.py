"""Responses of news-world models with the oracle's spans: rows to fit on and to measure with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tqdm import tqdm

from harness import newsworld
from harness.lookback.extraction import device_of
from harness.lookback.rows import Row, make_row, oracle_labeller
from harness.models.load import LanguageModel

MAX_NEW_TOKENS = 48
"""As in ``kd_newsworld_factual``."""


def responses(
    lm: LanguageModel,
    prompts: Sequence[str],
    *,
    temperature: float = 0.0,
    seed: int = 0,
    progress: bool = True,
) -> list[str]:
    """One response to each prompt: greedy at temperature 0, else sampled; batches of 64, padded on the left."""
    lm.tokenizer.padding_side = "left"
    torch.manual_seed(seed)
    found: list[str] = []
    starts = range(0, len(prompts), 64)
    choice = (
        {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
    )
    for start in tqdm(starts, desc=f"respond, temperature {temperature:g}", disable=not progress):
        batch = lm.tokenizer(list(prompts[start : start + 64]), return_tensors="pt", padding=True)
        batch = batch.to(device_of(lm.model))
        with torch.inference_mode():
            ids = lm.model.generate(**batch, max_new_tokens=MAX_NEW_TOKENS, **choice)
        found += lm.tokenizer.batch_decode(ids[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return [response.split("\n")[0] for response in found]


def oracle_rows(
    lm: LanguageModel, split: str, n: int, *, temperatures: Sequence[float], seed: int, progress: bool = True
) -> list[Row]:
    """Responses to the first ``n`` articles of a split at each temperature, with the spans that the oracle finds wrong."""
    rows = []
    articles = [row["article"] for row in newsworld.rows(split, n, seed=seed)]
    prompts = [newsworld.prompt(article) for article in articles]
    for temperature in temperatures:
        found = responses(lm, prompts, temperature=temperature, seed=seed, progress=progress)
        rows += [
            make_row(article, prompt, response, oracle_labeller(article, response.strip()))
            for article, prompt, response in zip(articles, prompts, found, strict=True)
            if response.strip()
        ]
    return rows
