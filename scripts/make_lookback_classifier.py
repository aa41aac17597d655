"""Make the lookback classifiers that come with the package, for the quickstart's models: a few minutes on one core.

    python scripts/make_lookback_classifier.py            # into build/lookback
    python scripts/make_lookback_classifier.py --install  # then copies them into the package

One for each head layout: ``newsworld-teacher`` (3 layers x 6 heads) reads the shipped teacher, ``newsworld-student`` (2 x 4) the
quickstart's two finetuned students, which are trained here as the quickstart trains them. Responses to articles that no model was
trained on, greedy and sampled so that both labels occur, are labelled by the oracle.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from harness_kd.studies.quickstart import Quickstart
from harness_kd.training.train import train

from harness.lookback.classifier import CLASSIFIERS, Classifier, load
from harness.lookback.fit import Example, evaluate, fit, held_out, read_examples
from harness.lookback.newsworld import oracle_rows
from harness.models.load import load_language_model
from harness.newsworld import models

TEMPERATURES = (0.0, 0.7, 1.0)
SEED = 101  # of the articles: the models were trained on those of other seeds
SCHEME = "sliding"
OUTPUT = Path("build/lookback")


@dataclass(frozen=True)
class Made:
    """Classifier name, and the models whose responses it is fitted on."""

    name: str
    readers: tuple[str, ...]


PLAN = (Made("newsworld-teacher", ("teacher",)), Made("newsworld-student", ("student-sft", "student-kd")))


def model_path(name: str, output: Path) -> Path:
    """A shipped model, or a student trained here as the quickstart trains it."""
    if name in models.SHIPPED:
        return models.path(name)
    quickstart = Quickstart(output=output)
    plan = quickstart.plan(name, quickstart.kd_ratio if name == "student-kd" else 0.0)
    if not (Path(plan.output) / "model.safetensors").exists():
        train(plan)
    return Path(plan.output)


def examples(name: str, output: Path, split: str, n: int) -> list[Example]:
    """What a model says about articles of a split, labelled by the oracle and read by the model itself."""
    lm = load_language_model(str(model_path(name, output)), device="cpu", batch_size=64)
    return read_examples(lm, oracle_rows(lm, split, n, temperatures=TEMPERATURES, seed=SEED))


def fitted(made: Made, output: Path, articles: int) -> Classifier:
    """A classifier fitted on what its models say of training articles."""
    found = [e for name in made.readers for e in examples(name, output, "train", articles)]
    lm = load_language_model(str(model_path(made.readers[0], output)), device="cpu")
    info = {
        "made_by": "scripts/make_lookback_classifier.py",
        "models": list(made.readers),
        "labels": "oracle",
        "articles": articles,
        "temperatures": list(TEMPERATURES),
    }
    classifier = fit(lm, found, SCHEME, info)
    print(made.name, "on its training articles", evaluate(classifier, found, SCHEME))
    return classifier


def kept(made: Made) -> Classifier:
    """The package's own classifier."""
    return load(CLASSIFIERS / f"{made.name}.safetensors", unproven=True)


def main(argv: list[str] | None = None) -> int:
    """Fit, measure on held-out articles, save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--articles", type=int, default=2000, help="to fit on, for each model")
    parser.add_argument("--held-out", type=int, default=1000, help="to measure on, for each model")
    parser.add_argument("--keep", action="store_true", help="the package's own: only measure them anew")
    parser.add_argument("--install", action="store_true", help="put the classifiers into the package")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    for made in PLAN:
        classifier = kept(made) if arguments.keep else fitted(made, arguments.output, arguments.articles)
        test = {name: examples(name, arguments.output, "test", arguments.held_out) for name in made.readers}
        proof = held_out(classifier, [e for every in test.values() for e in every], SCHEME)
        classifier = replace(classifier, info={**classifier.info, "held_out": proof.to_dict()})
        measured = {name: evaluate(classifier, every, SCHEME) for name, every in test.items()}
        print(made.name, json.dumps(measured), proof, flush=True)
        for folder in (arguments.output, *([CLASSIFIERS] if arguments.install else [])):
            classifier.save(folder / f"{made.name}.safetensors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
