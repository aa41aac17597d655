"""A tiny real language model, models that answer what they are told, and small data in each task's hub layout."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

ARTICLES = [
    "The council in Hull will close two schools next year. Parents said that they would fight the plan. "
    "A final vote is due in March.",
    "A storm cut power to 4,000 homes in Fife on Sunday. Engineers worked through the night. No one was hurt.",
    "Scientists in Oslo have found a new species of deep-sea worm. It lives near hot springs. It glows in the dark.",
]
SUMMARIES = [
    "Hull's council plans to close two schools next year, which parents oppose.",
    "Four thousand homes in Fife lost power in a storm on Sunday, and no one was hurt.",
    "A new species of glowing deep-sea worm was discovered by scientists in Oslo.",
]
QUESTIONS = ["What will the council close?", "Where did the power fail?", "What did the scientists find?"]

DOWNLOADS = "meteor+bertscore+source_precision+consistency"
"""Metric families of the tasks that need WordNet or an encoder."""

HUB_LAYOUTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "kd_cnndm_factual": lambda i: {"id": f"a{i}", "article": ARTICLES[i], "highlights": SUMMARIES[i]},
    "kd_xsum_factual": lambda i: {"id": f"a{i}", "document": ARTICLES[i], "summary": SUMMARIES[i]},
    "kd_dialogsum_factual": lambda i: {
        "id": f"test_{i}_1",
        "dialogue": ARTICLES[i],
        "summary": SUMMARIES[i],
        "topic": "x",
    },
    "kd_qmsum_factual": lambda i: {
        "id": str(i),
        "input": f"{QUESTIONS[i]}\n{ARTICLES[i]}",
        "output": SUMMARIES[i],
    },
    "kd_hotpotqa_factual": lambda i: {
        "id": str(i),
        "question": QUESTIONS[i],
        "answer": SUMMARIES[i],
        "context": {"title": ["One", "Two"], "sentences": [[ARTICLES[i]], [ARTICLES[i - 1]]]},
    },
    "kd_hotpotqa_closed_factual": lambda i: {"id": str(i), "question": QUESTIONS[i], "answer": SUMMARIES[i]},
    "kd_truthfulqa_factual": lambda i: {
        "question": QUESTIONS[i],
        "best_answer": SUMMARIES[i],
        "correct_answers": [SUMMARIES[i], f"It is said that {SUMMARIES[i]}"],
    },
    "kd_pubmedqa_factual": lambda i: {
        "pubid": i,
        "question": QUESTIONS[i],
        "context": {"contexts": [ARTICLES[i]], "labels": ["RESULTS"]},
        "long_answer": SUMMARIES[i],
        "final_decision": "yes",
    },
    "kd_custom_factual": lambda i: {"source": ARTICLES[i], "reference": SUMMARIES[i]},
}
"""Three rows of each task, laid out as its data set on the hub is."""


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def hub_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder for all tasks: one jsonl file for each, named after it."""
    folder = tmp_path_factory.mktemp("data")
    for task, row in HUB_LAYOUTS.items():
        write_rows(folder / f"{task}.jsonl", [row(i) for i in range(3)])
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers and 16 dimensions with random weights, a byte-level tokenizer and 256 tokens of context."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("model") / "tiny"
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(ARTICLES + SUMMARIES, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<eos>", pad_token="<eos>", model_max_length=256
    )
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant] {% endif %}"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def load_task(root: Path) -> Callable[..., Any]:
    """Load one of our tasks with metadata, as lm_eval does; without what must be downloaded, unless metrics are named."""
    from lm_eval.tasks import TaskManager

    def load(name: str, /, **metadata: Any) -> Any:
        if "metrics" not in metadata:
            metadata.setdefault("without", DOWNLOADS)
        manager = TaskManager(include_path=str(root / "tasks"), include_defaults=False, metadata=metadata)
        return manager.load([name])["tasks"][name]

    return load


@pytest.fixture(scope="session")
def run_with_answers() -> Callable[..., dict[str, Any]]:
    """Run lm-eval's whole evaluation with a model that gives ``answer(document)``."""
    from lm_eval.api.model import LM
    from lm_eval.evaluator import evaluate

    class Told(LM):  # type: ignore[misc]
        def __init__(self, answer: Callable[[Mapping[str, Any]], str]) -> None:
            super().__init__()
            self._answer = answer

        def generate_until(self, requests: Any) -> list[str]:
            return [self._answer(request.doc) for request in requests]

        def loglikelihood(self, requests: Any) -> Any:
            raise NotImplementedError

        loglikelihood_rolling = loglikelihood

        tokenizer_name = "told"

        def chat_template(self, chat_template: Any = False) -> str:
            return "told"

        def apply_chat_template(
            self, history: list[dict[str, str]], add_generation_prompt: bool = True
        ) -> str:
            return "\n".join(message["content"] for message in history)

    def run(
        task: Any,
        answer: Callable[[Mapping[str, Any]], str],
        *,
        apply_chat_template: bool = False,
        num_fewshot: int = 0,
        predict_only: bool = False,
    ) -> dict[str, Any]:
        # `simple_evaluate` does this before `evaluate`, and spends seconds on a report about the machine after it
        if predict_only:
            task.override_metric("bypass")
        task.set_config("num_fewshot", num_fewshot)
        task.set_fewshot_seed(0)
        results: dict[str, Any] = evaluate(
            lm=Told(answer),
            task_dict={"tasks": {task.config.task: task}, "groups": {}},
            apply_chat_template=apply_chat_template,
        )
        return results

    return run
