"""Padded models through the real trainer: nothing beyond the tokenizer keeps probability, and nothing of it is written."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from harness_kd.loss.fused import LossSettings
from harness_kd.loss.head import attach_loss
from harness_kd.loss.states import decoder_start, padded
from harness_kd.plan import TrainPlan
from harness_kd.soft_labels.cache import SoftLabelCache
from harness_kd.soft_labels.fidelity import measure
from harness_kd.soft_labels.online import OnlineTeacher
from harness_kd.studies.teacher_responses import SequencePlan, generate
from harness_kd.studies.teacher_responses import prepare as prepare_sequences
from harness_kd.training.train import capture_labels, prepare, train
from harness_kd.training.trainer import Collator
from torch.nn import functional as F  # noqa: N812
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BloomConfig,
    GPTNeoXConfig,
    MT5Config,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    T5Config,
)

from harness.generation import Decoding
from tests.kd.conftest import WORDS, known
from tests.kd.test_families import tokenizer_of

PADDING = 16
"""Of students; teachers have 6 rows."""
SIZES: dict[str, Any] = {
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "hidden_size": 16,
    "initializer_range": 0.3,
}
T5_SIZES: dict[str, Any] = {
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 32,
    "num_layers": 1,
    "num_heads": 2,
    "decoder_start_token_id": 0,
}
CONFIGS: dict[str, Callable[[int], PretrainedConfig]] = {
    "qwen2": lambda n: Qwen2Config(
        vocab_size=n, intermediate_size=32, num_key_value_heads=1, tie_word_embeddings=True, **SIZES
    ),
    "gpt_neox": lambda n: GPTNeoXConfig(vocab_size=n, intermediate_size=32, hidden_dropout=0, **SIZES),
    "bloom": lambda n: BloomConfig(vocab_size=n, n_layer=1, n_head=2, hidden_size=16, initializer_range=0.3),
    "t5": lambda n: T5Config(vocab_size=n, dropout_rate=0.0, **T5_SIZES),
    "mt5": lambda n: MT5Config(vocab_size=n, dropout_rate=0.0, tie_word_embeddings=False, **T5_SIZES),
}


def build(folder: Path, family: str, seed: int, padding: int) -> str:
    """A random model whose head has ``padding`` rows of four times the size of the others."""
    tokenizer = tokenizer_of(family)
    torch.manual_seed(seed)
    config = CONFIGS[family](len(tokenizer) + padding)
    model = _kind(config).from_config(config)
    with torch.no_grad():
        model.get_output_embeddings().weight[len(tokenizer) :] *= 4
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def _kind(config: PretrainedConfig) -> type[Any]:
    return AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM


def loaded(folder: Path | str) -> PreTrainedModel:
    return _kind(AutoConfig.from_pretrained(folder)).from_pretrained(folder)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data file whose response is always the same: greedy responses stay where the model was trained."""
    draw = random.Random(0)
    path = tmp_path_factory.mktemp("task") / "train.jsonl"
    prompts = [" ".join(draw.choices(WORDS, k=draw.randint(2, 4))) for _ in range(32)]
    path.write_text(
        "".join(json.dumps({"prompt": p, "response": "word1 word2 word3"}) + "\n" for p in prompts)
    )
    return str(path)


@pytest.fixture(scope="module")
def case(task: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """By family, made once: a plan, the mass of padding before training, and after training by transformers' own loss."""
    made: dict[str, tuple[TrainPlan, float, float]] = {}

    def make(family: str) -> tuple[TrainPlan, float, float]:
        if family not in made:
            folder = tmp_path_factory.mktemp(family)
            plan = TrainPlan(
                student=build(folder / "student", family, 1, PADDING),
                data=task,
                output=str(folder / "taught"),
                epochs=15,
                learning_rate=2e-2,
                batch_size=8,
                max_length=48,
                max_prompt_length=32,
            )
            teacher = train(replace(plan, student=build(folder / "teacher", family, 2, 6)))
            plan = replace(plan, teacher=str(teacher), kd_ratio=1.0, top_k=4, output=str(folder / "out"))
            before, after = loaded(plan.student), trained_by_its_own_loss(plan)
            made[family] = plan, padding_mass(before, plan), padding_mass(after, plan)
        return made[family]

    return make


@torch.no_grad()
def padding_mass(model: PreTrainedModel, plan: TrainPlan) -> float:
    """Mean probability of rows beyond the tokenizer where a response's token is predicted."""
    prepared = prepare(plan)
    batch = padded(prepared.data.examples, decoder_start(model))
    labels = batch.pop("labels")
    mass = model.eval()(**batch).logits.softmax(-1)[..., len(prepared.tokenizer) :].sum(-1)
    if not model.config.is_encoder_decoder:
        mass, labels = mass[:, :-1], labels[:, 1:]
    return mass[labels != -100].mean().item()


def trained_by_its_own_loss(plan: TrainPlan) -> PreTrainedModel:
    """The student finetuned outside of this project: transformers' loss, over all rows of the head, and a loop."""
    model, examples = loaded(plan.student).train(), prepare(plan).data.examples
    starts = range(0, len(examples), plan.batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(starts) * int(plan.epochs))
    for _ in range(int(plan.epochs)):
        for start in starts:
            batch = padded(examples[start : start + plan.batch_size], decoder_start(model))
            model(**batch).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), plan.max_grad_norm)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    return model


def assert_held_down(case: tuple[TrainPlan, float, float], output: Path, **change: Any) -> None:
    """Padding, which had most of the mass, ends with what an ordinary loss over all rows leaves it, and is never written."""
    plan, before, usual = case
    plan = replace(plan, output=str(output), **change)
    model, tokens = loaded(train(plan)).eval(), len(prepare(plan).tokenizer)
    assert usual < 0.1 < 0.6 < before
    assert padding_mass(model, plan) < usual + 0.05
    for example in prepare(plan).data.examples[::2]:
        prompt = torch.from_numpy(example.ids[: example.boundary]).long()[None]
        found = model.generate(prompt, max_new_tokens=12, do_sample=False, pad_token_id=0, eos_token_id=2)[0]
        response = found[1 if model.config.is_encoder_decoder else example.boundary :]
        assert len(response)
        assert int(response.max()) < tokens


@pytest.mark.parametrize("family", CONFIGS)
def test_every_padded_family_holds_its_padding_down(
    family: str, case: Callable[..., Any], tmp_path: Path
) -> None:
    assert_held_down(case(family), tmp_path / "out")


@pytest.mark.parametrize(
    "change",
    [
        {"kd_ratio": 0.0, "teacher": None},
        {"kd_ratio": 1e6, "divergence": "reverse-kl"},
        {"kd_ratio": 1e6, "divergence": "jensen-shannon"},
        {"divergence": "uld"},
        {"online_teacher": True},
        {"top_k": 0, "tail_draws": 6},
    ],
    ids=lambda change: "-".join(map(str, change.values())),
)
def test_every_way_to_train_holds_padding_down(
    change: dict[str, Any], case: Callable[..., Any], tmp_path: Path
) -> None:
    assert_held_down(case("gpt_neox"), tmp_path / "out", **change)


@pytest.mark.parametrize("online", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_labels_of_a_padded_teacher_are_of_its_tokens_and_the_student_of_all_its_rows(
    online: bool, temperature: float, data_file: str, tmp_path: Path
) -> None:
    """From the cache or from the teacher anew: the gradient of softmaxes written out, in every parameter."""
    plan = TrainPlan(
        student=build(tmp_path / "student", "qwen2", 1, PADDING),
        teacher=build(tmp_path / "teacher", "qwen2", 2, 6),
        data=data_file,
        output=str(tmp_path / "out"),
        kd_ratio=1.0,
        temperature=temperature,
        top_k=1000,
        max_length=48,
        max_prompt_length=32,
    )
    prepared = prepare(plan)
    tokens = len(prepared.tokenizer)
    labels: OnlineTeacher | SoftLabelCache
    if online:
        labels = OnlineTeacher(known(prepared.teacher).model(), known(prepared.manifest))
    else:
        capture_labels(prepared)
        labels = SoftLabelCache(known(prepared.labels_folder), known(prepared.manifest))
    batch = Collator(labels, temperature)(prepared.data.examples[:6])
    ours, theirs = loaded(plan.student), loaded(plan.student)
    attach_loss(ours, LossSettings(kd_weight=0.5, temperature=temperature, vocabulary_size=tokens))
    ours.train()(**batch).loss.backward()
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    targets = batch["labels"][:, 1:]
    on = targets != -100
    with torch.no_grad():
        scores = loaded(known(plan.teacher)).eval()(**inputs).logits[:, :-1][on][:, :tokens]
    logits = theirs(**inputs).logits[:, :-1][on]
    assert (logits.shape[1], loaded(known(plan.teacher)).config.vocab_size) == (tokens + PADDING, tokens + 6)
    p = F.pad((scores / temperature).softmax(-1), (0, PADDING))
    divergence = temperature**2 * F.kl_div((logits / temperature).log_softmax(-1), p, reduction="batchmean")
    (0.5 * F.cross_entropy(logits, targets[on]) + 0.5 * divergence).backward()
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        exact = known(other.grad)
        assert (known(one.grad) - exact).norm() / exact.norm() < 2e-3, name  # float16 labels


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("family", ["gpt_neox", "t5"])
def test_a_padded_teacher_writes_tokens_alone(
    family: str, temperature: float, data_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer, seen = tokenizer_of(family), list[int]()
    teacher = build(tmp_path / "teacher", family, 2, PADDING)
    decode = type(tokenizer).decode

    def noted(self: Any, ids: list[int], **options: Any) -> Any:
        seen.extend(ids)
        return decode(self, ids, **options)

    monkeypatch.setattr(type(tokenizer), "decode", noted)
    plan = SequencePlan(
        teacher=teacher,
        data=data_file,
        output=tmp_path / "rows.jsonl",
        decoding=Decoding(max_new_tokens=6, temperature=temperature),
        max_prompt_length=32,
        batch_size=16,
    )
    assert generate(prepare_sequences(plan))["rows"] > 0
    assert len(seen) > 100
    assert max(seen) < len(tokenizer)


@torch.inference_mode()
def test_fidelity_is_measured_against_a_padded_student_as_it_is_trained(
    data_file: str, tmp_path: Path
) -> None:
    """Its softmax over all rows of its head, the teacher's and its labels' over tokens."""
    folders = [build(tmp_path / str(rows), "gpt_neox", rows, rows) for rows in (6, PADDING)]
    plan = TrainPlan(
        student=folders[1], teacher=folders[0], data=data_file, output=str(tmp_path / "out"), kd_ratio=1.0
    )
    prepared = prepare(plan)
    (example, *_), tokens = prepared.data.examples, len(prepared.tokenizer)
    teacher, student = (loaded(folder).eval() for folder in folders)
    (found,) = measure(
        teacher,
        [example],
        replace(known(prepared.manifest), temperatures=(1.0,)),
        ks=[4],
        tokens=99,
        student=student,
    )
    ids = torch.from_numpy(example.ids).long()[None]
    scores, logits = (model(ids).logits[0, example.boundary - 1 : -1] for model in (teacher, student))
    p, q = F.pad(scores[:, :tokens].softmax(-1), (0, PADDING)), logits.softmax(-1)
    kept = torch.zeros_like(p, dtype=torch.bool).scatter(1, p.topk(4).indices, True)
    spread = q.masked_fill(kept, 0)
    spread[:, tokens:] = 0
    tail = p.masked_fill(kept, 0).sum(-1, keepdim=True)
    cached = torch.where(kept, p, spread / spread.sum(-1, keepdim=True) * tail)
    assert found.bias == pytest.approx(float((p - cached).norm() / (q - p).norm()), rel=1e-2)
    assert q[:, tokens:].sum(-1).mean() > 0.3
