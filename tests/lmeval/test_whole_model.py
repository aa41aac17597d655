"""An evaluated model is whole, or nothing of it is scored: by `harness eval`, and under stock lm_eval."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from safetensors.torch import load_file, save_file

from harness.errors import HarnessError
from harness.lmeval.bridge.whole_model import Loaded, require_whole_files
from harness.lmeval.request import EvalRequest
from harness.lmeval.run import check_model, evaluate

if TYPE_CHECKING:
    from tests.conftest import StockLmEval

LOST = "model.layers.1.mlp.down_proj.weight"
SAID = f"1 weight is missing, such as {LOST}"


@pytest.fixture
def damaged(tiny_model: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "damaged"))
    lose(folder / "model.safetensors", LOST)
    return folder


def lose(path: Path, name: str) -> None:
    weights = load_file(path)
    del weights[name]
    save_file(weights, path, metadata={"format": "pt"})


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapters") / "adapter"
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(str(folder))
    return folder


def simple_evaluate(task: Any, **model_args: Any) -> Any:
    """As lm_eval's own command calls it, without its index of all tasks, which takes seconds."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False)
    args = {"pretrained": str(model_args.pop("pretrained")), **model_args}
    return simple_evaluate(
        "hf",
        model_args=args,
        tasks=[task],
        device="cpu",
        batch_size=3,
        verbosity="ERROR",
        task_manager=manager,
    )


@pytest.fixture
def task(load_task: Callable[..., Any], hub_like: Path) -> Any:
    task = load_task("kd_xsum_factual", data_dir=str(hub_like), answer_min_words=0)
    task.config.generation_kwargs["max_gen_toks"] = 2
    return task


def test_a_whole_model_and_adapter_are_evaluated(tiny_model: Path, adapter: Path, task: Any) -> None:
    assert simple_evaluate(task, pretrained=tiny_model, peft=str(adapter))["results"]


def test_stock_lm_eval_scores_nothing_of_a_damaged_model(damaged: Path, task: Any) -> None:
    with pytest.raises(HarnessError, match=SAID):
        simple_evaluate(task, pretrained=damaged)


def test_nor_of_a_damaged_adapter(tiny_model: Path, adapter: Path, task: Any, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    lose(
        folder / "adapter_model.safetensors", "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"
    )
    with pytest.raises(HarnessError, match=f"adapter {folder}: 1 weight is missing"):
        simple_evaluate(task, pretrained=tiny_model, peft=str(folder))


def test_nor_of_damaged_pickles(damaged: Path, task: Any) -> None:
    import torch

    torch.save(load_file(damaged / "model.safetensors"), damaged / "pytorch_model.bin")
    (damaged / "model.safetensors").unlink()
    with pytest.raises(HarnessError, match=SAID):
        simple_evaluate(task, pretrained=damaged)


def test_the_command_says_it_and_leaves_no_results(
    damaged: Path, hub_like: Path, tmp_path: Path, stock_lm_eval: StockLmEval
) -> None:
    command = ["--model", "hf", "--model_args", f"pretrained={damaged}"]
    command += [
        "--tasks",
        "kd_xsum_factual",
        "--include_path",
        str(Path("tasks").resolve()),
        "--device",
        "cpu",
    ]
    command += ["--output_path", str(tmp_path / "out"), "--log_samples"]
    command += ["--metadata", f"data_dir={hub_like},metrics=rouge"]
    done = stock_lm_eval(*command)
    assert done.returncode != 0
    assert SAID in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "out").rglob("*.json*"))


@pytest.mark.parametrize("backend", ["hf", "hf-auto", "huggingface", "harness-lookback-guided"])
def test_harness_eval_refuses_before_it_loads(backend: str, damaged: Path, tmp_path: Path) -> None:
    request = EvalRequest(
        model=backend,
        model_args={"pretrained": str(damaged)},
        tasks=("kd_newsworld_factual",),
        output_path=tmp_path / "out",
        response_cache=tmp_path / "responses",
    )
    with pytest.raises(HarnessError, match=SAID):
        evaluate(request)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "responses").exists()


def test_what_is_read_by_others_is_theirs_to_check(damaged: Path) -> None:
    for arguments in ({"gguf_file": "x.gguf"}, {"autogptq": True}):
        assert Loaded.of_arguments({"pretrained": str(damaged)} | arguments) is None
    other = EvalRequest(
        model="vllm", model_args={"pretrained": str(damaged)}, tasks=("t",), output_path=damaged / "out"
    )
    check_model(other)


def test_a_delta_and_a_subfolder_are_looked_at(damaged: Path, tiny_model: Path) -> None:
    with pytest.raises(HarnessError, match=SAID):
        require_whole_files(Loaded(pretrained=str(tiny_model), delta=str(damaged)))
    with pytest.raises(HarnessError, match=SAID):
        require_whole_files(Loaded.of_arguments({"pretrained": str(damaged.parent), "subfolder": "damaged"}))


def test_code_of_the_models_own_is_not_run_to_check_it(damaged: Path) -> None:
    (damaged / "config.json").write_text('{"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}')
    (damaged / "mine.py").write_text("raise RuntimeError('remote code ran')")
    require_whole_files(Loaded.of_arguments({"pretrained": str(damaged), "trust_remote_code": "True"}))
    with pytest.raises(HarnessError, match="no model that can be built here"):
        require_whole_files(Loaded.of_arguments({"pretrained": str(damaged)}))


def test_an_adapter_alone_is_no_model(adapter: Path, tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    shutil.copy(tiny_model / "config.json", folder)
    with pytest.raises(HarnessError, match="holds an adapter") as caught:
        require_whole_files(Loaded(pretrained=str(folder)))
    assert "peft=" in caught.value.remedy


def test_a_hub_model_is_checked_once_it_is_here(
    damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--some--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    shutil.copy(damaged / "config.json", snapshot)
    require_whole_files(Loaded(pretrained="some/model"))  # the weights are yet to come
    shutil.copy(damaged / "model.safetensors", snapshot)
    with pytest.raises(HarnessError, match=f"model some/model: {SAID}"):
        require_whole_files(Loaded(pretrained="some/model"))
    require_whole_files(Loaded(pretrained="some/other"))
