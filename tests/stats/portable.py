"""Results of every public function of harness.stats on discrete, tied and continuous data; run as a script, it prints them as JSON.

The data have what tempts a last bit: scores of whole thousandths, thirds and rates, equal systems, equal columns, equal gains.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np

from harness.metrics.chrf import f_scores
from harness.stats import (
    bootstrap_interval,
    bootstrap_intervals,
    bootstrap_statistic,
    compare_means,
    compare_rates,
    compare_statistics,
    holm,
    pairwise_p_statistics,
    pairwise_p_values,
    pseudo_values,
)
from harness.stats.matched import adjusted_mean, matched_mean, matched_pairs

Shake = Callable[[np.ndarray], np.ndarray]
SIZES = (3, 9, 20, 30, 60, 300)


def chrf(sums: np.ndarray) -> np.ndarray:
    return f_scores(sums, beta=2, effective_order=True)


def ratio(sums: np.ndarray) -> np.ndarray:
    return sums[:, 1] / sums[:, 0]


def scores(n: int) -> dict[str, np.ndarray]:
    """Pairs of columns [2, n]."""
    generator = np.random.default_rng(n)
    difficulty = generator.beta(2, 5, n)
    first, second = np.round(difficulty + generator.normal(0, 0.1, (2, n)), 3)
    thirds = generator.integers(0, 4, (2, n)) / 3
    return {
        "thousandths": np.stack([first, second]),
        "continuous": difficulty + generator.normal(0, 0.1, (2, n)),
        "thirds": thirds,
        "tied thirds": np.stack([thirds[0], np.where(generator.random(n) < 0.8, *thirds)]),
        "equal": np.stack([first, first]),
        "equal gains": np.stack([first, first + 0.1]),
        "opposite": np.stack([first, first + 0.1 * (-1) ** np.arange(n)]),
        "no score": np.zeros((2, n)),
    }


def counts(n: int) -> list[np.ndarray]:
    """ChrF-like tables of three systems, the third that of the first but for a few documents."""
    generator = np.random.default_rng(n + 1)
    tables = []
    for skill in (0.5, 0.53):
        totals = generator.integers(50, 200, n)
        columns = [[totals, totals + 3, generator.binomial(totals, skill**k)] for k in range(1, 7)]
        tables.append(np.concatenate(columns).T.astype(float))
    third = tables[0].copy()
    third[::8, 2] += 1
    return [*tables, third]


def of_one(n: int, shake: Shake) -> dict[str, Any]:
    found: dict[str, Any] = {}
    columns = {name: shake(pair) for name, pair in scores(n).items()}
    for name, pair in columns.items():
        found[f"interval, {name}"] = bootstrap_interval(pair[0])
        found[f"means, {name}"] = compare_means(pair[0], pair[1])
    found["intervals"] = bootstrap_intervals(np.concatenate(list(columns.values())).T, n_resamples=400)
    rates = shake((scores(n)["thousandths"] > 0.3).astype(float))
    found["rates"] = compare_rates(rates[0], rates[1])
    found["interval, rate"] = bootstrap_interval(rates[0])
    tables = [shake(table) for table in counts(n)]
    found["chrf"] = bootstrap_statistic(tables[0], chrf)
    found["pseudo"] = pseudo_values(tables[1], chrf)
    for j in (0, 1, 2):
        found[f"statistics {j}"] = compare_statistics(tables[0], tables[j], chrf)
    pair = columns["thousandths"]
    sums = [shake(np.column_stack([np.ones(n), column])) for column in pair]
    found["statistics, mean"] = compare_statistics(sums[0], sums[1], ratio)
    for name in [*found]:
        if hasattr(found[name], "detectable"):
            found[f"{name}, detectable"] = found[name].detectable(alpha=0.05 / 13)
    found["matched"] = of_style(pair[1] - pair[0], n, shake)
    return found


def of_style(difference: np.ndarray, n: int, shake: Shake) -> dict[str, Any]:
    generator = np.random.default_rng(n + 2)
    before = np.round(np.log1p(generator.integers(5, 12, (n, 2))), 6)
    after = np.where(generator.random((n, 2)) < 0.5, before, np.roll(before, 1, axis=0))
    before, after = shake(before), shake(after)
    rare = np.zeros((n, 2))
    rare[:3] = [[0.5, 0.25], [0.5, 0.0], [0.1, 0.25]]
    alike = matched_pairs(before, after)
    return {
        "alike": alike.tolist(),
        "pairs": matched_mean(difference, alike, n_resamples=400),
        "adjusted": adjusted_mean(difference, after - before, n_resamples=400),
        "one column twice": adjusted_mean(difference, shake((after - before)[:, [0, 0]]), n_resamples=400),
        "constant column": adjusted_mean(difference, shake(np.full((n, 1), 0.3)), n_resamples=400),
        "rare": adjusted_mean(difference, shake(rare), n_resamples=400),
    }


def of_many(n: int, shake: Shake) -> dict[str, Any]:
    table = np.concatenate([scores(n)[name] for name in ("thousandths", "continuous", "thirds", "equal")])
    by_mean = pairwise_p_values(shake(table), rates=False)
    by_rate = pairwise_p_values(shake((table > 0.3).astype(float)), rates=True)
    by_counts = pairwise_p_statistics([shake(counted) for counted in counts(n)], chrf)
    upper = np.triu_indices(len(table), 1)
    adjusted = holm(by_mean[upper])
    return {
        "means": by_mean,
        "rates": by_rate,
        "statistics": by_counts,
        "holm": adjusted,
        "shown": [p <= 0.05 for p in adjusted],
    }


def everything(shake: Shake = lambda values: values, sizes: tuple[int, ...] = SIZES) -> dict[str, Any]:
    """All results as plain data."""
    return plain({str(n): {"one": of_one(n, shake), "many": of_many(n, shake)} for n in sizes})


def plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(inner) for inner in value]
    return value.item() if isinstance(value, np.generic) else value


if __name__ == "__main__":
    json.dump(everything(), sys.stdout)
