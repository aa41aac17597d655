"""Training runs end to end on small real models: same seed same weights, resumed or not, split or not, on 1
or 2 processes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
import torch
from harness_kd.data.examples import tokenize_rows
from harness_kd.data.rows import load_rows
from harness_kd.loss.fused import LossSettings
from harness_kd.loss.head import attach_loss
from harness_kd.plan import TrainPlan
from harness_kd.soft_labels.cache import SoftLabelCache
from harness_kd.training.train import capture_labels, prepare, train
from harness_kd.training.trainer import Collator, EpochSampler, ExampleDataset
from rouge_score.rouge_scorer import RougeScorer
from safetensors.torch import load_file
from torch.nn import functional as F  # noqa: N812
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from harness.errors import HarnessError
from harness.models.source import ModelSource
from tests.kd.conftest import known


def weights(folder: Path | str) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")


def assert_same(one: Path | str, other: Path | str, **tolerance: Any) -> None:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], **tolerance, msg=name)


def run_in_process(plan: TrainPlan, *launcher: Any, **environment: str) -> Popen[bytes]:
    code = f"import harness_kd; harness_kd.train(harness_kd.TrainPlan(**{asdict(plan)!r}))"
    script = Path(plan.output).parent / "go.py"
    script.write_text(code)
    return subprocess.Popen(
        [sys.executable, *launcher, str(script)], env={**os.environ, "OMP_NUM_THREADS": "1", **environment}
    )


def test_a_run_gives_a_loadable_model_with_its_card(plan: TrainPlan) -> None:
    output = train(plan)
    model: Any = AutoModelForCausalLM.from_pretrained(output)
    tokenizer = AutoTokenizer.from_pretrained(output)
    assert model.generate(**tokenizer("word1 word2", return_tensors="pt"), max_new_tokens=2).shape[0] == 1
    card = (output / "README.md").read_text()
    record = json.loads((output / "run.json").read_text())
    for fact in (
        known(plan.teacher),
        plan.student,
        plan.data,
        "0.5000 forward-kl",
        record["identity"]["data_sha256"][:16],
    ):
        assert fact in card
    assert {path.name for path in output.iterdir()} == {
        *("README.md", "config.json", "generation_config.json", "model.safetensors", "run.json"),
        *("tokenizer.json", "tokenizer_config.json"),
    }
    assert not output.with_name("run.partial").exists()
    before = weights(plan.student)
    assert any(not torch.equal(tensor, before[name]) for name, tensor in weights(output).items())


def test_the_same_plan_gives_the_same_weights_and_another_seed_others(
    plan: TrainPlan, tmp_path: Path
) -> None:
    first = train(plan)
    assert_same(first, train(replace(plan, output=str(tmp_path / "again"))), rtol=0, atol=0)
    other = weights(train(replace(plan, output=str(tmp_path / "other"), seed=11)))
    assert any(not torch.equal(tensor, other[name]) for name, tensor in weights(first).items())


def test_a_finished_run_returns_at_once(plan: TrainPlan) -> None:
    output = train(plan)
    stamp = (output / "model.safetensors").stat().st_mtime_ns
    assert train(plan) == output
    assert (output / "model.safetensors").stat().st_mtime_ns == stamp


def test_another_run_is_refused_by_what_differs(plan: TrainPlan) -> None:
    train(plan)
    with pytest.raises(HarnessError, match=r"holds another run: kd_ratio 1\.0, not 10\.0; .*seed 10, not 3"):
        train(replace(plan, kd_ratio=10.0, seed=3))


def test_a_folder_with_something_else_is_refused(plan: TrainPlan) -> None:
    Path(plan.output).mkdir()
    (Path(plan.output) / "thesis.tex").write_text("years of work")
    with pytest.raises(HarnessError, match="not a training run"):
        train(plan)
    assert (Path(plan.output) / "thesis.tex").exists()


def test_kill_9_and_resume_gives_the_weights_of_an_uninterrupted_run(plan: TrainPlan, tmp_path: Path) -> None:
    plan = replace(plan, epochs=30, checkpoint_steps=7)
    whole = train(replace(plan, output=str(tmp_path / "whole")))
    process = run_in_process(plan)
    partial = Path(plan.output + ".partial")
    deadline = time.monotonic() + 60
    while not list(partial.glob("checkpoint-*/complete")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not Path(plan.output).exists()
    assert list(partial.glob("checkpoint-*/complete"))
    (partial / "checkpoint-9999").mkdir()  # as a kill in the middle of saving would leave it
    assert_same(whole, train(plan), rtol=0, atol=0)


@pytest.mark.slow
def test_kills_at_any_moment_change_nothing(plan: TrainPlan, tmp_path: Path) -> None:
    """A checkpoint at every step, so that kills fall into its writing too, and a random moment for each of them."""
    plan = replace(plan, epochs=40, checkpoint_steps=1)
    whole = train(replace(plan, output=str(tmp_path / "whole")))
    draw, kills, torn = random.Random(0), 0, 0
    partial = Path(plan.output + ".partial")
    while not Path(plan.output).exists():
        before = {path.name for path in partial.glob("checkpoint-*")}
        process = run_in_process(plan)
        while process.poll() is None and {path.name for path in partial.glob("checkpoint-*")} <= before:
            time.sleep(0.001)  # until it trains
        time.sleep(draw.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        torn += any(not (path / "complete").exists() for path in partial.glob("checkpoint-*"))
    assert kills >= 5
    assert torn >= 1
    assert_same(whole, train(plan), rtol=0, atol=0)


def test_micro_batches_change_nothing(plan: TrainPlan, tmp_path: Path) -> None:
    whole = train(plan)
    split = train(replace(plan, output=str(tmp_path / "split"), batch_size=2, accumulation=4))
    assert_same(whole, split, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("adapter", [{}, {"lora_rank": 4, "lora_dropout": 0.0}])
def test_gradient_checkpointing_changes_nothing(
    plan: TrainPlan, tmp_path: Path, adapter: dict[str, Any]
) -> None:
    whole = train(replace(plan, **adapter))
    recomputed = replace(plan, output=str(tmp_path / "again"), gradient_checkpointing=True, **adapter)
    assert_same(whole, train(recomputed), rtol=1e-5, atol=1e-7)


def test_packing_changes_nothing(plan: TrainPlan, tmp_path: Path) -> None:
    whole = train(plan)
    packed = train(replace(plan, output=str(tmp_path / "packed"), packing=True, max_length=40))
    assert_same(whole, packed, rtol=1e-3, atol=2e-5)


def test_soft_labels_are_shared_between_runs_of_the_same_teacher(plan: TrainPlan, tmp_path: Path) -> None:
    train(plan)
    (folder,) = (tmp_path / "soft-labels").iterdir()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.arrow")}
    train(replace(plan, output=str(tmp_path / "more"), kd_ratio=10.0, seed=5))
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.arrow")} == before


def test_plain_finetuning_is_transformers_own_loss(plan: TrainPlan, tmp_path: Path) -> None:
    """One step of plain SGD-like comparison: the gradient equals that of the model's built-in loss."""
    data = tokenize_rows(
        load_rows(plan.data),
        AutoTokenizer.from_pretrained(plan.student),
        max_length=64,
        max_prompt_length=32,
        overlong="drop",
    )
    batch = Collator()(data.examples[:6])
    ours, theirs = (ModelSource.find(plan.student, role="student").model() for _ in range(2))
    attach_loss(ours, LossSettings())
    ours(**batch).loss.backward()
    theirs(**batch).loss.backward()
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_labels_of_the_whole_vocabulary_equal_an_online_teacher(plan: TrainPlan) -> None:
    """From cached labels at T = 2 and from the teacher's own logits: the same gradient in every parameter."""
    prepared = prepare(replace(plan, top_k=1000, temperature=2.0))
    capture_labels(prepared)
    cache = SoftLabelCache(known(prepared.labels_folder), known(prepared.manifest))
    batch = Collator(cache, 2.0)(prepared.data.examples[:6])
    student, online = prepared.student.model(), prepared.student.model()
    attach_loss(student, LossSettings(kd_weight=0.5, temperature=2.0))
    student(**batch).loss.backward()

    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    targets = batch["labels"][:, 1:]
    on = targets != -100
    with torch.no_grad():
        teacher_logits = known(prepared.teacher).model()(**inputs).logits[:, :-1][on]
    logits = online(**inputs).logits[:, :-1][on]
    log_q, log_p = (torch.log_softmax(scores / 2.0, -1) for scores in (logits, teacher_logits))
    divergence = 4.0 * F.kl_div(log_q, log_p, log_target=True, reduction="batchmean")
    (0.5 * F.cross_entropy(logits, targets[on]) + 0.5 * divergence).backward()
    for (name, one), other in zip(student.named_parameters(), online.named_parameters(), strict=True):
        exact = known(other[1].grad)
        difference = (known(one.grad) - exact).norm() / exact.norm()
        assert difference < 2e-3, name  # float16 labels


def test_a_batch_without_targets_is_a_finite_zero_with_a_gradient(student: str) -> None:
    model = ModelSource.find(student, role="student").model()
    attach_loss(model, LossSettings())
    ids = torch.arange(6)[None]
    loss = model(input_ids=ids, labels=torch.full_like(ids, -100), num_items_in_batch=0).loss
    loss.backward()
    assert loss.item() == 0.0
    assert all(torch.equal(known(p.grad), torch.zeros_like(p)) for p in model.parameters())


def test_without_labels_the_model_is_untouched(student: str) -> None:
    model, patched = (ModelSource.find(student, role="student").model().eval() for _ in range(2))
    attach_loss(patched, LossSettings())
    ids = torch.arange(6)[None]
    assert torch.equal(model(input_ids=ids).logits, patched(input_ids=ids).logits)


def test_the_data_order_is_a_function_of_seed_and_epoch() -> None:
    lengths = [row % 13 for row in range(50)]
    sampler = EpochSampler(lengths, seed=1, step_rows=4)
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert sorted(sampler) == list(range(50))
    sampler.set_epoch(0)
    assert list(sampler) == first
    spread = [
        max(step) - min(step)
        for step in ([lengths[row] for row in first[at : at + 4]] for at in range(0, 32, 4))
    ]
    assert sum(spread) / len(spread) < 5  # random steps of 4 spread over 8 lengths on average


def test_blank_rows_fill_the_last_step_of_several_processes_and_add_nothing(plan: TrainPlan) -> None:
    lengths = [row % 13 for row in range(45)]
    alone, shared = (list(EpochSampler(lengths, seed=1, step_rows=8, multiple=n)) for n in (1, 8))
    assert shared == [*alone, 45, 45, 45]
    assert len(EpochSampler(lengths, seed=1, step_rows=8, multiple=8)) == 48

    prepared = prepare(plan)
    capture_labels(prepared)
    cache = SoftLabelCache(known(prepared.labels_folder), known(prepared.manifest))
    rows = ExampleDataset(prepared.data.examples)
    blank = rows[len(rows)]
    losses = []
    for batch in ([rows[3], rows[5]], [rows[3], blank, rows[5], blank], [blank, blank]):
        model = prepared.student.model()
        attach_loss(model, LossSettings(kd_weight=0.5))
        inputs = Collator(cache)(batch)
        loss = model(**inputs, num_items_in_batch=7).loss
        loss.backward()
        embedding: Any = model.get_input_embeddings()
        losses.append((loss.item(), embedding.weight.grad))
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-6)
    torch.testing.assert_close(losses[0][1], losses[1][1])
    assert losses[2][0] == 0
    assert losses[2][1].abs().max() == 0
    assert losses[0][1].abs().max() > 0


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(plan: TrainPlan, tmp_path: Path) -> None:
    """With DistributedDataParallel on gloo; a loss computed past the wrapper would leave the gradients
    unreduced."""
    plan = replace(plan, batch_size=8, epochs=1)
    one = train(plan)
    two = replace(plan, output=str(tmp_path / "two"), soft_labels=str(tmp_path / "fresh"), batch_size=4)
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29533")
    assert run_in_process(two, *launcher).wait(timeout=300) == 0
    assert_same(one, two.output, rtol=1e-3, atol=2e-5)


def test_another_optimizer(plan: TrainPlan) -> None:
    with pytest.raises(HarnessError, match="--optimizer adam: unknown to transformers"):
        train(replace(plan, optimizer="adam"))
    with pytest.raises(HarnessError, match=r"--optimizer lomo: .*install"):
        train(replace(plan, optimizer="lomo"))
    output = train(replace(plan, optimizer="adafactor", output=plan.output + "-adafactor"))
    assert "| optimizer | adafactor, cosine from 0.005" in (output / "README.md").read_text()
    before = weights(plan.student)
    assert any(not torch.equal(tensor, before[name]) for name, tensor in weights(output).items())


def test_a_run_that_diverges_is_stopped(plan: TrainPlan) -> None:
    with pytest.raises(HarnessError, match="the loss is no number"):
        train(replace(plan, learning_rate=1e30))
    assert not Path(plan.output).exists()


def test_missing_models_are_named(plan: TrainPlan, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="student /no/such/model"):
        train(replace(plan, student="/no/such/model"))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(HarnessError, match=r"no config\.json"):
        train(replace(plan, teacher=str(empty)))


def test_a_teacher_with_another_vocabulary_is_refused(
    plan: TrainPlan,
    build_model: Callable[..., str],
    build_tokenizer: Callable[..., PreTrainedTokenizerFast],
    tmp_path: Path,
) -> None:
    words = [f"word{index}" for index in range(89)] + ["other"]
    stranger = build_model(tmp_path / "stranger", tokenizer=build_tokenizer(words))
    with pytest.raises(HarnessError, match=r"different vocabularies.*first difference at id 93 \('other'\)"):
        train(replace(plan, teacher=stranger))


def test_wrong_options_are_named_together(plan: TrainPlan) -> None:
    with pytest.raises(HarnessError) as error:
        replace(plan, temperature=0.0, epochs=float("nan"), divergence="kl", teacher=None)
    for name in ("temperature", "epochs", "divergence", "teacher"):
        assert name in error.value.problem


@pytest.mark.parametrize("choice", ["dev-loss", "rougeL"])
def test_the_best_epoch_on_dev_data_is_kept(plan: TrainPlan, tmp_path: Path, choice: str) -> None:
    """Against the same run cut at each epoch, scored by the model's own loss."""
    rows = [json.loads(line) for line in Path(plan.data).read_text().splitlines()]
    dev = tmp_path / "dev.jsonl"
    dev.write_text("".join(json.dumps(row) + "\n" for row in rows[:5]))
    plan = replace(plan, epochs=5, learning_rate=3e-2, dev=str(dev), select=choice)
    output = train(plan)
    history = json.loads((output / "run.json").read_text())["metrics"]["dev"]
    scores = [entry["eval_loss" if choice == "dev-loss" else "eval_rougeL"] for entry in history]
    assert [entry["epoch"] for entry in history] == [1, 2, 3, 4, 5]
    assert len(set(scores)) > 1
    again = ModelSource.find(str(output), role="student").model().eval()
    examples = known(prepare(plan).dev).examples
    if choice == "dev-loss":
        total = 0.0
        for example in examples:
            ids = torch.from_numpy(example.ids).long()[None]
            labels = ids.clone()
            labels[:, : example.boundary] = -100
            total += again(input_ids=ids, labels=labels).loss.item() * example.targets
        assert total / sum(e.targets for e in examples) == pytest.approx(min(scores), rel=1e-4)
    else:
        tokenizer, rouge = AutoTokenizer.from_pretrained(output), []
        for example in examples:
            prompt = torch.from_numpy(example.ids[: example.boundary]).long()[None]
            found = again.generate(prompt, max_new_tokens=32, do_sample=False, pad_token_id=0)[
                0, example.boundary :
            ]
            texts = [
                tokenizer.decode(ids, skip_special_tokens=True)
                for ids in (example.ids[example.boundary :], found)
            ]
            rouge.append(RougeScorer(["rougeL"]).score(*texts)["rougeL"].fmeasure)
        assert sum(rouge) / len(rouge) == pytest.approx(max(scores), abs=1e-6)
