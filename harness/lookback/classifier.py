"""The classifier on lookback ratios: a logistic regression, kept in a file that runs nothing when it is read.

One safetensors file: ``weight`` float64 [L, H] and ``bias`` float64 [], and in its header the settings as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.files import canonical_json, sha256_bytes, write_atomic
from harness.stats.held_out import HeldOut

FloatArray = NDArray[np.float64]

FORMAT = "harness.lookback.classifier"
CLASSIFIERS = Path(__file__).parent / "classifiers"
"""The classifiers that come with the package."""
_SETTINGS = ("kind", "convention", "threshold", "made_for", "info")


@dataclass(frozen=True, kw_only=True, eq=False)
class Classifier:
    """Probability that a window is factual, from its mean lookback ratios."""

    weight: FloatArray
    """[L, H], query heads."""
    bias: float
    threshold: float = 0.5
    """The stored threshold on the probability, chosen when it was fitted."""
    kind: str = "causal"
    """Which ratios it reads, see `harness.lookback.extraction.attention_kind`."""
    convention: str = "1"
    """Version of the ratios' definition."""
    made_for: Mapping[str, Any] = field(default_factory=dict)
    """Fingerprint of the model whose ratios it was fitted on, see `fingerprint`; empty: not known."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """Where it comes from; under ``held_out`` how well it tells windows apart on documents that it was not fitted on."""

    @property
    def layout(self) -> tuple[int, int]:
        """(layers, heads)."""
        return self.weight.shape[0], self.weight.shape[1]

    @property
    def held_out(self) -> HeldOut | None:
        """How well it does on documents that it was not fitted on; None: nobody has said."""
        stated = self.info.get("held_out")
        return HeldOut.from_dict(stated) if stated else None

    @property
    def digest(self) -> str:
        """First 12 digits of the SHA-256 of what decides its probabilities."""
        return sha256_bytes(
            self.weight.astype("<f8").tobytes()
            + canonical_json([self.bias, self.threshold, self.kind, self.convention]).encode()
        )[:12]

    def probabilities(self, features: FloatArray) -> FloatArray:
        """P(factual) of each window, float64 [W], from features [W, L * H]."""
        logits = features @ self.weight.reshape(-1) + self.bias
        positive: FloatArray = 0.5 * (1.0 + np.tanh(0.5 * logits))  # the sigmoid, without overflow
        return positive

    def problem_with(self, layout: tuple[int, int], kind: str, model: str) -> HarnessError | None:
        """Why it does not fit a model, or None."""
        remedy = (
            "Fit one for this model: harness lookback fit --model MODEL --data ROWS.jsonl --output FILE; "
            "or go on without: --metadata without=lookback."
        )
        if layout != self.layout:
            ours, theirs = (f"{layers} layers x {heads} heads" for layers, heads in (self.layout, layout))
            return HarnessError(f"the lookback classifier is for {ours}; {model} has {theirs}", remedy)
        if kind != self.kind:
            return HarnessError(
                f"the lookback classifier reads {self.kind} attention; {model} has {kind}", remedy
            )
        return None

    def save(self, path: Path) -> None:
        """Write the file; the same classifier gives the same bytes."""
        from safetensors.numpy import save

        settings = {"format": FORMAT} | {name: getattr(self, name) for name in _SETTINGS}
        tensors = {"weight": self.weight.astype(np.float64), "bias": np.array(self.bias, np.float64)}
        # one key, since the order of several changes from run to run
        write_atomic(path, save(tensors, {"settings": canonical_json(settings)}))


def load(path: Path, *, unproven: bool = False) -> Classifier:
    """Read a classifier.

    Args:
        path: The file.
        unproven: Take it also if on held-out documents it was no better than chance.

    Raises:
        HarnessError: If there is none at this path, the file is something else, or it learned nothing.
    """
    from safetensors import SafetensorError, safe_open

    if path.suffix in (".pkl", ".pickle"):
        raise HarnessError(
            f"{path}: a pickle can run anything when it is read",
            f"Import it safely first: harness lookback import {path} --output {path.stem}.safetensors",
        )
    if not path.is_file():
        raise HarnessError(
            f"{path}: no such lookback classifier", "Give the file that `harness lookback fit` wrote."
        )
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            stored = json.loads(header["settings"])
            if stored["format"] != FORMAT:
                raise ValueError("not a lookback classifier")
            settings = {name: stored[name] for name in _SETTINGS}
            weight, bias = file.get_tensor("weight"), float(file.get_tensor("bias"))
            held_out = Classifier(weight=weight, bias=bias, **settings).held_out
        if weight.ndim != 2 or not np.isfinite(weight).all() or not np.isfinite(bias):
            raise ValueError(f"weights of shape {weight.shape}, all of which must be finite")
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        remedy = "Give the file that `harness lookback fit` or `import` wrote."
        raise HarnessError(f"{path}: not a lookback classifier ({error})", remedy) from error
    if held_out and not held_out.beats_chance and not unproven:
        raise HarnessError(
            f"{path}: this lookback classifier learned nothing that shows: {held_out}, where chance is 0.5",
            "Fit it on more rows, or on rows with more of both kinds; to score by it all the same: "
            "--metadata lookback_unproven=true.",
        )
    return Classifier(weight=weight, bias=bias, **settings)


def fingerprint(config: Any) -> dict[str, Any]:
    """What two models must share for one's shipped classifier to be offered to the other: kind, sizes, vocabulary."""
    text = config.get_text_config(decoder=True)
    return {
        "model_type": config.model_type,
        "hidden_size": text.hidden_size,
        "layers": text.num_hidden_layers,
        "heads": text.num_attention_heads,
        "vocab_size": text.vocab_size,
    }


def shipped_for(config: Any) -> tuple[str, Classifier] | None:
    """Name and classifier that come with the package for models like this one, or None."""
    wanted = fingerprint(config)
    for path in sorted(CLASSIFIERS.glob("*.safetensors")):
        classifier = load(path)
        if dict(classifier.made_for) == wanted:
            return path.stem, classifier
    return None


def find(name: str, config: Any, model: str) -> Classifier:
    """A classifier by file, or the shipped one for a model's configuration by ``shipped``.

    Raises:
        HarnessError: If there is none.
    """
    if name != "shipped":
        return load(Path(name).expanduser())
    found = shipped_for(config)
    if found is None:
        raise HarnessError(
            f"no shipped lookback classifier fits {model}",
            "Fit one for it: harness lookback fit --model MODEL --data ROWS.jsonl --output FILE.",
        )
    return found[1]
