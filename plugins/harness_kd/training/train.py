"""One training run from plan to model folder: supervised finetuning, or distillation from cached labels."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.files import replace_dir, write_atomic
from harness.models.device import DTYPES
from harness.models.saving import let_all_read
from harness.models.source import ModelSource
from harness_kd.data.examples import TokenizedData, template_hash, tokenize_rows
from harness_kd.data.rows import TextRow, load_rows
from harness_kd.models import require_same_vocabulary, vocabulary_hash, vocabulary_size
from harness_kd.placement import FreeMemory, free_device, place, require_own, weight_bytes
from harness_kd.plan import TrainPlan
from harness_kd.processes import agreed, meet, peers_may_vanish, rank, together, world_size
from harness_kd.soft_labels.manifest import FILE_NAME, Manifest
from harness_kd.soft_labels.size import label_bytes
from harness_kd.training.card import model_card
from harness_kd.training.fit import fit, require_optimizer, require_reporters
from harness_kd.training.precision import stored_dtype
from harness_kd.training.run_folder import RUN_FILE, is_finished, model_contents, open_run, partial_folder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from harness_kd.soft_labels.online import LabelSource


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A plan with its inputs read and checked; nothing has been written yet."""

    plan: TrainPlan
    student: ModelSource
    teacher: ModelSource | None
    tokenizer: PreTrainedTokenizerBase
    data: TokenizedData
    dev: TokenizedData | None
    manifest: Manifest | None
    teacher_data: TokenizedData | None = None
    """The rows in the teacher's tokens, in the order of ``data``, where its tokenizer is another."""

    @property
    def labelled(self) -> TokenizedData:
        """What the teacher reads."""
        return self.data if self.teacher_data is None else self.teacher_data

    @property
    def labels_folder(self) -> Path | None:
        """Where the soft labels are, None without distillation."""
        if self.manifest is None:
            return None
        if self.plan.soft_labels is not None:
            return Path(self.plan.soft_labels)
        return Path(self.plan.output).resolve().parent / "soft-labels" / self.manifest.fingerprint[:16]

    @property
    def steps(self) -> int:
        """Optimizer steps of the run, each over the micro-batches of all processes."""
        batches = math.ceil(len(self.data.examples) / (self.plan.batch_size * world_size()))
        return math.ceil(math.ceil(batches / self.plan.accumulation) * self.plan.epochs)

    @property
    def save_dtype(self) -> str:
        """Precision of the finished model."""
        wanted = self.plan.save_dtype
        return stored_dtype(self.student.folder) if wanted == "auto" else wanted

    def identity(self) -> dict[str, Any]:
        """What decides the weights, by content rather than by path."""
        return {
            **self.plan.recipe(),
            "student_sha256": self.student.sha256,
            "data_sha256": self.data.fingerprint,
            "dev_sha256": None if self.dev is None else self.dev.fingerprint,
            "soft_labels_sha256": None if self.manifest is None else self.manifest.fingerprint,
            "save_dtype": self.save_dtype,
            "world_size": world_size(),
        }


def prepare(plan: TrainPlan) -> Prepared:
    """Read and check everything that a run needs, and write nothing.

    Raises:
        HarnessError: For a missing model, bad data, or vocabularies that differ.
    """
    require_reporters(plan.report_to.split(","))
    require_optimizer(plan.optimizer)
    student = ModelSource.find(plan.student, role="student")
    tokenizer = student.tokenizer()
    rows = load_rows(plan.data)
    teacher = manifest = None
    if plan.kd_ratio > 0 and plan.teacher is not None:
        teacher = ModelSource.find(plan.teacher, role="teacher")
        of_teacher = teacher.tokenizer()
        if plan.divergence != "uld":
            require_same_vocabulary(of_teacher, tokenizer)
        template = template_hash(rows, of_teacher if plan.divergence == "uld" else tokenizer)
        manifest = label_manifest(plan, teacher, of_teacher, template)

    def read(rows: Sequence[TextRow]) -> TokenizedData:
        return tokenize_rows(
            rows,
            tokenizer,
            max_length=plan.max_length,
            max_prompt_length=plan.max_prompt_length,
            overlong=plan.overlong,
            encoder_decoder=student.encoder_decoder,
        )

    data = read(rows)
    teacher_data = None
    if teacher is not None and plan.divergence == "uld":
        teacher_data = tokenize_rows(
            [rows[number] for number in data.kept],
            teacher.tokenizer(),
            max_length=plan.max_length,
            max_prompt_length=plan.max_prompt_length,
            overlong="truncate",  # a row that the student reads must have its place
            encoder_decoder=teacher.encoder_decoder,
        )
    return Prepared(
        plan=plan,
        student=student,
        teacher=teacher,
        tokenizer=tokenizer,
        data=data,
        teacher_data=teacher_data,
        dev=None if plan.dev is None else read(load_rows(plan.dev)),
        manifest=manifest,
    )


def label_manifest(
    plan: TrainPlan, teacher: ModelSource, tokenizer: PreTrainedTokenizerBase, template: str
) -> Manifest:
    """The manifest of the soft labels that a plan trains from."""
    return Manifest(
        teacher=teacher.name,
        teacher_revision=teacher.revision,
        teacher_sha256=teacher.sha256,
        vocabulary_sha256=vocabulary_hash(tokenizer),
        vocabulary_size=vocabulary_size(tokenizer),
        temperatures=plan.temperatures(),
        top_k=min(plan.top_k, vocabulary_size(tokenizer)),
        max_tail=plan.max_tail,
        tail_draws=plan.tail_draws,
        template=template,
        label_dtype="float16",
        teacher_dtype="vllm" if plan.engine == "vllm" else _teacher_dtype(plan, teacher),
    )


def _teacher_dtype(plan: TrainPlan, teacher: ModelSource) -> str:
    if plan.teacher_dtype != "auto":
        return plan.teacher_dtype
    if plan.soft_labels is not None and (Path(plan.soft_labels) / FILE_NAME).exists():
        stored = Manifest.read(Path(plan.soft_labels)).teacher_dtype
        if stored in DTYPES:
            return stored
    return teacher.inference_dtype


def train(plan: TrainPlan) -> Path:
    """Train, and return the model folder: a Hugging Face checkpoint with its tokenizer, ``README.md`` and
    ``run.json``.

    A finished run of the same plan returns at once; an unfinished one resumes from its last checkpoint and
    ends with the same weights as if it had not been interrupted. Soft labels are captured first where the
    cache lacks them.

    Raises:
        HarnessError: For bad input, or an output folder that holds another run.
    """
    meet(plan.peer_timeout)
    with together("training"), peers_may_vanish():
        prepared = prepare(plan)
        output = Path(plan.output).resolve()
        identity = prepared.identity()
        if agreed(lambda: is_finished(output, identity)):
            return output
        labels = _labels(prepared)
        with open_run(output, identity) as folder:
            metrics = fit(prepared, labels, folder)
            if rank() == 0:
                publish(prepared, folder, output, identity, metrics)
                shutil.rmtree(partial_folder(output))
    return output


def capture_labels(prepared: Prepared) -> int:
    """Capture the soft labels that the cache lacks and return for how many examples."""
    from harness_kd.soft_labels.capture import capture

    teacher, manifest, folder = prepared.teacher, prepared.manifest, prepared.labels_folder
    if teacher is None or manifest is None or folder is None:
        return 0
    if prepared.plan.engine == "vllm":
        from harness_kd.soft_labels.vllm import capture_with_vllm

        return capture_with_vllm(teacher, prepared.labelled.examples, folder, manifest)
    if not folder.exists():
        require_room(prepared, label_bytes(manifest, prepared.labelled))
    # a teacher that needs all devices is the first process's alone
    shared = agreed(lambda: FreeMemory.measured().holds(weight_bytes(teacher, manifest.teacher_dtype)))
    if not shared and rank() > 0:
        return 0
    return capture(
        lambda: place(teacher, dtype=manifest.teacher_dtype),
        prepared.labelled.examples,
        folder,
        manifest,
        rank=rank(),
        world_size=world_size() if shared else 1,
    )


def _labels(prepared: Prepared) -> LabelSource | None:
    from harness_kd.soft_labels.cache import SoftLabelCache

    if prepared.plan.online_teacher and prepared.teacher is not None and prepared.manifest is not None:
        from harness_kd.soft_labels.online import OnlineTeacher

        require_own(prepared.teacher, prepared.manifest.teacher_dtype)
        teacher = place(prepared.teacher, dtype=prepared.manifest.teacher_dtype)
        return OnlineTeacher(teacher, prepared.manifest)
    with together("capture of soft labels"):
        capture_labels(prepared)
        free_device()
    if prepared.manifest is None or prepared.labels_folder is None:
        return None
    cache = SoftLabelCache(prepared.labels_folder, prepared.manifest)
    if prepared.teacher_data is None:
        return cache
    from harness_kd.soft_labels.ranked import RankedLabels

    pairs = zip(prepared.data.examples, prepared.teacher_data.examples, strict=True)
    return RankedLabels(cache, {example.key: other for example, other in pairs})


def require_room(prepared: Prepared, needed: int) -> None:
    """Refuse to start where the disk cannot hold the labels.

    Raises:
        HarnessError: If fewer than ``needed`` bytes are free.
    """
    folder = prepared.labels_folder or Path(prepared.plan.output)
    existing = next(parent for parent in (folder.resolve(), *folder.resolve().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise HarnessError(
            f"{folder}: about {needed / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB are free",
            "Free some space, choose another folder, or keep fewer entries with --top-k or --max-tail.",
        )


def _link(source: str, target: str) -> None:
    """A second name for a finished file, which takes no space; a copy where the file system has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def publish(
    prepared: Prepared, folder: Path, output: Path, identity: dict[str, Any], metrics: dict[str, Any]
) -> None:
    """Put the finished model in place, whole, with its card and its run file."""
    with replace_dir(output) as target:
        shutil.copytree(folder / "model", target, dirs_exist_ok=True, copy_function=_link)
        (target / "training_args.bin").unlink(missing_ok=True)  # a pickle, and of no use to anyone
        if not (
            target / "config.json"
        ).exists():  # an adapter: lm-eval and others read the configuration first
            shutil.copy(prepared.student.folder / "config.json", target)
        prepared.tokenizer.save_pretrained(target)
        write_atomic(target / "README.md", model_card(prepared.plan, identity, prepared.data, metrics))
        record = {
            "identity": identity,
            "plan": prepared.plan.to_dict(),
            "metrics": metrics,
            "files": model_contents(target),
        }
        write_atomic(target / RUN_FILE, json.dumps(record, indent=2) + "\n")
        let_all_read(target)
