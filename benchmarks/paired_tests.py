"""False positives, coverage and power of everything that `harness compare` and a board's ranks say, by simulation.

Two systems answer the same n documents, whose difficulty they share. Under the null their scores come from one distribution, or,
for "unlike noise", from two of one mean, of which one is skewed; under an effect the candidate's are shifted. Each number is
a share of repeats; shares of 0.05 and 0.95 have a standard error of 0.005 at 2,000 repeats.

    python benchmarks/paired_tests.py [--repeats 2000] [--only WORD]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from harness.metrics.chrf import f_scores
from harness.stats import (
    Difference,
    compare_means,
    compare_rates,
    compare_statistics,
    holm,
    pairwise_p_values,
)
from harness.stats.matched import adjusted_mean, matched_mean, matched_pairs

Pair = tuple[np.ndarray, np.ndarray]
SIZES = (5, 8, 10, 16, 20, 30, 50, 200, 1000)
PILOT = 100_000
"""Documents from which true differences and the size of a detectable one are taken."""


def rates(generator: np.random.Generator, n: int, effect: float) -> Pair:
    """0 or 1 for each document, with chances around 0.5 and as far apart as 0..1 lets them be."""
    chance = 0.5 + generator.uniform(-0.15, 0.15, n)
    shifted = [np.clip(chance + shift, 0, 1) for shift in (-effect / 2, effect / 2)]
    return (generator.random(n) < shifted[0]).astype(float), (generator.random(n) < shifted[1]).astype(float)


def means(generator: np.random.Generator, n: int, effect: float) -> Pair:
    """Like ROUGE-L: skewed, with a common part."""
    difficulty = generator.beta(2, 5, n)
    return difficulty + generator.normal(0, 0.1, n), difficulty + effect + generator.normal(0, 0.1, n)


def unlike(generator: np.random.Generator, n: int, effect: float) -> Pair:
    """The baseline is steady; the candidate is mostly a little worse and sometimes much better."""
    difficulty = generator.beta(2, 5, n)
    noise = generator.exponential(0.1, n) - 0.1
    return difficulty + generator.normal(0, 0.03, n), difficulty + effect + noise


def ties(generator: np.random.Generator, n: int, effect: float) -> Pair:
    """Scores of 0 to 3 thirds; on four documents of five the two write the same."""
    first, second = generator.integers(0, 4, (2, n)) / 3
    same = generator.random(n) < 0.8
    better = generator.random(n) < effect * 3 / 0.5  # a third more on half of these, on average
    return first, np.where(same, first, second) + np.where(better & (generator.random(n) < 0.5), 1 / 3, 0)


def rare(generator: np.random.Generator, n: int, effect: float) -> Pair:
    """On 98 documents of 100 the two write the same; `effect` moves the others."""
    score = generator.beta(2, 5, n)
    moved = generator.random(n) < 0.02
    return score, score + moved * (effect / 0.02 + generator.normal(0, 0.1, n))


def corpora(generator: np.random.Generator, n: int, effect: float) -> Pair:
    """Counts behind chrF [n, 18] for texts of unequal length, with fewer matches in higher orders."""
    reference = generator.integers(60, 400, n)
    skill = np.clip(generator.normal(0.6, 0.1, n), 0.1, 0.9)

    def table(shift: float) -> np.ndarray:
        response = np.maximum((reference * generator.normal(1, 0.15, n)).astype(int), 20)
        own = np.clip(skill + shift + generator.normal(0, 0.05, n), 0.02, 0.98)
        columns = []
        for order in range(1, 7):
            ours, theirs = response - order + 1, reference - order + 1
            columns += [ours, theirs, generator.binomial(np.minimum(ours, theirs), own**order)]
        return np.column_stack(columns).astype(float)

    return table(0.0), table(effect)


def chrf(sums: np.ndarray) -> np.ndarray:
    """ChrF2 of summed counts."""
    return f_scores(sums, beta=2, effective_order=True)


@dataclass(frozen=True)
class Kind:
    """A kind of score and how its differences are tested."""

    name: str
    make: Callable[[np.random.Generator, int, float], Pair]
    compare: Callable[..., Difference]
    unit: float
    """Effect that `make` takes for a difference of 1, to begin with."""


KINDS = (
    Kind("rate", rates, compare_rates, 1.0),
    Kind("mean, like ROUGE-L", means, compare_means, 1.0),
    Kind("mean, unlike noise", unlike, compare_means, 1.0),
    Kind("mean, thirds, 4 of 5 tied", ties, compare_means, 1.0),
    Kind("mean, 49 of 50 tied", rare, compare_means, 1.0),
    Kind("corpus, chrF", corpora, lambda a, b: compare_statistics(a, b, chrf), 0.01),
)


def shift_for(kind: Kind, n: int, pilot: Difference) -> tuple[float, float, float | None]:
    """The effect whose true difference is the one called detectable at n, that difference, and the true d_z."""
    at_n = replace(
        pilot,
        n=n,
        differing=round(pilot.differing * n / pilot.n),
        standard_error=(pilot.standard_error or 0.0) * (pilot.n / n) ** 0.5,
        test=kind.compare(*kind.make(np.random.default_rng(0), n, 0.0)).test,
    )
    wanted = at_n.detectable()
    if wanted is None:
        return 0.0, 0.0, 0.0  # no outcome with so few differing documents has p <= 0.05
    effect = wanted * kind.unit
    for _ in range(3):  # the score need not be linear in the effect
        found = kind.compare(*kind.make(np.random.default_rng(0), PILOT, effect))
        effect *= wanted / found.delta
    found = kind.compare(*kind.make(np.random.default_rng(0), 4 * PILOT, effect))
    return effect, found.delta, found.effect_size


def paired(repeats: int, only: str) -> None:
    """False-positive rate, coverage of both intervals, and power at the difference called detectable."""
    print("| score | n | tests | false positives at 0.05 | at 0.005 | coverage | of d_z | power |")
    print("|---|---:|---|---:|---:|---:|---:|---:|")
    for kind in KINDS:
        if only not in kind.name:
            continue
        pilot = kind.compare(*kind.make(np.random.default_rng(0), PILOT, 0.0))
        for n in SIZES:
            print(_row(kind, n, repeats, pilot), flush=True)


def _row(kind: Kind, n: int, repeats: int, pilot: Difference) -> str:
    generator = np.random.default_rng(n)
    effect, truth, size = shift_for(kind, n, pilot)
    wrong, far, power = [], [], []
    covered: list[bool] = []
    sizes: list[bool] = []
    names = set()
    for _ in tqdm(range(repeats), desc=f"{kind.name}, n = {n}", leave=False):
        null = kind.compare(*kind.make(generator, n, 0.0))
        wrong.append(null.p_value <= 0.05)
        far.append(null.p_value <= 0.005)
        names.add(null.test)
        found = kind.compare(*kind.make(generator, n, effect)) if effect else null
        power.append(found.p_value <= 0.05)
        for difference, true, d_z in ((null, 0.0, 0.0), (found, truth, size)):
            if difference.interval is not None:
                covered.append(true in difference.interval)
            if difference.effect_interval is not None and d_z is not None:
                sizes.append(d_z in difference.effect_interval)
    shares = [f"{np.mean(wrong):.3f}", f"{np.mean(far):.4f}"]
    # where few repeats have an interval at all, these are the odd ones
    shares += [f"{np.mean(column):.3f}" if len(column) > repeats / 4 else "" for column in (covered, sizes)]
    shares.append(f"{np.mean(power):.3f}" if effect else "none can be found")
    return f"| {kind.name} | {n} | {', '.join(sorted(names))} | {' | '.join(shares)} |"


def family(repeats: int) -> None:
    """Share of comparisons of 6 scores without any true difference in which some score is called different."""
    for n in (20, 200):
        generator = np.random.default_rng(2)
        plain = corrected = 0
        for _ in tqdm(range(repeats), desc="family", leave=False):
            p_values = [
                (compare_means if i % 2 else compare_rates)(
                    *(means if i % 2 else rates)(generator, n, 0.0)
                ).p_value
                for i in range(6)
            ]
            plain += min(p_values) <= 0.05
            corrected += min(holm(p_values)) <= 0.05
        print(
            f"Six scores, none different, n = {n}: some called different without correction "
            f"{plain / repeats:.3f}, after Holm {corrected / repeats:.3f}."
        )


def ranks(repeats: int) -> None:
    """Share of boards of 10 equal models on which some two get different ranks."""
    above = np.triu_indices(10, 1)
    for n in (20, 50, 200, 1000):
        generator = np.random.default_rng(4)
        wrong = np.zeros(2)
        for _ in tqdm(range(repeats), desc="ranks", leave=False):
            difficulty = generator.beta(2, 5, n)
            scores = difficulty + generator.normal(0, 0.1, (10, n))
            successes = (generator.random((10, n)) < difficulty).astype(float)
            for i, (values, is_rate) in enumerate(((scores, False), (successes, True))):
                wrong[i] += min(holm(pairwise_p_values(values, rates=is_rate)[above])) <= 0.05
        by_mean, by_rate = wrong / repeats
        print(
            f"Ten equal models, n = {n}: ranks that differ by a mean {by_mean:.3f}, by a rate {by_rate:.3f}."
        )


def matched(repeats: int) -> None:
    """Two systems equal but for style: the candidate writes longer, which alone raises its score."""
    generator = np.random.default_rng(3)
    n, shares = 600, np.zeros(4)
    for seed in tqdm(range(repeats), desc="matched", leave=False):
        base = generator.normal([4.0, 1.0], [0.5, 0.4], (n, 2))
        style = generator.normal([0.2, -0.1], [0.4, 0.2], (n, 2))
        noise = (generator.exponential(0.2, n) - 0.2) * (1 + np.abs(style[:, 0]))
        difference = style @ [0.3, 0.1] + noise
        adjusted = adjusted_mean(difference, style, n_resamples=1000, seed=seed)
        alike = matched_pairs(base, base + style)
        pairs = matched_mean(difference, alike, n_resamples=1000, seed=seed)
        plain = compare_means(np.zeros(n), difference)
        intervals = [plain.interval, adjusted and adjusted.interval, pairs and pairs.interval]
        shares += [*(found is not None and 0.0 in found for found in intervals), pairs is not None]
    plain_share, adjusted_share, pair_share, kept = shares / repeats
    print(
        f"Equal but for length, n = {n}, intervals that hold 0: plain {plain_share:.3f}, "
        f"at equal style {adjusted_share:.3f}, like pairs {pair_share / max(kept, 1e-9):.3f} "
        f"(enough pairs in {kept:.3f})."
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument(
        "--only", default="", help="rows of the first table whose name holds this word, alone"
    )
    arguments = parser.parse_args()
    paired(arguments.repeats, arguments.only)
    if not arguments.only:
        print()
        family(arguments.repeats)
        ranks(arguments.repeats)
        matched(arguments.repeats)


if __name__ == "__main__":
    main()
