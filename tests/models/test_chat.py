"""Whether a model has a chat template, held against what transformers makes of the same files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from harness.models.chat import has_chat_template, in_template, marks_in
from harness.newsworld import models

TEMPLATE = "{{ eos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}" + (
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(models.path("student"), tmp_path / "model")


def of_transformers(folder: Path) -> bool:
    return bool(AutoTokenizer.from_pretrained(folder).chat_template)


@pytest.mark.parametrize("place", ["none", "file", "config", "several"])
def test_it_is_found_wherever_transformers_finds_it(folder: Path, place: str) -> None:
    if place == "file":
        (folder / "chat_template.jinja").write_text(TEMPLATE)
    elif place == "config":
        config = folder / "tokenizer_config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"chat_template": TEMPLATE}))
    elif place == "several":
        (folder / "additional_chat_templates").mkdir()
        (folder / "additional_chat_templates" / "tool_use.jinja").write_text(TEMPLATE)
        (folder / "chat_template.jinja").write_text(TEMPLATE)
    assert has_chat_template(folder) == of_transformers(folder) == (place != "none")


def test_a_folder_without_a_tokenizer_has_none(tmp_path: Path) -> None:
    assert not has_chat_template(tmp_path)


def test_a_chat_ends_where_the_assistant_begins_and_its_marks_are_seen(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = in_template(tokenizer, [{"role": "user", "content": "Hello."}])
    assert text == f"{tokenizer.eos_token}<user>Hello.<assistant>"
    assert marks_in(tokenizer, text) == [tokenizer.eos_token]
    assert marks_in(tokenizer, f"Hello. {tokenizer.pad_token}") == []  # none of the template's
