"""What a dry run says, against what the same run takes: torch's own profiler and real trainings of tiny models."""

import json
import struct
import weakref
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from harness_kd.dry_run import text, timing
from harness_kd.dry_run.inference import capture_memory, evaluation_memory
from harness_kd.dry_run.live import ACTIVATIONS, COPIES, GRADIENTS, LOGITS, OPTIMIZER, WEIGHTS, weightless
from harness_kd.dry_run.memory import CACHE, EXCHANGE, LABELS, PROCESS, TEACHER, Memory
from harness_kd.dry_run.stages import training_stage
from harness_kd.dry_run.training import (
    _merging,
    count_training,
    largest_batch,
    optimizer_of,
    training_memory,
)
from harness_kd.plan import TrainPlan
from harness_kd.soft_labels.cache import SoftLabelCache
from harness_kd.soft_labels.capture import label_batch
from harness_kd.training import fit, lora
from harness_kd.training.fit import build_student, loss_settings
from harness_kd.training.train import Prepared, capture_labels, prepare, train
from harness_kd.training.trainer import Collator, DistillationTrainer
from safetensors.torch import load_file
from torch.profiler import ProfilerActivity, profile
from transformers import LlamaConfig, LlamaForCausalLM, MT5Config, MT5ForConditionalGeneration

from harness.cli import main
from harness.models.source import ModelSource
from tests.kd.conftest import known, make_model, make_tokenizer
from tests.kd.test_families import CONFIGS, build

FULL: dict[str, Any] = {}
LORA: dict[str, Any] = {"lora_rank": 4}


def peak_bytes(work: Callable[[], Any]) -> int:
    """Most bytes that torch's allocator held at once for some work, by its own profiler."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    events = profiler.profiler.kineto_results.events()
    now = most = 0
    for _, size in sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"):
        now += size
        most = max(most, now)
    return most


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Llama whose activations outweigh its weights."""
    return make_model(
        tmp_path_factory.mktemp("wide"),
        width=64,
        tie=False,
        intermediate_size=160,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.02,
    )


@pytest.fixture
def wide_plan(wide: str, data_file: str, tmp_path: Path) -> TrainPlan:
    return TrainPlan(
        student=wide,
        data=data_file,
        output=str(tmp_path / "out"),
        epochs=2,
        batch_size=16,
        max_length=64,
        max_prompt_length=32,
    )


def one_step(prepared: Prepared, labels: SoftLabelCache | None = None) -> tuple[dict[str, int], int, int]:
    """A real step on the largest batch and the optimizer's update: bytes of each kind, then the profiler's peaks."""
    plan = prepared.plan
    model = build_student(prepared, loss_settings(prepared)).train()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    start = None
    if prepared.student.encoder_decoder:
        start = model.config.decoder_start_token_id
    inputs = Collator(labels, plan.temperature, start)(largest_batch(prepared))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=plan.bf16):
            loss = model(**inputs).loss
        loss.backward()

    peak = peak_bytes(step)
    optimizer = optimizer_of(trained, plan)
    update = peak_bytes(optimizer.step)
    states = [one for state in optimizer.state.values() for one in state.values() if torch.is_tensor(one)]
    held = {
        WEIGHTS: bytes_of([*model.parameters(), *model.buffers()]),
        GRADIENTS: bytes_of([known(weight.grad) for weight in trained]),
        OPTIMIZER: bytes_of(states),
    }
    return held, peak, update


def bytes_of(tensors: Iterable[torch.Tensor]) -> int:
    distinct = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(distinct.values())


@pytest.mark.parametrize(
    ("options", "optimizer"),
    [
        pytest.param(FULL, "adamw_torch_fused", id="full-adamw"),
        pytest.param(LORA, "adafactor", id="lora-adafactor"),
        pytest.param(FULL, "adafactor", id="full-adafactor", marks=pytest.mark.slow),
        pytest.param(LORA, "adamw_torch_fused", id="lora-adamw", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("family", CONFIGS)
def test_weights_gradients_and_optimizer_are_counted_to_the_byte(
    family: Any, options: Any, optimizer: Any, data_file: str, tmp_path: Path
) -> None:
    plan = TrainPlan(
        student=build(tmp_path / "student", family, 1),
        data=data_file,
        output=str(tmp_path / "out"),
        max_length=48,
        max_prompt_length=32,
        optimizer=optimizer,
        **options,
    )
    prepared = prepare(plan)
    counted = count_training(prepared)
    held, _, _ = one_step(prepared)
    assert counted.weights == held[WEIGHTS]
    assert counted.trained == held[GRADIENTS] == counted.update[GRADIENTS]
    assert counted.optimizer == held[OPTIMIZER] == counted.update[OPTIMIZER]
    assert counted.note == ""


@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bf16"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("options", [FULL, LORA], ids=["full", "lora"])
def test_a_step_takes_what_is_counted(
    wide_plan: TrainPlan, options: dict[str, Any], checkpointing: bool, bf16: bool
) -> None:
    prepared = prepare(replace(wide_plan, gradient_checkpointing=checkpointing, bf16=bf16, **options))
    counted = count_training(prepared)
    held, peak, update = one_step(prepared)
    planned = counted.step.total() - held[WEIGHTS]  # which stood before the profiler began
    assert 0.9 * peak <= planned <= 1.1 * peak
    assert update <= counted.update.total() - held[WEIGHTS] - held[GRADIENTS] <= 1.2 * update + 1000
    assert (counted.step[COPIES] > 0) == bf16


def test_checkpointing_and_batches_weigh_as_they_should(wide_plan: TrainPlan) -> None:
    whole = count_training(prepare(wide_plan)).step[ACTIVATIONS]
    half = count_training(prepare(replace(wide_plan, batch_size=8))).step[ACTIVATIONS]
    spared = count_training(prepare(replace(wide_plan, gradient_checkpointing=True))).step
    assert 0.4 * whole < half < 0.6 * whole
    assert sum(spared[kind] for kind in (ACTIVATIONS, LOGITS, GRADIENTS)) < 0.6 * whole
    again = count_training(prepare(replace(wide_plan, accumulation=2)))
    assert (
        again.step[GRADIENTS] == again.trained
    )  # those of the first micro-batch are there while the second is computed


def test_logits_are_a_chunk_of_targets_by_vocabulary(wide_plan: TrainPlan) -> None:
    prepared = prepare(replace(wide_plan, gradient_checkpointing=True, lora_rank=4, lora_targets="q_proj"))
    targets = sum(example.targets for example in largest_batch(prepared))
    step = count_training(prepared).step
    assert step[LOGITS] % (4 * targets) == 0
    assert step[LOGITS] <= 3 * 4 * targets * 94
    assert step[WEIGHTS] == count_training(prepared).weights


def test_the_largest_batch_is_the_one_that_training_sees(
    wide_plan: TrainPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(wide_plan, batch_size=5)
    seen, step = [], DistillationTrainer.training_step

    def recorded(self: DistillationTrainer, model: Any, inputs: Any, *more: Any) -> Any:
        seen.append(inputs["input_ids"].numel())
        return step(self, model, inputs, *more)

    monkeypatch.setattr(DistillationTrainer, "training_step", recorded)
    train(plan)
    batch = largest_batch(prepare(plan))
    assert len(seen) == 20
    assert len(batch) * max(len(example.ids) for example in batch) == max(seen) > min(seen)


def test_distillation_adds_its_labels_and_a_teacher_that_is_asked_itself_and_its_work(
    plan: TrainPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = training_memory(prepare(plan)).parts
    online = training_memory(prepare(replace(plan, online_teacher=True))).parts
    alone = training_memory(prepare(replace(plan, teacher=None, kd_ratio=0.0))).parts
    teacher = sum(
        tensor.nbytes for tensor in load_file(Path(known(plan.teacher)) / "model.safetensors").values()
    )
    assert cached[LABELS] > 0
    assert LABELS not in online
    assert LABELS not in alone
    assert teacher <= online[TEACHER] <= teacher + 1000  # buffers are in no file
    assert cached[PROCESS] == online[PROCESS] > 1e8
    monkeypatch.setenv("WORLD_SIZE", "2")
    counted = count_training(prepare(plan))
    assert training_memory(prepare(plan)).parts[EXCHANGE] == counted.trained
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    shared = training_memory(prepare(plan)).parts
    assert shared[WEIGHTS] == -(-counted.weights // 2)
    assert shared[OPTIMIZER] == -(-counted.optimizer // 2)
    assert shared[EXCHANGE] == 2 * counted.largest_layer > 0


def test_a_teacher_takes_what_is_counted_to_label(wide_plan: TrainPlan, wide: str) -> None:
    plan = replace(wide_plan, teacher=wide, kd_ratio=1.0, top_k=8)
    prepared = prepare(plan)
    planned = capture_memory(prepared, prepared.data.examples).parts
    model, examples = (
        known(prepared.teacher).model().eval(),
        sorted(prepared.data.examples, key=lambda e: len(e.ids)),
    )
    place = torch.device("cpu")
    peak = peak_bytes(lambda: label_batch(model, examples, known(prepared.manifest), place))
    ours = sum(size for kind, size in planned.items() if kind not in (PROCESS, WEIGHTS))
    assert 0.85 * peak <= ours <= 1.1 * peak
    assert 0 <= planned[WEIGHTS] - bytes_of(model.parameters()) < 1000


def test_the_cache_of_responses_is_two_vectors_a_layer_and_token(wide: str) -> None:
    source = ModelSource.find(wide)
    found = evaluation_memory(source, rows=3, prompt_tokens=20, new_tokens=7).parts
    layers, heads, width, float32 = 4, 2, 16, 4
    assert found[CACHE] == 2 * layers * heads * width * float32 * 3 * 7
    prompts = 2 * layers * heads * width * float32 * 3 * 20
    assert prompts < found[ACTIVATIONS] < 10 * prompts


def test_an_encoder_decoders_cache_grows_by_its_responses(tmp_path: Path) -> None:
    config = MT5Config(vocab_size=94, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    MT5ForConditionalGeneration(config).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    found = evaluation_memory(ModelSource.find(str(tmp_path)), rows=3, prompt_tokens=20, new_tokens=7).parts
    assert found[CACHE] == 7 * 3 * 4 * (
        2 * 2 * 2 * 8 + 94
    )  # keys and values of each layer, and the logits of its position


def test_an_adapter_is_merged_into_the_stored_student_alone(
    wide_plan: TrainPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(wide_plan, lora_rank=4, lora_targets="q_proj,v_proj", epochs=1)
    prepared = prepare(plan)
    stored = (Path(plan.student) / "model.safetensors").stat().st_size
    adapted = 4 * (64 * 64 + 64 * 32)
    assert _merging(prepared, count_training(prepared).adapted) == {WEIGHTS: stored, COPIES: 4 * adapted}
    halved = replace(prepared, plan=replace(plan, save_dtype="bfloat16"))
    assert _merging(halved, adapted) == {WEIGHTS: stored, COPIES: 2 * prepared.student.parameters}

    trained: list[weakref.ref[Any]] = []
    left: list[Any] = []
    make, merge = fit.build_student, lora.merged

    def made(*arguments: Any) -> Any:
        model = make(*arguments)
        trained.append(weakref.ref(model))
        return model

    def merging(*arguments: Any, **options: Any) -> Any:
        left.extend(one for one in trained if one() is not None)
        return merge(*arguments, **options)

    monkeypatch.setattr(fit, "build_student", made)
    monkeypatch.setattr(fit, "merged", merging)
    train(plan)
    assert len(trained) == 1
    assert left == []


def test_a_capture_and_a_run_write_what_is_planned(plan: TrainPlan) -> None:
    prepared = prepare(plan)
    stage = training_stage(prepared, "train")
    capture_labels(prepared)
    folder = train(replace(plan, checkpoint_steps=4))
    assert stage.disk > 0
    kept = prepare(replace(plan, checkpoint_steps=4))
    planned = training_stage(kept, "train").disk
    whole = (folder / "model.safetensors").stat().st_size
    counted = count_training(kept)
    assert planned == 3 * (counted.trained + counted.optimizer) + 4 * kept.student.parameters
    assert 0.8 * whole < 4 * kept.student.parameters <= whole


def test_time_follows_tokens_and_updates(wide_plan: TrainPlan) -> None:
    once, twice = (training_stage(prepare(replace(wide_plan, epochs=n)), "x") for n in (1, 2))
    assert 0 < once.time.seconds < 60
    assert 1e7 < timing._product_rate("float32") < 1e15
    assert not once.time.least
    assert "rows of " in once.time.basis
    per_token, update, _ = timing._timed_training(prepare(replace(wide_plan, epochs=1)))
    prepared = prepare(wide_plan)
    assert once.time.seconds == pytest.approx(per_token * prepared.data.tokens + update * 3)
    assert twice.time.seconds > 0


def test_where_it_does_not_fit_time_is_that_of_the_products(
    wide_plan: TrainPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "free_memory", lambda: 1000)
    monkeypatch.setattr(timing, "_product_rate", lambda dtype: 1e9)
    monkeypatch.setattr(ModelSource, "model", lambda *_, **__: pytest.fail("a model is loaded"))
    prepared = prepare(replace(wide_plan, epochs=1))
    found = training_stage(prepared, "x").time
    layer = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 160  # queries and outputs, keys and values, three of the MLP
    forward = 2 * (4 * layer * prepared.data.tokens + 94 * 64 * prepared.data.target_tokens)
    assert found.least
    assert found.seconds == pytest.approx(3 * forward / 1e9)
    spared = prepare(replace(wide_plan, epochs=1, lora_rank=4, gradient_checkpointing=True))
    assert training_stage(spared, "x").time.seconds == pytest.approx(3 * forward / 1e9)
    assert training_stage(prepare(replace(wide_plan, epochs=1, lora_rank=4)), "x").time.seconds == (
        pytest.approx(2 * forward / 1e9)
    )


def test_a_probes_model_is_let_go(wide_plan: TrainPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    made, make = [], fit.build_student

    def kept_in_view(*arguments: Any) -> Any:
        model = make(*arguments)
        made.append(weakref.ref(model))
        return model

    monkeypatch.setattr(fit, "build_student", kept_in_view)
    timing._timed_training(prepare(replace(wide_plan, seed=12)))
    assert len(made) == 1
    assert made[0]() is None


def test_sizes_are_in_the_largest_unit_that_they_reach() -> None:
    sizes = (0, 999, 999.6, 1_234, 999_600, 5.5e7, 1.2346e9, 2.9e10)
    said = ["0 B", "999 B", "1 kB", "1.23 kB", "1 MB", "55 MB", "1.235 GB", "29 GB"]
    assert [text.size(one) for one in sizes] == said


def test_processes_of_one_machine_need_room_for_all(
    wide_plan: TrainPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = training_memory(prepare(wide_plan))
    assert memory.yet == memory.total - memory.parts[PROCESS] > 0
    monkeypatch.setattr(timing, "free_memory", lambda: 2 * memory.yet)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert not timing.fits(memory)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert timing.fits(memory)


def sparse_model(folder: Path) -> int:
    """A Llama of seven billion weights in bfloat16, in a file of holes; returns its size."""
    config = LlamaConfig(
        vocab_size=94,
        hidden_size=8192,
        intermediate_size=28_672,
        num_hidden_layers=7,
        num_attention_heads=64,
        dtype="bfloat16",
    )
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    with torch.device("meta"):
        weights = LlamaForCausalLM(config).state_dict()
    header, end = {}, 0
    for name, weight in weights.items():
        header[name] = {
            "dtype": "BF16",
            "shape": list(weight.shape),
            "data_offsets": [end, end + 2 * weight.numel()],
        }
        end = header[name]["data_offsets"][1]
    text = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return end


@pytest.mark.parametrize("options", [["--lora-rank", "8"], ["--gradient-checkpointing"]])
def test_a_model_of_fourteen_gigabytes_is_planned_without_being_loaded(
    options: Any,
    data_file: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    size = sparse_model(folder)
    assert size > 13.5e9
    assert (folder / "model.safetensors").stat().st_blocks * 512 < 1e8
    for module in ("text", "timing"):
        monkeypatch.setattr(f"harness_kd.dry_run.{module}.free_memory", lambda: int(20e9))
    resident = psutil.Process().memory_info().rss
    command = ["train-kd", "--student", str(folder), "--data", data_file, "--output", str(tmp_path / "out")]
    assert main([*command, *options, "--dry-run"]) == 0
    assert psutil.Process().memory_info().rss < resident + 1e9
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if line.startswith("train out"))
    weights = float(row.partition("weights ")[2].partition(",")[0])
    assert -0.006 < weights - 2 * size / 1e9 < 0.05  # rounded; an adapter is small
    assert "at least " in row
    assert "does not fit   train out: " in shown
    memory = float(row.split(" GB")[-2].split()[-1])
    whole = 2 * size / 1e9 if "--lora-rank" in options else 8 * size / 1e9
    assert whole < memory < 1.2 * whole + 1
    asked = {"rows": 1, "documents": 4, "prompt_tokens": 8, "new_tokens": 2}
    found = timing.evaluation_time(ModelSource.find(str(folder)), Memory(parts={WEIGHTS: size * 2}), **asked)
    assert found.least
    assert "in bfloat16" in found.basis  # as it is stored and runs


def test_a_second_process_prints_nothing(
    wide: str,
    data_file: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RANK", "1")
    command = ["train-kd", "--student", wide, "--data", data_file, "--output", str(tmp_path / "out")]
    assert main([*command, "--dry-run"]) == 0
    assert capsys.readouterr().out == ""


def test_an_optimizer_that_cannot_be_counted_is_said_to_be_guessed(
    wide_plan: TrainPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(wide_plan)
    prepared = replace(prepared, plan=replace(wide_plan, optimizer="adamw_8bit", seed=11))
    monkeypatch.setattr(
        "harness_kd.dry_run.training.optimizer_of", lambda *_: (_ for _ in ()).throw(ImportError("none"))
    )
    counted = count_training(prepared)
    assert counted.optimizer == 2 * counted.trained // 4
    assert "adamw_8bit: taken to hold two numbers per weight" in counted.note


def test_weightless_models_hold_shapes_alone(wide: str) -> None:
    model = weightless(ModelSource.find(wide)).model(dtype="bfloat16")
    assert {weight.device.type for weight in model.parameters()} == {"meta"}
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert sum(weight.numel() for weight in model.parameters()) == ModelSource.find(wide).parameters
