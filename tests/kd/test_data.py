"""Rows and tokenisation: real Dolly rows, boundaries, overlong rows and bad input."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from harness_kd.data.examples import Example, tokenize_rows
from harness_kd.data.named import dev_split
from harness_kd.data.rows import TextRow, load_rows, wording_of
from transformers import PreTrainedTokenizerFast

from harness.errors import HarnessError

ROOT = Path(__file__).parents[2]
DOLLY = ROOT.parent / "shared" / "data" / "dolly_valid" / "valid.jsonl"


def write(tmp_path: Path, *rows: Any) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.skipif(not DOLLY.exists(), reason="the development data is not here")
def test_dolly_rows_get_the_prompt_that_the_papers_author_trained_on() -> None:
    rows = load_rows(str(DOLLY))
    published = [json.loads(line) for line in DOLLY.read_text().splitlines()]
    assert [row.prompt for row in rows] == [row["prompt"] for row in published]
    assert [row.response for row in rows] == [row["output"] for row in published]


def test_prompt_and_response_are_tokenised_apart_and_closed(
    tmp_path: Path, build_tokenizer: Callable[..., PreTrainedTokenizerFast]
) -> None:
    rows = load_rows(write(tmp_path, {"prompt": "word1 word2", "response": "word3"}))
    tokenizer = build_tokenizer()
    (example,) = tokenize_rows(rows, tokenizer, max_length=9, max_prompt_length=8, overlong="drop").examples
    assert tokenizer.convert_ids_to_tokens(example.ids.tolist()) == ["word1", "word2", "word3", "</s>"]
    assert example.boundary == 2


def test_a_chat_ends_with_the_assistants_turn(
    tmp_path: Path, build_tokenizer: Callable[..., PreTrainedTokenizerFast]
) -> None:
    turns = [{"role": "user", "content": "word1"}, {"role": "assistant", "content": "word2"}]
    rows = load_rows(write(tmp_path, {"messages": turns}))
    tokenizer = build_tokenizer()
    with pytest.raises(HarnessError, match="no chat template"):
        tokenize_rows(rows, tokenizer, max_length=9, max_prompt_length=8, overlong="drop")
    loop = "{% for m in messages %}word9 {{ m.content }}{% endfor %}"
    tokenizer.chat_template = loop + "{% if add_generation_prompt %} word8{% endif %}"
    (example,) = tokenize_rows(rows, tokenizer, max_length=9, max_prompt_length=8, overlong="drop").examples
    tokens = tokenizer.convert_ids_to_tokens(example.ids.tolist())
    assert (tokens, example.boundary) == (["word9", "word1", "word8", "word2", "</s>"], 3)


def test_overlong_rows_are_dropped_or_cut_and_counted(
    tmp_path: Path, build_tokenizer: Callable[..., PreTrainedTokenizerFast]
) -> None:
    long, short = (
        {"prompt": "word1 word2 word3 word4", "response": "word5 word6 word7"},
        {"prompt": "word1", "response": "word2"},
    )
    rows, tokenizer = load_rows(write(tmp_path, long, short)), build_tokenizer()
    dropped = tokenize_rows(rows, tokenizer, max_length=5, max_prompt_length=3, overlong="drop")
    assert (len(dropped.examples), dropped.dropped, dropped.truncated) == (1, 1, 0)
    cut = tokenize_rows(rows, tokenizer, max_length=5, max_prompt_length=3, overlong="truncate")
    assert (len(cut.examples), cut.dropped, cut.truncated) == (2, 0, 1)
    assert tokenizer.convert_ids_to_tokens(cut.examples[0].ids.tolist()) == [
        "word2",
        "word3",
        "word4",
        "word5",
        "word6",
    ]
    with pytest.raises(HarnessError, match="no row is left: 1 of 1"):
        tokenize_rows(rows[:1], tokenizer, max_length=5, max_prompt_length=3, overlong="drop")


def test_the_key_tells_ids_and_boundary_apart() -> None:
    ids = np.arange(5, dtype=np.int32)
    keys = {
        Example(ids, 2).key,
        Example(ids, 3).key,
        Example(ids[::-1].copy(), 2).key,
        Example(ids.astype(np.int64), 2).key,
    }
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt": "word1"}, 'row 2: no field "response"; it has prompt'),
        ({"text": "word1"}, 'row 2: no field "prompt"; it has text'),
        ({"prompt": "word1", "response": 3}, 'row 2: field "response" is not a text'),
        ({"prompt": "word1", "response": ""}, "row 2: the response is empty"),
        ({"messages": []}, 'row 2: "messages" is not a list'),
        (
            {"messages": [{"role": "user", "content": "a"}] * 2},
            "row 2: the last message is not the assistant's",
        ),
    ],
)
def test_a_bad_row_is_named_by_file_and_number(tmp_path: Path, row: dict[str, Any], problem: str) -> None:
    path = write(tmp_path, {"prompt": "word1", "response": "word2"}, row)
    with pytest.raises(HarnessError) as error:
        load_rows(path)
    assert f"{path}, {problem}" in error.value.problem


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="cannot be read"):
        load_rows(str(tmp_path / "missing.jsonl"))
    with pytest.raises(HarnessError, match="holds no rows"):
        load_rows(write(tmp_path))


def test_the_news_world_by_name() -> None:
    rows = load_rows("newsworld?n=5&noise=0&seed=3")
    assert len(rows) == 5
    assert all(row.prompt.startswith("Article: ") and row.prompt.endswith("\nSummary:") for row in rows)
    assert all(row.response.startswith(" ") for row in rows)
    with pytest.raises(HarnessError, match="cannot read size=5"):
        load_rows("newsworld?size=5")


@pytest.mark.parametrize("split", ["typo", "TRAIN", "validation"])
def test_the_news_world_has_no_split_of_another_name(split: str) -> None:
    with pytest.raises(HarnessError, match=f"there is no split '{split}'"):
        load_rows(f"newsworld?n=2&split={split}")
    assert load_rows("newsworld?n=2&split=test") != load_rows("newsworld?n=2&split=train")


def dolly_file(tmp_path: Path, n: int) -> str:
    return write(
        tmp_path, *({"instruction": f"word{i}", "context": "", "response": "word1"} for i in range(n))
    )


def instructions(rows: list[TextRow]) -> list[str]:
    return [row.prompt.split("\n")[3] for row in rows]


def test_a_local_dolly_is_split_after_its_first_thousand_rows_only_if_asked(tmp_path: Path) -> None:
    path = dolly_file(tmp_path, 1003)
    assert len(load_rows(f"dolly?path={path}")) == 1003
    assert instructions(load_rows(f"dolly?path={path}&n=2")) == ["word0", "word1"]
    assert len(load_rows(f"dolly?split=dev&path={path}")) == 1000
    assert instructions(load_rows(f"dolly?path={path}&split=train&n=2")) == ["word1000", "word1001"]
    with pytest.raises(HarnessError, match="no split 'test'"):
        load_rows(f"dolly?split=test&path={path}")


def test_a_local_dolly_that_is_all_dev_split_says_so(tmp_path: Path) -> None:
    path = dolly_file(tmp_path, 3)
    with pytest.raises(HarnessError, match="all of its 3 rows are the dev split") as caught:
        load_rows(f"dolly?path={path}&split=train")
    assert "Leave split=train out" in caught.value.remedy
    assert len(load_rows(f"dolly?path={path}")) == 3


@pytest.mark.parametrize(
    ("rows", "wording"),
    [
        ([{"prompt": "a", "response": "b"}], "prompt"),
        (
            [{"instruction": "a", "output": "b"}, {"instruction": "a", "context": "c", "response": "b"}],
            "dolly",
        ),
        (
            [{"prompt": "a", "instruction": "a", "output": "b"}],
            "dolly",
        ),  # as it is trained: no response to the prompt
        ([{"article": "a", "highlights": "b"}], "prompt"),
        ([{"messages": []}], "chat"),
        ([{"prompt": "a", "response": "b"}, {"instruction": "a", "output": "b"}], None),
    ],
)
def test_how_rows_ask(tmp_path: Path, rows: list[Any], wording: str | None) -> None:
    assert wording_of(write(tmp_path, *rows)) == wording


def test_named_data_ask_as_their_rows_do() -> None:
    assert [wording_of(name) for name in ("dolly?n=3", "cnndm", "newsworld?n=2")] == [
        "dolly",
        "prompt",
        "prompt",
    ]


def test_dolly_from_the_hub_names_its_local_alternative() -> None:
    with pytest.raises(HarnessError) as error:
        load_rows("dolly")
    assert "databricks/databricks-dolly-15k" in error.value.problem
    assert "dolly?path=FILE" in error.value.remedy


def test_cnndm_rows_get_the_prompt_of_the_task(tmp_path: Path) -> None:
    path = write(tmp_path, {"article": "A b.", "highlights": "One .\nTwo .", "id": "x"})
    (row,) = load_rows(f"cnndm?path={path}")
    assert (row.prompt, row.response) == ("Article: A b.\nSummarize the article. Summary:", " One . Two .")
    assert load_rows(path) == [row]
    task = (Path(__file__).parents[2] / "tasks/cnndm/kd_cnndm_factual.yaml").read_text()
    assert "Article: {{source}}\\nSummarize the article. Summary:" in task


def e2e_file(tmp_path: Path) -> Path:
    """26 meanings with two descriptions each."""
    file = tmp_path / "e2e.csv"
    with open(file, "w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["mr", "ref"])
        for number in range(26):
            for words in ("is a  pub.", "serves food,\nsay people."):
                writer.writerow([f"name[Inn {number}], eatType[pub]", f"Inn {number} {words}"])
    return file


def test_a_meaning_of_e2e_is_in_one_split_with_all_its_descriptions(tmp_path: Path) -> None:
    file = e2e_file(tmp_path)
    train, dev = (load_rows(f"e2e?path={file}&split={split}") for split in ("train", "dev"))
    assert [row.response for row in dev] == [
        f" Inn {number} {words}" for number in (11, 23) for words in ("is a pub.", "serves food, say people.")
    ]
    assert len(train) == 48
    assert not {row.prompt for row in train} & {row.prompt for row in dev}
    assert len(load_rows(f"e2e?path={file}")) == 52
    assert dev_split(f"e2e?path={file}") is None
    assert dev_split(f"e2e?path={file}&split=train") == f"e2e?split=dev&n=1000&path={file}"


def test_e2e_rows_get_the_prompt_of_the_task(tmp_path: Path) -> None:
    task = yaml.safe_load((ROOT / "tasks/e2e/kd_e2e_factual.yaml").read_text().replace("!function", ""))
    (first, *_) = load_rows(f"e2e?path={e2e_file(tmp_path)}")
    assert first.prompt == task["doc_to_text"].replace("{{source}}", "name[Inn 0], eatType[pub]")


def test_a_file_that_is_not_e2e_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(HarnessError, match="neither mr and ref nor meaning_representation"):
        load_rows(f"e2e?path={file}")
