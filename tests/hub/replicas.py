"""Every data set that the project names, in miniature: files, configurations, splits and columns as published, rows made by hand.

Layouts are those of each repository's own page at the commit that our tasks pin, and of lm-eval's sets on their main branches.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from tests.hub.local_hub import LocalHub

Rows = list[dict[str, Any]]
ROWS = 3
ARTICLE = (
    "Mia Berg opened a bakery in Lund on Monday. It sells bread and cakes. The mayor came to the opening."
)
SUMMARY = "Mia Berg opened a bakery in Lund."


def parquet(rows: Rows) -> bytes:
    """Rows as a parquet file."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def comma_separated(rows: Rows) -> bytes:
    """Rows as a csv file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def many(row: Callable[[int], dict[str, Any]], n: int = ROWS) -> Rows:
    """Rows that differ in their number."""
    return [row(i) for i in range(n)]


def card(configurations: Mapping[str, Mapping[str, str]], **more: Any) -> bytes:
    """A data set's card that says which files make which split."""
    stated = {
        "configs": [
            {"config_name": name, "data_files": [{"split": split, "path": path} for split, path in files.items()]}
            for name, files in configurations.items()
        ],
        **more,
    }  # fmt: skip
    return f"---\n{yaml.safe_dump(stated)}---\n\n# A data set\n".encode()


def _shards(
    folder: str, splits: Mapping[str, int], row: Callable[[str, int], dict[str, Any]]
) -> dict[str, bytes]:
    """``folder/split-00000-of-0000N.parquet``, as ``push_to_hub`` writes it."""
    return {
        f"{folder}/{split}-{shard:05d}-of-{shards:05d}.parquet": parquet(
            many(lambda i, split=split, shard=shard: row(split, 10 * shard + i))
        )
        for split, shards in splits.items()
        for shard in range(shards)
    }


def _globs(folder: str, splits: Mapping[str, int]) -> dict[str, str]:
    return {split: f"{folder}/{split}-*" for split in splits}


def _news(split: str, i: int) -> dict[str, Any]:
    return {
        "article": f"{ARTICLE} Number {i}.",
        "highlights": f"{SUMMARY} Number {i} .",
        "id": f"{split}{i}",
    }


def _hotpot(split: str, i: int) -> dict[str, Any]:
    return {
        "id": f"{split}{i}",
        "question": f"Where did Mia Berg open bakery {i}?",
        "answer": "Lund",
        "type": "bridge",
        "level": "hard",
        "supporting_facts": {"title": ["Mia Berg"], "sent_id": [0]},
        "context": {
            "title": ["Mia Berg", "Lund"],
            "sentences": [["Mia Berg is a baker.", " She lives in Lund."], ["Lund is a city."]],
        },
    }


def _pubmed(split: str, i: int) -> dict[str, Any]:
    return {
        "pubid": i,
        "question": f"Does bread help in case {i}?",
        "context": {
            "contexts": ["Bread was given to 10 people.", "They slept well."],
            "labels": ["METHODS", "RESULTS"],
            "meshes": ["Bread"],
            "reasoning_required_pred": ["y", "e", "s"],
            "reasoning_free_pred": ["y", "e", "s"],
        },
        "long_answer": "Bread helped those who ate it.",
        "final_decision": ("yes", "no", "maybe")[i % 3],
    }


def _truth(split: str, i: int) -> dict[str, Any]:
    return {
        "type": "Adversarial",
        "category": "Food",
        "question": f"What is bread made of, number {i}?",
        "best_answer": "Bread is made of flour.",
        "correct_answers": ["Bread is made of flour.", "Flour and water."],
        "incorrect_answers": ["Bread is made of stone."],
        "source": "https://example.org/bread",
    }


def _choices(split: str, i: int) -> dict[str, Any]:
    return {
        "question": f"What is bread made of, number {i}?",
        "mc1_targets": {"choices": ["Flour", "Stone"], "labels": [1, 0]},
        "mc2_targets": {"choices": ["Flour", "Flour and water", "Stone"], "labels": [1, 1, 0]},
    }


def _meeting(split: str, i: int) -> dict[str, Any]:
    text = f"What did they decide, number {i}?\nMia: We open on Monday.\nTom: Good."
    return {
        "id": f"{split}-{i}",
        "pid": f"{split}-{i}_0",
        "input": text,
        "output": "They open on Monday.",
        "input_token_count": 20,
        "output_token_count": 6,
    }


def _dialogue(split: str, i: int) -> dict[str, Any]:
    # of the test split, three rows share a dialogue
    number = f"{i // 3}_{i % 3 + 1}" if split == "test" else str(i)
    return {
        "id": f"{split}_{number}",
        "dialogue": f"#Person1#: When do we open bakery {i // 3}?\n#Person2#: On Monday, at eight.",
        "summary": f"#Person1# and #Person2# open on Monday, it says in summary {i}.",
        "topic": "opening",
    }


def _restaurant(split: str, i: int) -> dict[str, Any]:
    return {
        "meaning_representation": f"name[The Mill {i // 2}], eatType[pub], food[English], area[riverside]",
        "human_reference": f"The Mill {i // 2} is an English pub by the riverside. It is number {i}.",
    }


def _arc(split: str, i: int) -> dict[str, Any]:
    return {
        "id": f"{split}{i}",
        "question": f"What is bread made of, number {i}?",
        "choices": {"text": ["Flour", "Stone", "Glass", "Sand"], "label": ["A", "B", "C", "D"]},
        "answerKey": "A",
    }


def _book(split: str, i: int) -> dict[str, Any]:
    row = _arc(split, i)
    return {
        "id": row["id"],
        "question_stem": row["question"],
        "choices": row["choices"],
        "answerKey": row["answerKey"],
    }


def _commonsense(split: str, i: int) -> dict[str, Any]:
    return {
        "id": f"{split}{i}",
        "question": f"Where is bread sold, number {i}?",
        "question_concept": "bread",
        "choices": {
            "label": ["A", "B", "C", "D", "E"],
            "text": ["bakery", "moon", "sea", "cave", "volcano"],
        },
        "answerKey": "A",
    }


def _hellaswag(split: str, i: int) -> dict[str, Any]:
    return {
        "ind": i,
        "activity_label": "Baking",
        "ctx_a": "A baker opens the oven.",
        "ctx_b": "then she",
        "ctx": "A baker opens the oven. then she",
        "endings": ["takes out the bread.", "eats the oven.", "flies away.", "melts."],
        "source_id": f"activitynet~{i}",
        "split": split,
        "split_type": "indomain",
        "label": "0",
    }


def _with_configurations(
    layouts: Mapping[str, tuple[Mapping[str, int], Callable[[str, int], dict[str, Any]]]],
) -> dict[str, bytes]:
    """Configurations in folders of their names."""
    files = {"README.md": card({name: _globs(name, splits) for name, (splits, _) in layouts.items()})}
    for name, (splits, row) in layouts.items():
        files |= _shards(name, splits, row)
    return files


THREE = {"train": 1, "validation": 1, "test": 1}
_DOLLY: Rows = many(
    lambda i: {
        "instruction": f"Who opened bakery {i}?",
        "context": ARTICLE if i % 2 else "",
        "response": "Mia Berg did.",
        "category": "closed_qa",
    },
    1003,
)


def _parquet_branch(row: Callable[[str, int], dict[str, Any]]) -> dict[str, bytes]:
    """``refs/convert/parquet``, which has no card."""
    return {
        f"default/{split}/0000.parquet": parquet(many(lambda i, s=split: row(s, i), 4)) for split in THREE
    }


def data_sets() -> dict[str, dict[str, bytes]]:
    """Name -> files."""
    news = {"train": 3, "validation": 1, "test": 1}
    dolly = "\n".join(map(json.dumps, _DOLLY)).encode()
    return {
        "abisee/cnn_dailymail": _with_configurations(dict.fromkeys(("1.0.0", "2.0.0", "3.0.0"), (news, _news))),
        "EdinburghNLP/xsum": {"README.md": card({"default": _globs("data", THREE)})}
        | _shards("data", THREE, lambda split, i: {"document": ARTICLE, "summary": SUMMARY, "id": f"{split}{i}"}),
        "hotpotqa/hotpot_qa": _with_configurations(
            {"distractor": ({"train": 2, "validation": 1}, _hotpot), "fullwiki": (THREE, _hotpot)}
        ),
        "qiaojin/PubMedQA": _with_configurations(
            {name: ({"train": 1}, _pubmed) for name in ("pqa_artificial", "pqa_labeled", "pqa_unlabeled")}
        ),
        "truthfulqa/truthful_qa": _with_configurations(
            {"generation": ({"validation": 1}, _truth), "multiple_choice": ({"validation": 1}, _choices)}
        ),
        "tuetschek/e2e_nlg": _parquet_branch(_restaurant),
        "tuetschek/e2e_nlg_cleaned": _parquet_branch(_restaurant),
        "knkarthick/dialogsum": {"README.md": b"# DialogSum\n"}
        | {f"{split}.csv": comma_separated(many(lambda i, s=split: _dialogue(s, i), 6)) for split in THREE},
        "pszemraj/qmsum-cleaned": {"README.md": card({"default": _globs("data", THREE), "no-prefix": _globs("no-prefix", THREE)})}
        | _shards("data", THREE, _meeting) | _shards("no-prefix", THREE, _meeting),
        "databricks/databricks-dolly-15k": {"README.md": b"# Dolly\n", "databricks-dolly-15k.jsonl": dolly},
        "allenai/ai2_arc": _with_configurations(dict.fromkeys(("ARC-Challenge", "ARC-Easy"), (THREE, _arc))),
        "allenai/openbookqa": _with_configurations(dict.fromkeys(("additional", "main"), (THREE, _book))),
        "tau/commonsense_qa": {"README.md": card({"default": _globs("data", THREE)})} | _shards("data", THREE, _commonsense),
        "Rowan/hellaswag": {"README.md": card({"default": _globs("data", THREE)})} | _shards("data", THREE, _hellaswag),
    }  # fmt: skip


def pinned(root: Path) -> dict[str, str]:
    """Data set -> commit, as our tasks pin them."""
    found = {}
    for path in sorted((root / "tasks").glob("*/*.yaml")):
        text = "\n".join(line for line in path.read_text("utf-8").splitlines() if "!function" not in line)
        task = yaml.safe_load(text)
        if revision := task.get("dataset_kwargs", {}).get("revision"):
            found[task["dataset_path"]] = revision
    return found


def add_all(hub: LocalHub, root: Path) -> None:
    """Put every data set on a hub: at the commit that is pinned, and on its main branch."""
    from harness_kd.data.named import DOLLY

    commits = pinned(root) | dict([DOLLY])
    for name, files in data_sets().items():
        hub.add(name, files, kind="dataset", commit=commits.get(name))
