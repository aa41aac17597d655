"""``harness generate``: what it writes, that it resumes, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import newsworld
from harness.cli import main
from harness.files import read_jsonl
from harness.newsworld import models

STUDENT = str(models.path("student"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [
        {"id": i, "article": row["article"], "prompt": newsworld.prompt(row["article"])}
        for i, row in enumerate(newsworld.rows("test", 10, seed=9))
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def command(data: Path, output: Path) -> list[str]:
    paths = ["--data", str(data), "--output", str(output)]
    return [
        "generate",
        STUDENT,
        *paths,
        "--device",
        "cpu",
        *"--max-new-tokens 24 --batch-size 4 --stop \\n".split(),
    ]


def generate(data: Path, output: Path, *words: str) -> list[dict[str, object]]:
    assert main([*command(data, output), *words]) == 0
    return read_jsonl(output)


def test_responses_stand_beside_their_prompts_in_the_order_of_the_file(data: Path, tmp_path: Path) -> None:
    rows = generate(data, tmp_path / "a.jsonl")
    assert [row["id"] for row in rows] == list(range(10))
    assert all("\n" not in str(row["response"]) and row["response"] for row in rows)
    alone = generate(data, tmp_path / "b.jsonl", "--limit", "3")
    assert [row["response"] for row in alone] == [row["response"] for row in rows[:3]]
    assert not list(tmp_path.glob(".*parts"))


def test_sampling_depends_on_its_seed_alone(data: Path, tmp_path: Path) -> None:
    def sampled(seed: str) -> list[object]:
        return [
            row["response"]
            for row in generate(data, tmp_path / "s.jsonl", "--temperature", "1", "--seed", seed)
        ]

    assert sampled("1") == sampled("1")
    assert sampled("1") != sampled("2")


def test_a_killed_run_goes_on_to_the_same_responses(data: Path, tmp_path: Path) -> None:
    whole = generate(data, tmp_path / "whole.jsonl", "--temperature", "1")
    output = tmp_path / "killed.jsonl"
    code = "from harness.cli import main; import sys; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *command(data, output), "--temperature", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ,
    )
    work = tmp_path / ".killed.jsonl.parts"
    deadline = time.monotonic() + 60
    while process.poll() is None and not list(work.glob("*.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert generate(data, output, "--temperature", "1") == whole


def test_guided_by_the_shipped_classifier(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--lookback-guided", "--candidates", "3"]
    by_lookback = generate(data, tmp_path / "g.jsonl", *words)
    assert "guided by shipped" in capsys.readouterr().out
    by_probability = generate(data, tmp_path / "p.jsonl", *words, "--choose", "probability")
    assert [row["response"] for row in by_lookback] != [row["response"] for row in by_probability]


def test_a_dry_run_writes_nothing(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "generate",
        STUDENT,
        "--data",
        str(data),
        "--output",
        str(tmp_path / "x.jsonl"),
        "--device",
        "cpu",
        "--dry-run",
    ]
    assert main(words) == 0
    assert "10 prompts" in capsys.readouterr().out
    assert not (tmp_path / "x.jsonl").exists()


@pytest.mark.parametrize(
    ("row", "words", "message"),
    [
        ({"article": "A b."}, [], "row 1: no prompt"),
        ({"prompt": "x"}, ["--lookback-guided"], "no source to look back at"),
        ({"prompt": "a " * 3000}, [], "leave no room"),
        ({"prompt": "x"}, ["--top-p", "0"], "top_p is 0.0"),
        ({"article": "x"}, ["--template", "y"], "has no {source}"),
        ({"prompt": "x"}, ["--limit", "-1"], "--limit -1 leaves no row"),
        ({"prompt": "x"}, ["--limit", "0"], "--limit 0 leaves no row"),
        ({"prompt": "half \ud800"}, [], "row 1: half of a surrogate pair"),
    ],
)
def test_bad_input_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], row: dict[str, str], words: list[str], message: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    common = [
        "generate",
        STUDENT,
        "--data",
        str(path),
        "--output",
        str(tmp_path / "x.jsonl"),
        "--device",
        "cpu",
    ]
    assert main([*common, *words]) == 2
    assert message in capsys.readouterr().err


def test_an_encoder_decoder_answers_too(tmp_path: Path) -> None:
    import torch
    from transformers import AutoTokenizer, MT5Config, MT5ForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(STUDENT)
    torch.manual_seed(0)
    config = MT5Config(
        vocab_size=len(tokenizer),
        d_model=16,
        d_ff=32,
        d_kv=8,
        num_layers=1,
        num_heads=2,
        decoder_start_token_id=0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    MT5ForConditionalGeneration(config).save_pretrained(tmp_path / "mt5")
    tokenizer.save_pretrained(tmp_path / "mt5")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "The race was won."}\n{"prompt": "The"}\n')
    output = tmp_path / "out.jsonl"
    words = [
        "--data",
        str(tmp_path / "rows.jsonl"),
        "--output",
        str(output),
        "--device",
        "cpu",
        "--max-new-tokens",
        "5",
    ]
    assert main(["generate", str(tmp_path / "mt5"), *words]) == 0
    assert all(0 < row["tokens"] <= 5 for row in read_jsonl(output))


@pytest.fixture
def chat_model(tmp_path: Path) -> Path:
    """The news world's student with a template that wraps a question as the student was trained to read it."""
    folder = shutil.copytree(STUDENT, tmp_path / "chat")
    turns = (
        "{% if m.role == 'user' %}Article: {{ m.content }}\\nSummary:{% else %}{{ m.content }}\\n{% endif %}"
    )
    template = f"{{{{ bos_token }}}}{{% for m in messages %}}{turns}{{% endfor %}}".replace("\\n", "\n")
    (folder / "chat_template.jinja").write_text(template)
    return folder


def test_a_chat_model_is_asked_in_its_template_unless_told_otherwise(
    chat_model: Path, data: Path, tmp_path: Path
) -> None:
    rows = read_jsonl(data)
    bare = [{"prompt": row["article"]} for row in rows]
    chats = [
        {"messages": [{"role": "user", "content": row["article"]}, {"role": "assistant", "content": "old"}]}
        for row in rows
    ]
    for name, made in (("bare", bare), ("chats", chats)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))

    def answers(model: Path | str, file: Path, *words: str) -> list[dict[str, object]]:
        output = tmp_path / "out.jsonl"
        common = command(file, output)
        common[1] = str(model)
        assert main([*common, *words]) == 0
        return read_jsonl(output)

    plain = answers(STUDENT, data)
    as_given = answers(chat_model, data, "--no-chat-template")
    assert [row["response"] for row in as_given] == [row["response"] for row in plain]
    in_bare, in_chats = (
        answers(chat_model, tmp_path / "bare.jsonl"),
        answers(chat_model, tmp_path / "chats.jsonl"),
    )
    assert [row["response"] for row in in_bare] == [row["response"] for row in plain]
    assert [row["response"] for row in in_chats] == [row["response"] for row in plain]
    for row, asked in zip(in_chats, rows, strict=True):
        assert row["messages"] == [
            {"role": "user", "content": asked["article"]},
            {"role": "assistant", "content": row["response"]},
        ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": [{"role": "assistant", "content": "x"}]}, "holds no question of a user"),
        ({"messages": "x"}, "holds no question of a user"),
        ({"messages": [{"role": "user"}]}, "not a list of turns"),
        ({"prompt": "<s>Hello"}, "a mark of the chat template"),
    ],
)
def test_what_is_no_question_for_a_chat_model_is_named(
    chat_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], row: dict[str, object], message: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    common = command(path, tmp_path / "out.jsonl")
    common[1] = str(chat_model)
    assert main(common) == 2
    assert message in capsys.readouterr().err


def test_chats_need_a_template(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"messages": [{"role": "user", "content": "x"}]}))
    assert main(command(path, tmp_path / "out.jsonl")) == 2
    assert "has no chat template" in capsys.readouterr().err


def test_every_token_that_ends_a_turn_ends_a_response(data: Path, tmp_path: Path) -> None:
    """As the generation configuration of an instruct model lists them; a tokenizer knows one."""
    from transformers import AutoTokenizer

    plain = generate(data, tmp_path / "plain.jsonl")
    tokenizer = AutoTokenizer.from_pretrained(STUDENT)
    text = str(plain[0]["response"])
    ends = tokenizer(text, add_special_tokens=False)["input_ids"]
    model = shutil.copytree(STUDENT, tmp_path / "turns")
    settings = json.loads((model / "generation_config.json").read_text())
    listed = settings | {"eos_token_id": [tokenizer.eos_token_id, ends[3]]}
    (model / "generation_config.json").write_text(json.dumps(listed))
    output = tmp_path / "out.jsonl"
    common = command(data, output)
    common[1] = str(model)
    assert main(common) == 0
    first = read_jsonl(output)[0]
    assert first["finished"]
    assert first["tokens"] == 4
