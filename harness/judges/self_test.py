"""A judge is tested before its scores are published: against stored scores, and against itself.

* stored: it gives the scores that its makers published for a few pairs (HHEM's model cards, or ``judge.json`` of a fitted judge);
* range: every score is a number in 0..1;
* order: a pair's score depends neither on the pairs beside it nor on padding;
* sides: source and summary are not exchangeable, so both are read;
* spread: its scores differ between pairs, or it says nothing;
* ties: weights that must be one weight are.

A pass is remembered per weights, device, precision and library versions in the user's cache folder.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness import paths
from harness.errors import HarnessError
from harness.files import canonical_json, read_jsonl, sha256_bytes, write_jsonl
from harness.judges.judge import Judge, Pair

VERSION = 2
LEAST_SPREAD = 0.05
"""Between the lowest and the highest score of the tested pairs, consistent ones and others among them; HHEM's card has 0.89."""

_HORSE = "A person on a horse jumps over a broken down airplane."
_BRIDGE = "A boy is jumping on skateboard in the middle of a red bridge."
_BLOND = "A man with blond-hair, and a brown shirt drinking out of a public water fountain."
_BOOK = "A blond man wearing a brown shirt is reading a book."
_FAN = ("Mark Wahlberg was a fan of Manny.", "Manny was a fan of Mark Wahlberg.")

HHEM21_CARD: tuple[tuple[Pair, float], ...] = (
    (("The capital of France is Berlin.", "The capital of France is Paris."), 0.011061512865126133),
    (("I am in California", "I am in United States."), 0.6473632454872131),
    (("I am in United States", "I am in California."), 0.1290171593427658),
    ((_HORSE, "A person is outdoors, on a horse."), 0.8969419002532959),
    ((_BRIDGE, "The boy skates down the sidewalk on a red bridge"), 0.18462494015693665),
    ((_BLOND, _BOOK), 0.005031010136008263),
    (_FAN, 0.05432349815964699),
)
"""Model card of HHEM-2.1-open at its pinned revision."""

HHEM10_CARD: tuple[tuple[Pair, float], ...] = (
    (("A man walks into a bar and buys a drink", "A bloke swigs alcohol at a pub"), 0.61051559),
    ((_HORSE, "A person is at a diner, ordering an omelette."), 0.00047494),
    ((_HORSE, "A person is outdoors, on a horse."), 0.99639291),
    ((_BRIDGE, "The boy skates down the sidewalk on a blue bridge"), 0.00021222),
    ((_BLOND, "A blond drinking water in public."), 0.99599433),
    ((_BLOND, _BOOK), 0.0014127),
    (_FAN, 0.0028263),
)
"""Model card of HHEM-1.0-open."""

_STORED_TOLERANCE = {"float32": 1e-4, "bfloat16": 3e-2, "float16": 1e-2}
_SELF_TOLERANCE = {"float32": 1e-5, "bfloat16": 3e-2, "float16": 1e-2}


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing tested."""

    name: str
    passed: bool
    detail: str


def run(judge: Judge, stored: Sequence[tuple[Pair, float]] = ()) -> list[Check]:
    """Test a judge.

    Args:
        judge: Loaded; it scores a few short pairs.
        stored: Pairs with the scores it must give; without any, only the checks against itself are made.
    """
    pairs = [pair for pair, _ in stored] or [pair for pair, _ in HHEM21_CARD]
    scores = judge.score(pairs, progress=False)
    checks = [_range(scores)]
    if stored:
        checks.append(_stored(judge, scores, [expected for _, expected in stored]))
    return [
        *checks,
        _order(judge, pairs, scores),
        _sides(judge, pairs, scores),
        _spread(scores),
        *_ties(judge),
    ]


def held_out(judge: Judge) -> list[Check]:
    """Whether the judge beat chance on documents that it was not fitted on; nothing where nobody has said."""
    found = judge.held_out
    return (
        [Check(name="held out", passed=found.beats_chance, detail=f"{found}; chance is 0.5")] if found else []
    )


def ensure(judge: Judge, stored: Sequence[tuple[Pair, float]] = ()) -> None:
    """Test a judge unless this very judge has passed here before.

    Raises:
        HarnessError: If a check fails: no score of such a judge may be published.
    """
    marker = cache_dir() / f"{_key(judge, stored)}.jsonl"
    if marker.is_file() and all(row.get("passed") for row in read_jsonl(marker)):
        return
    checks = run(judge, stored)
    HarnessError.raise_for(
        [
            f"judge {judge.identity.name}: {check.name}: {check.detail}"
            for check in checks
            if not check.passed
        ],
        "The judge is not the one it claims to be, or does not work here: no score is published. "
        "`harness judge test` shows all checks.",
    )
    write_jsonl(marker, [vars(check) for check in checks])


def cache_dir() -> Path:
    """Where passes are remembered."""
    return paths.cache_dir() / "judge-tests"


def _key(judge: Judge, stored: Sequence[tuple[Pair, float]]) -> str:
    made_by: dict[str, Any] = {
        "files": judge.identity.files_sha256,
        "signature": judge.signature(),
        "device": str(judge.device),
        "batch_tokens": judge.batch_tokens,
        "libraries": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
        "stored": [[*pair, score] for pair, score in stored],
        "version": VERSION,
    }
    return sha256_bytes(canonical_json(made_by).encode())[:24]


def _range(scores: Sequence[float]) -> Check:
    bad = [score for score in scores if not (math.isfinite(score) and 0 <= score <= 1)]
    return Check(
        name="range", passed=not bad, detail=f"{len(bad)} of {len(scores)} scores are no number in 0..1"
    )


def _stored(judge: Judge, scores: Sequence[float], expected: Sequence[float]) -> Check:
    tolerance = _STORED_TOLERANCE[judge.dtype]
    worst = max(_distance(a, b) for a, b in zip(scores, expected, strict=True))
    detail = f"stored scores are met to {worst:.1e} (at most {tolerance:.0e}); given: " + ", ".join(
        f"{score:.4f}" for score in scores
    )
    return Check(name="stored scores", passed=worst <= tolerance, detail=detail)


def _order(judge: Judge, pairs: Sequence[Pair], scores: Sequence[float]) -> Check:
    backwards = judge.score(pairs[::-1], progress=False)[::-1]
    single = [judge.score([pair], progress=False)[0] for pair in pairs]
    worst = max(_distance(a, b) for other in (backwards, single) for a, b in zip(scores, other, strict=True))
    tolerance = _SELF_TOLERANCE[judge.dtype]
    detail = f"reversed and one by one, scores move by at most {worst:.1e} (at most {tolerance:.0e})"
    return Check(name="order", passed=worst <= tolerance, detail=detail)


def _sides(judge: Judge, pairs: Sequence[Pair], scores: Sequence[float]) -> Check:
    swapped = judge.score([(summary, source) for source, summary in pairs], progress=False)
    most = max(_distance(a, b) for a, b in zip(scores, swapped, strict=True))
    detail = f"with source and summary exchanged, scores move by up to {most:.1e}"
    return Check(name="sides", passed=most > _SELF_TOLERANCE[judge.dtype], detail=detail)


def _spread(scores: Sequence[float]) -> Check:
    known = [score for score in scores if math.isfinite(score)] or [0.0]
    detail = f"the pairs' scores lie in {min(known):.4f} to {max(known):.4f} (at least {LEAST_SPREAD} apart)"
    return Check(name="spread", passed=max(known) - min(known) >= LEAST_SPREAD, detail=detail)


def _ties(judge: Judge) -> list[Check]:
    check_ties = getattr(judge.backbone, "check_ties", None)
    if check_ties is None:
        return []
    problem = check_ties()
    return [Check(name="ties", passed=problem is None, detail=problem or "tied weights are one weight")]


def _distance(a: float, b: float) -> float:
    return abs(a - b) if math.isfinite(a) and math.isfinite(b) else math.inf
