"""The training loop of ``harness judge fit``: split by document, early stopping, and a checkpoint after every epoch."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from harness.errors import HarnessError
from harness.files import canonical_json, replace_dir, sha256_bytes, write_atomic
from harness.judges.calibration import METHODS, Method
from harness.judges.finish import Fitted, check_two_classes, collate, finish, losses
from harness.judges.pairs import LabelledPair, read_pairs
from harness.models import hub
from harness.models.device import choose_device
from harness.models.weights import local_weights
from harness.models.whole import load_whole

if TYPE_CHECKING:
    import torch

_MOST_TOKENS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class FitPlan:
    """One training of a judge."""

    data: Path
    """JSON Lines file of labelled pairs."""
    base: str
    """Encoder or classifier to start from: folder or hub name; ``embedded`` is the shipped judge."""
    output: Path
    epochs: int = 5
    """At most; training stops when the loss on held-out pairs has not improved for ``patience`` epochs."""
    patience: int = 2
    batch_size: int = 16
    """Pairs."""
    learning_rate: float = 2e-5
    warmup: float = 0.1
    """Share of steps with a rising learning rate; it then falls in a line to 0."""
    weight_decay: float = 0.01
    max_length: int = 512
    """Tokens of a pair; longer ones are cut, the longer text first. The judge keeps it, and cuts there too."""
    held_out: float = 0.1
    """Share of documents for early stopping and calibration, and again as much for the final measurement."""
    calibration: Method = "temperature"
    seed: int = 0
    device: str | None = None

    def check(self) -> None:
        """Raise one `HarnessError` for all values out of range."""
        problems = [
            f"{name} must be {what}, not {getattr(self, name)}"
            for name, good, what in (
                ("epochs", self.epochs >= 1, "at least 1"),
                ("patience", self.patience >= 1, "at least 1"),
                ("batch_size", self.batch_size >= 1, "at least 1"),
                ("learning_rate", self.learning_rate > 0, "above 0"),
                ("warmup", 0 <= self.warmup < 1, "in 0..1"),
                ("max_length", self.max_length >= 8, "at least 8"),
                ("held_out", 0 < self.held_out < 0.5, "between 0 and 0.5"),
                ("calibration", self.calibration in METHODS, f"one of {', '.join(METHODS)}"),
            )
            if not good
        ]
        HarnessError.raise_for(problems, "`harness judge fit --help` explains the options.")


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Pairs by use; no document is in two of them."""

    train: list[LabelledPair]
    dev: list[LabelledPair]
    test: list[LabelledPair]


def split(pairs: Sequence[LabelledPair], *, held_out: float, seed: int) -> Splits:
    """Split by document (`LabelledPair.group`, else the source).

    Raises:
        HarnessError: If a part would lack one of the labels.
    """
    groups = sorted({pair.group or pair.source for pair in pairs})
    random.Random(seed).shuffle(groups)
    n = max(1, round(held_out * len(groups)))
    part = {group: "dev" if i < n else "test" if i < 2 * n else "train" for i, group in enumerate(groups)}
    found: dict[str, list[LabelledPair]] = {"train": [], "dev": [], "test": []}
    for pair in pairs:
        found[part[pair.group or pair.source]].append(pair)
    for name, chosen in found.items():
        check_two_classes(chosen, f"the {name} part ({len(groups)} documents in all)")
    return Splits(**found)


def fit(plan: FitPlan) -> Fitted:
    """Train, calibrate and write a judge; a killed run goes on at its last epoch and comes to the same result.

    Returns:
        What the judge does on documents that neither training nor calibration has seen.
    """
    plan.check()
    splits = split(read_pairs(plan.data), held_out=plan.held_out, seed=plan.seed)
    tokenizer, model = _base(plan)
    state = _train(plan, splits, tokenizer, model)
    card = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(plan).items()}
    card |= {"data": plan.data.name, "output": plan.output.name, "base": Path(plan.base).name, "device": ""}
    card |= {"pairs": f"{len(splits.train)} train, {len(splits.dev)} dev, {len(splits.test)} test"}
    card |= {"dev loss by epoch": ", ".join(f"{loss:.4f}" for loss in state["losses"])}
    found = finish(
        model.to("cpu"),
        tokenizer,
        dev=splits.dev,
        test=splits.test,
        output=plan.output,
        method=plan.calibration,
        card={key: value for key, value in card.items() if value not in ("", None)},
        title=plan.output.name,
        max_length=min(plan.max_length, _longest(tokenizer, model)),
    )
    shutil.rmtree(_checkpoint_dir(plan), ignore_errors=True)
    return found


def describe(plan: FitPlan) -> str:
    """What a run would do."""
    plan.check()
    splits = split(read_pairs(plan.data), held_out=plan.held_out, seed=plan.seed)
    tokenizer, model = _base(plan)
    steps = math.ceil(len(splits.train) / plan.batch_size)
    share = sum(pair.label for pair in splits.train) / len(splits.train)
    return "\n".join(
        [
            f"base         {plan.base}: {type(model).__name__}, {model.num_parameters():,} parameters",
            f"pairs        {len(splits.train)} train ({share:.0%} consistent), {len(splits.dev)} dev, {len(splits.test)} test",
            f"steps        {steps} per epoch, at most {plan.epochs} epochs",
            f"max length   {min(plan.max_length, _longest(tokenizer, model))} tokens",
            f"output       {plan.output}",
        ]
    )


def _base(plan: FitPlan) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    from harness.judges.load import EMBEDDED

    name = str(EMBEDDED) if plan.base == "embedded" else plan.base
    folder = Path(name)
    if not folder.is_dir():
        repo, _, revision = name.partition("@")
        folder = hub.snapshot(repo, revision=revision or None, what=f"base {name}")
    local_weights(folder)
    try:
        config = AutoConfig.from_pretrained(folder, num_labels=1)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise HarnessError(
            f"{plan.base} cannot be trained as a judge: {hub.first_line(error)}",
            "Give an encoder or classifier with safetensors weights, such as FacebookAI/roberta-base, or embedded.",
        ) from error
    what = f"base {plan.base}"
    model = load_whole(AutoModelForSequenceClassification, folder, config, what=what, new_head=True)
    if tokenizer.pad_token_id is None:
        raise HarnessError(f"{plan.base}: its tokenizer has no padding token", "Choose another base.")
    if not tokenizer.is_fast:
        raise HarnessError(
            f"{plan.base}: its tokenizer has no fast form", "Choose a base with a tokenizer.json."
        )
    model.config.pad_token_id = tokenizer.pad_token_id
    return tokenizer, model


def _longest(tokenizer: Any, model: Any) -> int:
    positions = int(getattr(model.config, "max_position_embeddings", _MOST_TOKENS))
    return min(int(tokenizer.model_max_length), positions, _MOST_TOKENS)


def _train(plan: FitPlan, splits: Splits, tokenizer: Any, model: Any) -> dict[str, Any]:
    """Train in place; the model ends with the weights of its best epoch."""
    import torch

    device = choose_device(plan.device)
    model.to(device)
    max_length = min(plan.max_length, _longest(tokenizer, model))
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    per_epoch = math.ceil(len(splits.train) / plan.batch_size)
    state: dict[str, Any] = {"epoch": 0, "losses": [], "best": 0}
    _resume(plan, splits, model, optimizer, state)
    while state["epoch"] < plan.epochs and not _should_stop(state, plan.patience):
        epoch = state["epoch"]
        torch.manual_seed(plan.seed * 1000 + epoch)  # dropout: the same after a resume
        order = random.Random(f"{plan.seed} {epoch}").sample(splits.train, len(splits.train))
        model.train()
        for step in tqdm(range(per_epoch), desc=f"epoch {epoch + 1}", unit=" steps", leave=False):
            share = (epoch * per_epoch + step) / (plan.epochs * per_epoch)
            for group in optimizer.param_groups:
                group["lr"] = plan.learning_rate * _schedule(share, plan.warmup)
            batch = collate(
                tokenizer, order[step * plan.batch_size : (step + 1) * plan.batch_size], max_length=max_length
            )
            loss, _ = losses(model, None, _on(batch, device))
            if not torch.isfinite(loss):
                raise HarnessError(
                    f"epoch {epoch + 1}, step {step + 1}: the loss is no number", "Lower --learning-rate."
                )
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        dev_loss = _evaluate(plan, splits.dev, tokenizer, model, device, max_length)
        state["losses"].append(dev_loss)
        state["epoch"] = epoch + 1
        is_best = dev_loss == min(state["losses"])
        if is_best:
            state["best"] = epoch + 1
        _save(plan, splits, model, optimizer, state, is_best=is_best)
    _load_best(plan, model)
    return state


def _should_stop(state: dict[str, Any], patience: int) -> bool:
    return bool(state["losses"]) and state["epoch"] - state["best"] >= patience


def _schedule(share: float, warmup: float) -> float:
    return share / warmup if share < warmup else (1 - share) / (1 - warmup)


def _on(batch: Any, device: torch.device) -> Any:
    inputs = {name: value.to(device) for name, value in batch.inputs.items()}
    return type(batch)(inputs, batch.labels.to(device), batch.span_labels.to(device))


def _evaluate(
    plan: FitPlan,
    pairs: Sequence[LabelledPair],
    tokenizer: Any,
    model: Any,
    device: torch.device,
    max_length: int,
) -> float:
    """Mean loss, in nats per pair."""
    import torch

    model.eval()
    total = 0.0
    for start in range(0, len(pairs), plan.batch_size):
        chunk = pairs[start : start + plan.batch_size]
        with torch.inference_mode():
            loss, _ = losses(model, None, _on(collate(tokenizer, chunk, max_length=max_length), device))
        total += float(loss) * len(chunk)
    return total / len(pairs)


def _checkpoint_dir(plan: FitPlan) -> Path:
    return plan.output.parent / f".{plan.output.name}.checkpoint"


def _fingerprint(plan: FitPlan, splits: Splits) -> str:
    """What a checkpoint must have been made with to be resumed."""
    fields = {
        key: str(value) for key, value in asdict(plan).items() if key not in ("output", "data", "device")
    }
    texts = [[pair.source, pair.summary, pair.label] for pair in (*splits.train, *splits.dev)]
    return sha256_bytes(canonical_json([fields, texts]).encode())


def _save(
    plan: FitPlan, splits: Splits, model: Any, optimizer: Any, state: dict[str, Any], *, is_best: bool
) -> None:
    """Weights, optimizer moments and progress, in safetensors and JSON: nothing is pickled."""
    from safetensors.torch import save_file

    folder = _checkpoint_dir(plan)
    best = folder / "best.safetensors"
    tensors = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    moments = {
        f"{index}.{name}": value.detach().cpu().clone()
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }
    with replace_dir(folder) as new:
        save_file(tensors, new / "model.safetensors")
        save_file(moments, new / "optimizer.safetensors")
        if is_best:
            save_file(tensors, new / "best.safetensors")
        elif best.is_file():
            shutil.copyfile(best, new / "best.safetensors")
        write_atomic(new / "state.json", json.dumps(state | {"made_with": _fingerprint(plan, splits)}))


def _resume(plan: FitPlan, splits: Splits, model: Any, optimizer: Any, state: dict[str, Any]) -> None:
    from safetensors.torch import load_file

    folder = _checkpoint_dir(plan)
    if not (folder / "state.json").is_file():
        return
    saved = json.loads((folder / "state.json").read_text("utf-8"))
    if saved.pop("made_with") != _fingerprint(plan, splits):
        return  # another plan or other data: this run starts anew and replaces it
    model.load_state_dict(load_file(folder / "model.safetensors"))
    moments: dict[int, dict[str, Any]] = {}
    for name, value in load_file(folder / "optimizer.safetensors").items():
        index, _, moment = name.partition(".")
        moments.setdefault(int(index), {})[moment] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    state |= saved


def _load_best(plan: FitPlan, model: Any) -> None:
    from safetensors.torch import load_file

    best = _checkpoint_dir(plan) / "best.safetensors"
    if best.is_file():
        model.load_state_dict(load_file(best))
