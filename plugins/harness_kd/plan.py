"""What a training run is: every option, checked once."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from harness.errors import HarnessError
from harness.models.device import DTYPES

OVERLONG = ("drop", "truncate")
ENGINES = ("transformers", "vllm")
DEFAULT_TEMPERATURES = (1.0, 1.5, 2.0, 4.0)
DIVERGENCE_NAMES = ("forward-kl", "soft-cross-entropy", "reverse-kl", "jensen-shannon", "uld")
_LINEAR = ("forward-kl", "soft-cross-entropy")
"""Divergences whose gradient is linear in the teacher's probabilities."""
SELECTIONS = ("last", "dev-loss", "rougeL")
REPORTERS = ("none", "wandb", "tensorboard", "trackio")
_ABOVE_ZERO = (
    "temperature",
    "epochs",
    "learning_rate",
    "batch_size",
    "accumulation",
    "max_length",
    "max_prompt_length",
    "lora_alpha",
    "peer_timeout",
)
_AT_LEAST_ZERO = (
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "checkpoint_steps",
    "seed",
    "lora_rank",
    "min_learning_rate",
)


@dataclass(frozen=True, kw_only=True)
class TrainPlan:
    """One training run. The same plan gives the same weights on the same machine."""

    student: str
    """Model folder or hub name; what is trained."""
    data: str
    """JSON Lines file, or a named data set with options (see `harness_kd.data.named`)."""
    output: str
    """Folder of the trained model; it appears when the run is finished. ``OUTPUT.partial`` holds a running
    one."""
    teacher: str | None = None
    """Model folder or hub name; needed if ``kd_ratio`` > 0."""
    kd_ratio: float = 0.0
    """r >= 0; the loss is (CE + r KD) / (1 + r). 0 is plain supervised finetuning, ``inf`` distillation alone."""
    divergence: str = "forward-kl"
    """One of `DIVERGENCE_NAMES`."""
    temperature: float = 1.0
    """T of the divergence; must be among the cache's."""
    label_smoothing: float = 0.0
    """In [0, 1), on the hard labels."""
    top_k: int = 64
    """Teacher entries kept per token, at most; at least 1."""
    max_tail: float = 0.0
    """In [0, 1): keep fewer than ``top_k`` entries once the mass outside them is at most this; 0 keeps all
    ``top_k``."""
    tail_draws: int = 0
    """Unbiased labels: draws from the mass outside the kept entries, in place of one bucket for it; then ``top_k`` may be 0, and
    ``temperature`` is 1."""
    soft_labels: str | None = None
    """Cache folder; None: ``soft-labels/<fingerprint>`` beside ``output``, shared by runs with the same
    teacher."""
    engine: str = "transformers"
    """What captures the labels: one of `ENGINES`. vLLM has them at temperature 1 alone."""
    teacher_dtype: str = "auto"
    """Precision that the teacher runs in: ``float32``, ``bfloat16`` or ``float16``; ``auto`` is that of the labels in
    ``soft_labels`` if there are any, else the checkpoint's own on a GPU and float32 on a processor."""
    online_teacher: bool = False
    """Ask the teacher at every step instead of capturing its labels first: no cache, a forward pass more per step."""
    epochs: float = 3.0
    """Passes over the data."""
    learning_rate: float = 1e-5
    """Peak; cosine decay to ``min_learning_rate``."""
    warmup_steps: int = 0
    """Optimizer steps of linear warm-up."""
    weight_decay: float = 0.01
    """Of the optimizer."""
    optimizer: str = "adamw_torch_fused"
    """One of transformers' (``TrainingArguments.optim``); ``adafactor`` or ``paged_adamw_8bit`` hold less memory than AdamW."""
    batch_size: int = 8
    """Rows per micro-batch and process."""
    accumulation: int = 1
    """Micro-batches per optimizer step; the split changes nothing but memory."""
    max_grad_norm: float = 1.0
    """Gradient clipping; 0 for none."""
    max_length: int = 1024
    """Tokens of prompt and response together."""
    max_prompt_length: int = 512
    """Tokens of the prompt."""
    overlong: str = "drop"
    """``drop`` or ``truncate`` rows that are longer; both are counted."""
    bf16: bool = False
    """Autocast to bfloat16; weights that train and the optimizer stay float32, those frozen under an adapter are bfloat16."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass."""
    packing: bool = False
    """Join the examples of a micro-batch into rows of at most ``max_length`` tokens, each seeing only itself."""
    dev: str | None = None
    """Data to choose a checkpoint on, given as ``data`` is."""
    select: str = "last"
    """``last`` checkpoint; or of all epochs' the one with the lowest ``dev-loss`` or the highest ``rougeL`` of
    its greedy responses to the dev prompts."""
    min_learning_rate: float = 0.0
    """Where the cosine ends."""
    lora_rank: int = 0
    """Rank of a low-rank adapter (peft), the paper's is 8; 0 trains all weights."""
    lora_alpha: int = 32
    """The adapter is scaled by this over its rank."""
    lora_dropout: float = 0.1
    """In [0, 1), on the adapter's input."""
    lora_targets: str = ""
    """Names of linear modules, comma-separated, or ``all-linear``; empty: peft's own choice for the family."""
    keep_adapter: bool = False
    """Save the adapter alone instead of adding it to the weights; such a folder needs peft to load."""
    save_dtype: str = "auto"
    """Precision of the finished model: ``float32``, ``bfloat16`` or ``float16``; ``auto`` is the one that the student is stored in.
    Weights that train, and checkpoints, are float32 all the same."""
    report_to: str = "none"
    """Reporting backends of transformers' Trainer, comma-separated: `REPORTERS`."""
    checkpoint_steps: int = 0
    """Optimizer steps between checkpoints; 0: five per run, at least 50 steps apart."""
    peer_timeout: float = 600.0
    """Seconds that a process of several waits at the start for the others."""
    seed: int = 10
    """Of data order and dropout."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            HarnessError: With all problems at once.
        """
        problems = [
            f"{name} must be a finite number above 0, got {getattr(self, name)}"
            for name in _ABOVE_ZERO
            if not 0 < getattr(self, name) < math.inf
        ]
        problems += [
            f"{name} must be a finite number of at least 0, got {getattr(self, name)}"
            for name in _AT_LEAST_ZERO
            if not 0 <= getattr(self, name) < math.inf
        ]
        if not self.kd_ratio >= 0:
            problems.append(f"kd_ratio must be at least 0, or inf, got {self.kd_ratio}")
        for name in ("label_smoothing", "max_tail", "lora_dropout"):
            if not 0 <= getattr(self, name) < 1:
                problems.append(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if self.divergence not in DIVERGENCE_NAMES:
            problems.append(
                f"divergence must be one of {', '.join(DIVERGENCE_NAMES)}, got {self.divergence!r}"
            )
        if self.overlong not in OVERLONG:
            problems.append(f"overlong must be one of {', '.join(OVERLONG)}, got {self.overlong!r}")
        unknown = [name for name in self.report_to.split(",") if name not in REPORTERS]
        if unknown:
            problems.append(f"report_to knows {', '.join(REPORTERS)}, got {', '.join(unknown)}")
        if self.keep_adapter and not self.lora_rank:
            problems.append("keep_adapter needs lora_rank above 0")
        if self.select not in SELECTIONS:
            problems.append(f"select must be one of {', '.join(SELECTIONS)}, got {self.select!r}")
        if (self.select == "last") != (self.dev is None):
            problems.append("dev data and select (dev-loss or rougeL) go together")
        if self.divergence == "uld" and (self.temperature != 1 or self.tail_draws or self.online_teacher):
            problems.append(
                "divergence uld has neither temperatures but 1, nor tail_draws, nor an online_teacher"
            )
        if self.teacher_dtype not in ("auto", *DTYPES):
            problems.append(
                f"teacher_dtype must be auto or one of {', '.join(DTYPES)}, got {self.teacher_dtype!r}"
            )
        if self.save_dtype not in ("auto", *DTYPES):
            problems.append(f"save_dtype must be auto or one of {', '.join(DTYPES)}, got {self.save_dtype!r}")
        if self.engine not in ENGINES:
            problems.append(f"engine must be one of {', '.join(ENGINES)}, got {self.engine!r}")
        if self.engine == "vllm" and (self.temperature != 1 or self.tail_draws or self.online_teacher):
            problems.append(
                "engine vllm has neither temperatures but 1, nor tail_draws, nor an online_teacher"
            )
        if self.online_teacher and (self.kd_ratio == 0 or self.soft_labels is not None):
            problems.append("online_teacher needs kd_ratio above 0, and no soft_labels folder")
        if self.kd_ratio > 0 and self.teacher is None:
            problems.append("kd_ratio above 0 needs a teacher")
        problems += [
            f"{name} is empty: leave it out, or name one"
            for name in ("student", "teacher", "soft_labels", "dev")
            if getattr(self, name) == ""
        ]
        problems += self._without_hard_labels()
        if not (0 if self.tail_draws else 1) <= self.top_k < 65_536:
            problems.append(f"top_k must be in [1, 65535], or 0 with tail_draws, got {self.top_k}")
        if not 0 <= self.tail_draws < 65_536:
            problems.append(f"tail_draws must be in [0, 65535], got {self.tail_draws}")
        if self.tail_draws and (self.temperature != 1 or self.divergence not in _LINEAR):
            problems.append(
                f"tail_draws needs temperature 1 and {' or '.join(_LINEAR)}: any other gradient would be biased"
            )
        if self.max_prompt_length >= self.max_length:
            problems.append(
                f"max_prompt_length {self.max_prompt_length} leaves no room in max_length {self.max_length}"
            )
        HarnessError.raise_for(problems, "Correct the options and run the same command again.")

    def _without_hard_labels(self) -> list[str]:
        """What cannot stand beside distillation alone."""
        if not math.isinf(self.kd_ratio):
            return []
        problems = []
        if self.label_smoothing:
            problems.append("label_smoothing smooths hard labels, which kd_ratio inf leaves out")
        if self.divergence == "uld":
            problems.append(
                "divergence uld compares ranks: without hard labels (kd_ratio inf) nothing says which token"
            )
        return problems

    def to_dict(self) -> dict[str, Any]:
        """Every field as JSON holds it, which has no number for infinity."""
        return asdict(self) | {"kd_ratio": "inf" if math.isinf(self.kd_ratio) else self.kd_ratio}

    def recipe(self) -> dict[str, Any]:
        """The fields that decide the weights: all but paths and how often a checkpoint is written."""
        paths = (
            "student",
            "data",
            "output",
            "teacher",
            "soft_labels",
            "teacher_dtype",  # as resolved it is part of the labels' manifest
            "save_dtype",  # as resolved it is part of the run's identity
            "checkpoint_steps",
            "peer_timeout",
            "report_to",
            "dev",
        )
        fields = {name: value for name, value in self.to_dict().items() if name not in paths}
        if self.kd_ratio == 0:  # without distillation these decide nothing
            fields |= {
                "divergence": None,
                "temperature": None,
                "top_k": None,
                "max_tail": None,
                "tail_draws": None,
                "engine": None,
            }
        if self.optimizer == TrainPlan.optimizer:  # runs from before there was a choice stay what they were
            del fields["optimizer"]
        if self.lora_rank == 0:
            fields |= {name: None for name in fields if name.startswith("lora_")}
        return fields

    def temperatures(self) -> tuple[float, ...]:
        """The grid of temperatures to capture: the default one, with this run's."""
        if self.tail_draws or self.engine == "vllm":
            return (1.0,)
        return tuple(sorted({*DEFAULT_TEMPERATURES, self.temperature}))
