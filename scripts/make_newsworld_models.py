"""Makes the models that the quickstart starts from, with fixed seeds: about 25 minutes on one core.

    python scripts/make_newsworld_models.py            # every stage that is not there yet, into
    build/newsworld-models
    python scripts/make_newsworld_models.py --install  # then copies the three shipped ones into the package

Stages (Llama architecture, tied embeddings, whole-word tokenizer):

    teacher-base   192 wide, 3 layers   pretrained on article -> the same facts in other sentences; never
    sees a summary
    teacher        the same             finetuned on references of which 40% are noisy: the paper's own
    setting   shipped
    teacher-clean  the same             finetuned on clean references
    shipped
    student        64 wide, 2 layers    pretrained like teacher-base, not finetuned
    shipped

What made copying learnable at this size: whole words as tokens, short articles before long ones, length-
sorted batches, a wide embedding
initialisation, and Muon for the matrices. One thread, so that the sums are done in one order; weights are
then bit-equal on one kind of
processor with one version of torch, and equal in quality elsewhere (`provenance.json` beside each model
says where it was made).
"""

from __future__ import annotations

import argparse
import math
import platform
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import transformers
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM

from harness.files import canonical_json, sha256_file, write_atomic
from harness.newsworld import FULL, Shape, make_story, prompt
from harness.newsworld.models import CHECKPOINTS, SHIPPED
from harness.newsworld.story import paraphrases
from harness.newsworld.tokenizer import MAX_LENGTH, PRETRAINING_CUE, build

Pair = tuple[list[int], list[int]]  # prompt ids, target ids

TOKENIZER = build()
PAD, BOS, EOS = TOKENIZER.pad_token_id, TOKENIZER.bos_token_id, TOKENIZER.eos_token_id

SHORT = Shape(details=(0, 1), distractor=0.0, fillers=(0, 0))
MEDIUM = Shape(details=(1, 2), distractor=0.3, fillers=(0, 0))


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One model to make.

    Attributes:
        base: The stage it continues from; None starts from random weights of `width` and `layers`.
        noise: Probability of a noisy reference in finetuning; None means pretraining on paraphrases.
        steps: Optimizer steps, each of `batch` fresh stories.
        lr: Peak learning rate of AdamW (embeddings and norms; everything, where `muon_lr` is None).
        muon_lr: Peak learning rate of Muon for the matrices.
        short_until, medium_until: Steps until which articles are short, then medium (the curriculum).
    """

    base: str | None = None
    noise: float | None = None
    width: int = 0
    layers: int = 0
    heads: int = 0
    steps: int
    lr: float
    muon_lr: float | None = None
    batch: int = 32
    short_until: int = 0
    medium_until: int = 0
    seed: int = 0


STAGES = {
    "student": Stage(
        width=64, layers=2, heads=4, steps=1000, lr=3e-3, muon_lr=0.02, short_until=200, medium_until=300
    ),
    "teacher-base": Stage(
        width=192, layers=3, heads=6, steps=2000, lr=3e-3, muon_lr=0.02, short_until=200, medium_until=300
    ),
    "teacher": Stage(base="teacher-base", noise=0.4, steps=1800, lr=2e-3, muon_lr=0.01),
    "teacher-clean": Stage(base="teacher-base", noise=0.0, steps=1800, lr=2e-3, muon_lr=0.01),
}


def main(argv: list[str] | None = None) -> int:
    """Makes what is asked for; see the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("build/newsworld-models"))
    parser.add_argument(
        "--only", choices=STAGES, action="append", help="make this stage (and no other; repeatable)"
    )
    parser.add_argument("--steps", type=int, help="stop every stage after this many steps (for tests)")
    parser.add_argument("--install", action="store_true", help="copy the shipped models into the package")
    arguments = parser.parse_args(argv)
    for name in arguments.only or STAGES:
        if (arguments.output / name / "provenance.json").exists():
            print(f"{name}: already made")
            continue
        make(name, arguments.output, steps=arguments.steps)
    if arguments.install:
        for name in SHIPPED:
            shutil.copytree(arguments.output / name, CHECKPOINTS / name, dirs_exist_ok=True)
    return 0


def make(name: str, output: Path, *, steps: int | None = None) -> Path:
    """Trains one stage and writes it whole: weights, tokenizer, provenance."""
    stage = STAGES[name]
    torch.set_num_threads(1)
    torch.manual_seed(stage.seed)
    model = LlamaForCausalLM.from_pretrained(output / stage.base) if stage.base else _new_model(stage)
    final_loss = _train(name, model, replace(stage, steps=steps or stage.steps))
    with tempfile.TemporaryDirectory(dir=_made(output)) as folder:
        model.save_pretrained(folder)
        TOKENIZER.save_pretrained(folder)
        provenance = {
            "made_by": "scripts/make_newsworld_models.py",
            "stage": {key: value for key, value in vars(stage).items() if value is not None},
            "parameters": model.num_parameters(),
            "final_loss": round(final_loss, 4),
            "weights_sha256": sha256_file(Path(folder) / "model.safetensors"),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "machine": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        }
        write_atomic(Path(folder) / "provenance.json", canonical_json(provenance) + "\n")
        target = output / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder, target)
    return target


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _new_model(stage: Stage) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(TOKENIZER),
        hidden_size=stage.width,
        num_hidden_layers=stage.layers,
        num_attention_heads=stage.heads,
        intermediate_size=4 * stage.width,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    model = LlamaForCausalLM(config)
    torch.nn.init.normal_(model.model.embed_tokens.weight, std=0.1)
    return model


def _train(name: str, model: LlamaForCausalLM, stage: Stage) -> float:
    """Trains in place; returns the mean loss, in nats per target token, of the last 50 steps."""
    optimizers = _optimizers(model, stage)
    peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    batches = _batches(stage)
    losses: list[float] = []
    model.train()
    for step in (bar := tqdm(range(stage.steps), desc=name, mininterval=5)):
        for optimizer, lrs in zip(optimizers, peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, lrs, strict=True):
                group["lr"] = peak * _schedule(step, stage.steps)
        ids, labels = _collate(next(batches))
        hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]
        wanted = labels[:, 1:] != -100
        loss = torch.nn.functional.cross_entropy(model.lm_head(hidden[wanted]), labels[:, 1:][wanted])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if step % 50 == 0:
            bar.set_postfix(loss=f"{losses[-1]:.3f}")
    return sum(losses[-50:]) / len(losses[-50:])


def _optimizers(model: LlamaForCausalLM, stage: Stage) -> list[torch.optim.Optimizer]:
    betas = (0.9, 0.98)
    if stage.muon_lr is None:
        return [torch.optim.AdamW(model.parameters(), lr=stage.lr, betas=betas, weight_decay=0.01)]
    matrices = [
        p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n and "lm_head" not in n
    ]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [
        Muon(matrices, lr=stage.muon_lr),
        torch.optim.AdamW(others, lr=stage.lr, betas=betas, weight_decay=0.0),
    ]


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal by five Newton-Schulz steps (Jordan et al. 2024,
    github.com/KellerJordan/Muon).

    `torch.optim.Muon` does those steps in bfloat16, which processors without bfloat16 units emulate
    at a fraction of the speed of float32.
    """

    def __init__(
        self, params: list[torch.nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One update from the gradients at hand."""
        for group in self.param_groups:
            for p in group["params"]:
                velocity = self.state[p].setdefault("velocity", torch.zeros_like(p))
                velocity.lerp_(p.grad, 1 - group["momentum"])
                update = _orthogonalise(p.grad.lerp(velocity, group["momentum"]))  # Nesterov
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * math.sqrt(max(1.0, p.shape[0] / p.shape[1])))


def _orthogonalise(matrix: torch.Tensor) -> torch.Tensor:
    """The nearest matrix with singular values of about 1, float32 [rows, columns]."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def _schedule(step: int, total: int, warmup: int = 30, final: float = 0.05) -> float:
    """Linear warm-up, then cosine decay to `final` of the peak."""
    if step < warmup:
        return (step + 1) / warmup
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def _batches(stage: Stage, pool: int = 8) -> Iterator[list[Pair]]:
    """Batches of stories of similar length, in random order; no story comes twice."""
    rng = random.Random(f"order {stage.seed}")
    index = 0
    for start in range(0, stage.steps, pool):
        shape = SHORT if start < stage.short_until else MEDIUM if start < stage.medium_until else FULL
        pair = _pretraining_pair(shape) if stage.noise is None else _finetuning_pair(stage.noise)
        pairs = sorted(
            (pair(index + i) for i in range(stage.batch * pool)), key=lambda p: len(p[0]) + len(p[1])
        )
        index += len(pairs)
        batches = [pairs[i : i + stage.batch] for i in range(0, len(pairs), stage.batch)]
        rng.shuffle(batches)
        yield from batches


def _pretraining_pair(shape: Shape, sentences: int = 4) -> Callable[[int], Pair]:
    def pair(index: int) -> Pair:
        story = make_story("pretrain", index, shape=shape)
        said = paraphrases(story, random.Random(f"paraphrase {index}"))[:sentences]
        return TOKENIZER(f"Article: {story.article}\n{PRETRAINING_CUE}").input_ids, _target(" ".join(said))

    return pair


def _finetuning_pair(noise: float) -> Callable[[int], Pair]:
    def pair(index: int) -> Pair:
        story = make_story("teacher", index, noise=noise)
        return TOKENIZER(prompt(story.article)).input_ids, _target(story.reference)

    return pair


def _target(text: str) -> list[int]:
    return [*TOKENIZER(text, add_special_tokens=False).input_ids, EOS]


def _collate(pairs: list[Pair]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and labels, int64 [batch, tokens]; right-padded, labels -100 except on targets."""
    length = max(len(p) + len(t) for p, t in pairs)
    ids = torch.full((len(pairs), length), PAD)
    labels = torch.full((len(pairs), length), -100)
    for row, (p, t) in enumerate(pairs):
        ids[row, : len(p) + len(t)] = torch.tensor(p + t)
        labels[row, len(p) : len(p) + len(t)] = torch.tensor(t)
    return ids, labels


if __name__ == "__main__":
    sys.exit(main())
