"""Training a judge: a cross-encoder on labelled pairs, stopped early, calibrated on pairs it has not seen, written with a card.

Training resumes after a kill at its last evaluation and comes to the same result.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.files import canonical_json, replace_dir, write_atomic
from harness.judges import calibration
from harness.judges.calibration import Calibration, Method
from harness.judges.judge import Domain, Judge
from harness.judges.pairs import LabelledPair
from harness.judges.ranking import Ranking, rank
from harness.stats.held_out import HeldOut

_STORED_PAIRS = 8


@dataclass(frozen=True)
class Batch:
    """Model inputs int64 [B, T], labels float32 [B], and labels of single facts float32 [B, T], -1 where there is none."""

    inputs: dict[str, Any]
    labels: Any
    span_labels: Any


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What a judge does on documents that neither training nor calibration has seen."""

    ranking: Ranking
    held_out: HeldOut

    def rows(self) -> list[tuple[str, str]]:
        """For a table."""
        limits = f"{self.held_out.low:.3f} to {self.held_out.high:.3f}"
        return [
            (
                name,
                f"{value} ({limits}, over {self.held_out.documents} documents)" if name == "AUROC" else value,
            )
            for name, value in self.ranking.rows()
        ]


def collate(tokenizer: Any, pairs: Sequence[LabelledPair], *, max_length: int) -> Batch:
    """Tokenise pairs, padded on the right and cut to ``max_length`` tokens; a span's label stands on its last token."""
    import torch

    tokenizer.padding_side = "right"
    found = tokenizer(
        [pair.source for pair in pairs],
        [pair.summary for pair in pairs],
        truncation="longest_first",
        max_length=max_length,
        padding=True,
        return_offsets_mapping=True,
        return_tensors="pt",
    )
    offsets = found.pop("offset_mapping").tolist()
    spans = torch.full(found["input_ids"].shape, -1.0)
    for row, pair in enumerate(pairs):
        if not pair.spans:
            continue
        label_at = {end: float(label) for _, end, label in pair.spans}
        for column, part in enumerate(found.sequence_ids(row)):
            start, end = offsets[row][column]
            if part == 1 and end > start and end in label_at:
                spans[row, column] = label_at[end]
    return Batch(dict(found), torch.tensor([float(pair.label) for pair in pairs]), spans)


def losses(model: Any, span_head: Any, batch: Batch) -> tuple[Any, Any]:
    """Binary cross-entropy of whole pairs, and of the facts whose labels are known, scalars in nats.

    Args:
        model: A sequence classifier with one label and a ``base_model``.
        span_head: Linear map from a hidden state to one logit; None leaves single facts out.
        batch: From `collate`.
    """
    import torch

    bce = torch.nn.functional.binary_cross_entropy_with_logits
    known = batch.span_labels >= 0
    if span_head is None or not bool(known.any()):
        whole = bce(model(**batch.inputs).logits[:, 0], batch.labels)
        return whole, torch.zeros(())
    output = model(**batch.inputs, output_hidden_states=True)
    facts = span_head(output.hidden_states[-1][known])[:, 0]
    return bce(output.logits[:, 0], batch.labels), bce(facts, batch.span_labels[known])


def finish(
    model: Any,
    tokenizer: Any,
    *,
    dev: Sequence[LabelledPair],
    test: Sequence[LabelledPair],
    output: Path,
    method: Method,
    card: dict[str, Any],
    title: str,
    max_length: int | None = None,
    domain: Domain | None = None,
) -> Fitted:
    """Calibrate on ``dev``, measure on ``test``, and write the judge whole: weights, tokenizer, card, reliability plot.

    A judge that is no better than chance on ``test`` is written too, and `harness.judges.load` refuses it.

    Args:
        max_length: Tokens that the judge was trained on, at which it will cut pairs too; None: what tokenizer and model say. It
            stands in the tokenizer's ``model_max_length``, where sentence-transformers looks for it.
        domain: The only texts that it may judge; None: any.

    Returns:
        What the judge does on ``test``, calibrated.
    """
    from harness.judges.load import JUDGE_FILE, load

    model.eval()
    if max_length is not None:
        tokenizer.model_max_length = max_length
    with replace_dir(output) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        judge = load(str(folder), device="cpu", test=False, unproven=True)
        fitted = calibration.fit(method, _scores(judge, dev), [pair.label for pair in dev])
        judge.calibration = fitted
        scores = _scores(judge, test)
        labels = [pair.label for pair in test]
        documents = [pair.group or pair.source for pair in test]
        found = Fitted(ranking=rank(scores, labels), held_out=HeldOut.measure(scores, labels, documents))
        judge.held_out, judge.domain = found.held_out, domain
        _write_judge_file(folder / JUDGE_FILE, judge, test)
        write_atomic(folder / "reliability.png", calibration.reliability_plot(scores, labels, title=title))
        write_atomic(folder / "README.md", _card(title, card, found, fitted, n_dev=len(dev)))
    return found


def _scores(judge: Judge, pairs: Sequence[LabelledPair]) -> list[float]:
    return judge.score([(pair.source, pair.summary) for pair in pairs])


def _write_judge_file(path: Path, judge: Judge, pairs: Sequence[LabelledPair]) -> None:
    """Calibration, how good it is and for which texts, and a few short pairs with their scores: what the self-test compares."""
    chosen = sorted(pairs, key=lambda pair: len(pair.source))
    chosen = [p for p in chosen if p.label][: _STORED_PAIRS // 2] + [p for p in chosen if not p.label][
        : _STORED_PAIRS // 2
    ]
    scores = _scores(judge, chosen)
    stored = [
        {"source": pair.source, "summary": pair.summary, "label": pair.label, "score": score}
        for pair, score in zip(chosen, scores, strict=True)
    ]
    content = {
        "calibration": judge.calibration.to_dict(),
        "held_out": judge.held_out and judge.held_out.to_dict(),
        "domain": judge.domain and vars(judge.domain),
        "self_test": stored,
    }
    write_atomic(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _card(title: str, card: dict[str, Any], found: Fitted, fitted: Calibration, *, n_dev: int) -> str:
    lines = [f"# {title}", "", f"Calibration: {fitted.name}, fitted on {n_dev} pairs of other documents.", ""]
    lines += ["| on held-out pairs | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in found.rows()]
    lines += ["", "![reliability](reliability.png)", "", "| made with | |", "|---|---|"]
    lines += [
        f"| {key} | {value if isinstance(value, str | int | float) else canonical_json(value)} |"
        for key, value in card.items()
    ]
    return "\n".join(lines) + "\n"


def check_two_classes(pairs: Sequence[LabelledPair], what: str) -> None:
    """Refuse pairs that are all of one class.

    Raises:
        HarnessError: If no ranking or training is possible on them.
    """
    labels = {pair.label for pair in pairs}
    if len(labels) < 2:
        raise HarnessError(
            f"{what}: {len(pairs)} pairs, and all of them labelled {labels or 'not at all'}",
            "Give pairs of both kinds: label 1 (consistent) and 0.",
        )
