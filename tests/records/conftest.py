"""Results that stock lm_eval wrote: our task, and two tasks in the ways of other authors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.files import sha256_bytes
from harness.lmeval.bridge import sample_log
from harness.metrics.answers import AnswerRule
from harness.metrics.base import CorpusScore, Sample
from harness.metrics.registry import build
from harness.metrics.suite import Suite
from harness.metrics.unsupported import Supported
from harness.newsworld import rows
from harness.records import Document, Record, SampleRecord
from harness.records.documents import encode_documents
from harness.stats.rounding import rounded_tree

if TYPE_CHECKING:
    from tests.conftest import StockLmEval

GENERATE = """
task: stranger_generate
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 6, do_sample: false}}
filter_list:
  - name: first-word
    filter: [{{function: regex, regex_pattern: "(\\\\w+)"}}, {{function: take_first}}]
  - name: whole
    filter: [{{function: take_first}}]
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
  - {{metric: chrf, aggregation: chrf, higher_is_better: true}}
"""
CHOOSE = """
task: stranger_choose
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: ["yes", "no"]
doc_to_target: 0
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
"""


@pytest.fixture(scope="session")
def results(
    root: Path,
    stock_lm_eval: StockLmEval,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """One run of the stock command over three tasks, with the shipped student."""
    folder = tmp_path_factory.mktemp("stock")
    data = folder / "data.jsonl"
    rows = [
        {"question": f"Police in Lakebury have arrested suspect {i}.", "answer": "Police"} for i in range(4)
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = folder / "tasks"
    tasks.mkdir()
    (tasks / "generate.yaml").write_text(GENERATE.format(data=data))
    (tasks / "choose.yaml").write_text(CHOOSE.format(data=data))
    for path in (root / "tasks").iterdir():
        (tasks / path.name).symlink_to(path)
    metadata = {
        "n_documents": 24,
        "metrics": "oracle,rouge,chrf,surface,meteor_nosyn",
    }
    words = ["--model", "hf", "--model_args", f"pretrained={root / 'harness/newsworld/checkpoints/student'}"]
    words += ["--tasks", "kd_newsworld_factual,stranger_generate,stranger_choose", "--device", "cpu"]
    words += [
        "--batch_size",
        "8",
        "--output_path",
        str(folder / "out"),
        "--log_samples",
        "--include_path",
        str(tasks),
    ]
    words += ["--metadata", json.dumps(metadata)]
    ran = stock_lm_eval(*words)
    assert ran.returncode == 0, ran.stderr[-2000:]
    (written,) = (folder / "out").iterdir()
    return written


def _score_texts(
    families: Sequence[str] = ("oracle", "rouge", "chrf", "surface"),
    options: Mapping[str, Any] | None = None,
    *,
    rule: AnswerRule | None = None,
    n: int = 24,
    model: str = "student",
    exact: bool = False,
) -> tuple[Record, list[Document]]:
    """A record of responses to news-world articles, some of them no answers, and its documents; ``exact``: numbers as computed."""
    articles = rows("test", n)
    responses = [_response(i, row) for i, row in enumerate(articles)]
    texts = [
        Sample(source=row["article"], references=tuple(row["references"]), response=response.strip())
        for row, response in zip(articles, responses, strict=True)
    ]
    suite = Suite(build(families, options or {}), rule)
    scores = suite.score(texts)
    if not exact:
        scores = [sample_log.as_published(found) for found in scores]
    summary = suite.summarise([text.response for text in texts], scores)
    documents = [
        Document(doc_id=i, source=text.source, references=text.references) for i, text in enumerate(texts)
    ]
    counts = summary.counts | {name: c for metric in suite.metrics for name, c in metric.counts().items()}
    headlines = {key: asdict(score) for key, score in summary.scores.items()}
    record = Record(
        task="kd_newsworld_factual",
        task_version="1.0",
        model=model,
        metrics=tuple(families),
        metric_options=dict(options or {}),
        bootstrap=asdict(summary.bootstrap),
        scores=headlines if exact else rounded_tree(headlines),
        stated={},
        counts=counts,
        prompt="Article: {source}\nSummary:",
        documents=sha256_bytes(encode_documents(documents)),
        provenance={
            "model": {"name": model, "revision": "local"},
            "software": {"harness": "1"},
            "date": 1_790_000_000,
            "data_source": "newsworld",
        },
        samples=tuple(
            SampleRecord(
                doc_id=i,
                response=responses[i],
                scores={key: float(score) for key, score in found.items()},
                statistics={key: s.statistics for key, s in found.items() if isinstance(s, CorpusScore)},
                unsupported_spans=next((s.spans for s in found.values() if isinstance(s, Supported)), ())
                or None,
            )
            for i, found in enumerate(scores)
        ),
    )
    return record, documents


def _response(i: int, row: Mapping[str, Any]) -> str:
    kind = i % 6
    if kind == 5:
        return ("", "I cannot summarize this article for you, I am sorry.", "Too short.")[i // 6 % 3]
    first, *_ = row["article"].split(". ")
    return f" {row['references'][0]}" if kind % 2 else f" {first}. {row['summary']}"


@pytest.fixture(scope="session")
def score_texts() -> Callable[..., tuple[Record, list[Document]]]:
    """`_score_texts`, for tests."""
    return _score_texts
