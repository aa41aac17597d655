"""False positives, coverage and power of everything that `harness compare` prints, by simulation.

Two systems answer the same n documents, whose difficulty they share. Under the null their scores come from one distribution; under
an effect the candidate's are shifted. Each number is a share of repeats; shares of 0.05 and 0.95 have a standard error of 0.009
at 600 repeats.

    python benchmarks/paired_tests.py [--repeats 600]
"""

from __future__ import annotations

import argparse

import numpy as np
from tqdm import tqdm

from harness.stats import compare_means, compare_rates, compare_statistics, holm
from harness.stats.matched import adjusted_mean, matched_mean, matched_pairs

RESAMPLES = 1000


def rates(generator: np.random.Generator, n: int, effect: float) -> tuple[np.ndarray, np.ndarray]:
    """0 or 1 for each document, around 0.5, so that no chance leaves 0..1 under the effects of this benchmark."""
    chance = 0.5 + generator.uniform(-0.15, 0.15, n)
    return (generator.random(n) < chance).astype(float), (generator.random(n) < chance + effect).astype(float)


def means(generator: np.random.Generator, n: int, effect: float) -> tuple[np.ndarray, np.ndarray]:
    """Like ROUGE-L: skewed, with a common part."""
    difficulty = generator.beta(2, 5, n)
    return difficulty + generator.normal(0, 0.1, n), difficulty + effect + generator.normal(0, 0.1, n)


def corpora(generator: np.random.Generator, n: int, effect: float) -> tuple[np.ndarray, np.ndarray]:
    """Counts [matches, total] of documents of unequal length, whose ratio of sums is the score."""
    totals = generator.integers(20, 200, n)
    chance = np.clip(generator.normal(0.5, 0.1, n), 0.05, 0.9)
    tables = [
        np.column_stack([generator.binomial(totals, chance + shift), totals]) for shift in (0.0, effect)
    ]
    return tables[0].astype(float), tables[1].astype(float)


def ratio(sums: np.ndarray) -> np.ndarray:
    """Score of summed counts."""
    return sums[:, 0] / sums[:, 1]


def _compare(kind: str, pair: tuple[np.ndarray, np.ndarray], seed: int):
    if kind == "rate, McNemar":
        return compare_rates(*pair)
    if kind == "mean, bootstrap":
        return compare_means(*pair, n_resamples=RESAMPLES, seed=seed)
    return compare_statistics(*pair, ratio, n_resamples=RESAMPLES, seed=seed)


MAKERS = {"rate, McNemar": rates, "mean, bootstrap": means, "corpus, bootstrap": corpora}


def paired(repeats: int) -> None:
    """False-positive rate, coverage of the difference's interval, and power at the difference called detectable."""
    print("| test | n | false positives at 0.05 | coverage of 95% | power at the detectable difference |")
    print("|---|---:|---:|---:|---:|")
    for kind, make in MAKERS.items():
        for n in (50, 200, 1000):
            generator = np.random.default_rng(1)
            # the size of a detectable effect, from one large sample under the null
            pilot = _compare(kind, make(generator, 20_000, 0.0), 0)
            effect = pilot.detectable() * (20_000 / n) ** 0.5
            truth = (
                _compare(kind, make(generator, 400_000, effect), 0).delta
                if kind != "mean, bootstrap"
                else effect
            )
            wrong = covered = found = 0
            for seed in tqdm(range(repeats), desc=f"{kind}, n = {n}", leave=False):
                null = _compare(kind, make(generator, n, 0.0), seed)
                wrong += null.p_value <= 0.05
                covered += 0.0 in null.interval
                shifted = _compare(kind, make(generator, n, effect), seed)
                found += shifted.p_value <= 0.05
                covered += truth in shifted.interval
            print(
                f"| {kind} | {n} | {wrong / repeats:.3f} | {covered / (2 * repeats):.3f} | {found / repeats:.3f} |"
            )


def family(repeats: int) -> None:
    """Share of comparisons of 6 scores without any true difference in which some score is called different."""
    generator = np.random.default_rng(2)
    plain = corrected = 0
    for seed in tqdm(range(repeats), desc="family", leave=False):
        found = [
            _compare(
                "mean, bootstrap" if i % 2 else "rate, McNemar",
                (means if i % 2 else rates)(generator, 200, 0.0),
                seed,
            )
            for i in range(6)
        ]
        p_values = [difference.p_value for difference in found]
        plain += min(p_values) <= 0.05
        corrected += min(holm(p_values)) <= 0.05
    print(
        f"\nSix scores, none different: some called different without correction {plain / repeats:.3f}, ",
        end="",
    )
    print(f"after Holm {corrected / repeats:.3f}.")


def matched(repeats: int) -> None:
    """Two systems equal but for style: the candidate writes longer, which alone raises its score."""
    generator = np.random.default_rng(3)
    n, shares = 600, np.zeros(4)
    for seed in tqdm(range(repeats), desc="matched", leave=False):
        base = generator.normal([4.0, 1.0], [0.5, 0.4], (n, 2))
        style = generator.normal([0.2, -0.1], [0.4, 0.2], (n, 2))
        noise = (generator.exponential(0.2, n) - 0.2) * (1 + np.abs(style[:, 0]))
        difference = style @ [0.3, 0.1] + noise
        adjusted = adjusted_mean(difference, style, n_resamples=RESAMPLES, seed=seed)
        alike = matched_pairs(base, base + style)
        pairs = matched_mean(difference, alike, n_resamples=RESAMPLES, seed=seed)
        plain = compare_means(np.zeros(n), difference, n_resamples=RESAMPLES, seed=seed)
        assert adjusted is not None
        shares += [
            0.0 in plain.interval,
            0.0 in adjusted.interval,
            pairs is not None,
            pairs is not None and 0.0 in pairs.interval,
        ]
    plain_share, adjusted_share, kept, pair_share = shares / repeats
    print("\nEqual but for length (n = 600), intervals that hold 0: ", end="")
    print(
        f"plain {plain_share:.3f}, at equal style {adjusted_share:.3f}, like pairs {pair_share / max(kept, 1e-9):.3f} ",
        end="",
    )
    print(f"(enough pairs in {kept:.3f}).")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=600)
    repeats = parser.parse_args().repeats
    paired(repeats)
    family(repeats)
    matched(repeats)


if __name__ == "__main__":
    main()
