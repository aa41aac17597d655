"""Results that stock lm_eval wrote: our task, and two tasks in the ways of other authors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
def results(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
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
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'plugins'}"}
    ran = subprocess.run(
        [sys.executable, "-m", "lm_eval", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    (written,) = (folder / "out").iterdir()
    return written
