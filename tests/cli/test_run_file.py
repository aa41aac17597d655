"""A run is a file: what ``--config`` accepts and refuses, and that what a run writes repeats it."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import __version__, newsworld
from harness.cli import build_parser, command_groups, main
from harness.cli._config import read_call
from harness.cli._run_file import as_yaml
from harness.errors import HarnessError
from harness.newsworld import models
from harness.plugins import Command, CommandGroup, add_run_file, names, settings

Script = list[Callable[[], None]]


def add_options(parser: ArgumentParser) -> None:
    """One option of each kind."""
    parser.add_argument("model")
    parser.add_argument("more", nargs="*")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--epochs", type=int, default=SUPPRESS)
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--quiet", action="store_true", default=SUPPRESS)
    parser.add_argument("--stop", action="append", default=[])
    parser.add_argument("--scores", nargs="+")
    parser.add_argument("--tasks", type=names, default="")
    parser.add_argument("--metadata", type=settings, default="")
    parser.add_argument("--mode", choices=["last", "best"], default="last")
    parser.add_argument("--token", default="")
    parser.add_argument("--dry-run", action="store_true")
    add_run_file(parser, lambda arguments: arguments.output)


@pytest.fixture
def seen() -> list[Namespace]:
    """What the command under test was run with."""
    return []


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch, seen: list[Namespace]) -> Script:
    """A command ``work`` and an action ``do work`` with one option of each kind; the list holds what a run does."""
    script: Script = []

    def run(arguments: Namespace) -> int:
        seen.append(arguments)
        for step in script:
            step()
        return 0

    def add_action(parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        add_options(actions.add_parser("work"))
        actions.add_parser("rest").add_argument("--output", type=Path)

    group = CommandGroup(
        title="under test",
        commands=(
            Command(name="work", help="w", add_arguments=add_options, run=run),
            Command(name="do", help="d", add_arguments=add_action, run=run),
        ),
    )
    monkeypatch.setattr("harness.cli.command_groups", lambda: [group])
    return script


def write(folder: Path, text: str) -> str:
    path = folder / "my.yaml"
    path.write_text(text, "utf-8")
    return str(path)


EVERY_OPTION = """
model: small
more: [a, b]
output: out
learning-rate: 1e-5
epochs: 3
fast: true
quiet: true
stop: ["\\n", "."]
scores: [rougeL, chrf]
tasks: [kd_one, kd_two]
metadata: {n_documents: 100, data_dir: here}
mode: best
"""
MERGED = {
    "model": "small",
    "more": ["a", "b"],
    "output": Path("out"),
    "learning_rate": 1e-5,
    "epochs": 3,
    "fast": True,
    "quiet": True,
    "stop": ["\n", "."],
    "scores": ["rougeL", "chrf"],
    "tasks": "kd_one,kd_two",
    "metadata": '{"n_documents": 100, "data_dir": "here"}',
    "mode": "best",
    "token": "",
    "dry_run": False,
}


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize("command", [["work"], ["do", "work"]])
def test_every_kind_of_option_comes_from_the_file(
    command: list[str], seen: list[Namespace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*command, "--config", write(tmp_path, EVERY_OPTION)]) == 0
    words = dict(zip(("command", "action"), command, strict=False))
    assert vars(seen[0]) == words | MERGED


@pytest.mark.usefixtures("work")
def test_options_of_the_command_line_win(
    seen: list[Namespace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = write(tmp_path, EVERY_OPTION)
    given = ["--learning-rate=0.5", "large", "--stop", "END", "--no-fast", "--no-quiet", "--epochs", "1"]
    assert main(["work", "--config", config, *given]) == 0
    won = {
        "learning_rate": 0.5,
        "model": "large",
        "stop": ["END"],
        "fast": False,
        "quiet": False,
        "epochs": 1,
    }
    assert vars(seen[0]) == {"command": "work"} | MERGED | won | {"more": ["a", "b"]}


@pytest.mark.usefixtures("work")
def test_the_written_file_repeats_the_run(
    seen: list[Namespace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["work", "small", "--output", "models/out", "--epochs", "3", "--stop", "\n", "--tasks", "a,b"]
    assert main([*words, "--learning-rate", "1e-5", "--mode", "last", "--fast"]) == 0
    written = tmp_path / "models" / "out.run.yaml"
    stated = yaml.safe_load(written.read_text())
    assert stated == {
        "command": "work",
        "harness": __version__,
        "model": "small",
        "output": "models/out",
        "learning_rate": 1e-5,
        "epochs": 3,
        "fast": True,
        "stop": ["\n"],
        "tasks": "a,b",
    }
    before = written.stat().st_mtime_ns
    assert main(["work", "--config", str(written)]) == 0
    assert vars(seen[1]) == vars(seen[0])
    assert written.stat().st_mtime_ns == before
    assert main(["work", "--no-fast", "--config", str(written)]) == 0
    assert "fast" not in yaml.safe_load(written.read_text())


def test_every_option_of_every_repeatable_command_goes_through_a_file(tmp_path: Path) -> None:
    """Each is given a value, written, and read again: a type that a file cannot hold would show here."""
    repeatable = []
    for words, leaf in leaves(build_parser(command_groups())):
        if leaf.get_default("run_file") is None:
            continue
        repeatable.append(" ".join(words))
        argv = [*words, *(word for action in leaf._actions for word in sample(action))]
        call = read_call(build_parser(command_groups()), argv)
        stated = yaml.safe_load(text := as_yaml(call))
        assert set(stated) == {"command", "harness", *call.options} - {"dry_run"}, words
        again = read_call(build_parser(command_groups()), [*words, "--config", write(tmp_path, text)])
        assert as_yaml(again) == text
        assert differing(call.arguments, again.arguments) <= {"config", "run_file", "dry_run"}
    assert set(repeatable) >= {
        "eval",
        "generate",
        "judge fit",
        "judge score",
        "lookback fit",
        "quickstart",
        "train-kd",
        "soft-labels capture",
        "soft-labels generate",
        "soft-labels fidelity",
    }


def leaves(
    parser: ArgumentParser, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], ArgumentParser]]:
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield words, parser
    for action in below:
        for name, child in action.choices.items():
            yield from leaves(child, (*words, name))


def sample(action: argparse.Action) -> list[str]:
    """An option with a value that is not its default."""
    if action.dest in ("help", "config"):
        return []
    option = list(action.option_strings[:1])
    if action.nargs == 0:
        return option
    if action.choices:
        return [*option, next(str(one) for one in action.choices if one != action.default)]
    for text in ("a b: {x}, # 'c'\n", "0.0625", "7"):
        with contextlib.suppress(ValueError, argparse.ArgumentTypeError):
            (action.type or str)(text)  # type: ignore[operator]
            return [*option, text]
    raise AssertionError(f"no value is known for {action.dest}")


def differing(one: Namespace, other: Namespace) -> set[str]:
    every = {*vars(one), *vars(other)}
    return {name for name in every if getattr(one, name, None) != getattr(other, name, None)}


WRONG = [
    ("learning_rat: 1", "learning_rat: no such option; closest is learning_rate"),
    ("xyz: 1", "xyz: no such option"),
    ("config: other.yaml", "config: no such option"),
    ("learning_rate: fast", "learning_rate: is a number, not 'fast'"),
    ("learning_rate: true", "learning_rate: is a number, not true"),
    ("learning_rate: [1, 2]", "learning_rate: is a number, not [1, 2]"),
    ("epochs: 1.5", "epochs: is a whole number, not 1.5"),
    ("epochs:", "epochs: has no value"),
    ("fast: 1", "fast: is true or false, not 1"),
    ("fast: 'no'", "fast: is true or false, not 'no'"),
    ("mode: worst", "mode: is one of last, best, not 'worst'"),
    ("model: [a, b]", "model: is text, not ['a', 'b']"),
    ("model: {a: b}", "model: is text, not {'a': 'b'}"),
    ("model: no", "model: is text, not false"),
    ("model: 2024-01-01", "model: is text, not datetime.date"),
    ("stop: [a, {b: c}]", "stop: is text, not {'b': 'c'}"),
    ("scores: []", "scores: is an empty list"),
    ("learning_rate: 1\nlearning-rate: 2", "learning-rate: is given twice"),
    ("command: train-kd", "is for `harness train-kd`, not `harness work`"),
]


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize(("line", "said"), WRONG)
def test_what_is_wrong_in_a_file_is_named(
    line: str, said: str, tmp_path: Path, seen: list[Namespace], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["work", "m", "--output", str(tmp_path / "o"), "--config", write(tmp_path, line)]) == 2
    assert f"my.yaml: {said}" in capsys.readouterr().err
    assert seen == []
    assert [path.name for path in tmp_path.iterdir()] == ["my.yaml"]


@pytest.mark.usefixtures("work")
def test_everything_wrong_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line for line, _ in WRONG if line.split(":")[0] in ("xyz", "config", "model", "mode")]
    keys = {line.split(":")[0]: line for line in lines}
    assert main(["work", "--config", write(tmp_path, "\n".join(keys.values()))]) == 2
    said = capsys.readouterr().err
    assert f"{len(keys)} problems:" in said
    assert "`harness work --help` explains the options." in said
    assert all(f"my.yaml: {key}: " in said for key in keys)


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: b: c", "is not YAML: mapping values are not allowed"),
        ("just words", "holds 'just words', not options"),
        ("!!python/object/apply:os.getcwd []", "is not YAML: could not determine a constructor"),
        ("output: a\noutput: b", "output: is given twice"),
    ],
)
def test_a_file_that_holds_no_options_is_refused(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["work", "--config", write(tmp_path, text)]) == 2
    assert f"my.yaml: {said}" in capsys.readouterr().err


@pytest.mark.usefixtures("work")
def test_a_file_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["work", "--config", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml: cannot be read: No such file or directory" in capsys.readouterr().err


@pytest.mark.usefixtures("work")
def test_what_neither_gives_is_still_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["work", "--config", write(tmp_path, "model: m")]) == 2
    assert "the following arguments are required: --output" in capsys.readouterr().err
    assert main(["work", "--output", "o", "--config"]) == 2
    assert "argument --config: expected one argument" in capsys.readouterr().err
    assert main(["do", "rest", "--config", "x"]) == 2  # an action that is over in a moment takes none
    assert "unrecognized arguments: --config x" in capsys.readouterr().err
    assert main(["work", "--config", "x", "--help"]) == 0


@pytest.mark.usefixtures("work")
def test_the_file_of_another_version_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write(tmp_path, "harness: 0.0.1\nmodel: m")
    assert main(["work", "--output", str(tmp_path / "o"), "--config", config]) == 0
    assert f"is from harness 0.0.1, this is {__version__}" in capsys.readouterr().err


@pytest.mark.parametrize("standing", [None, "the file of the run that stands here\n"])
def test_a_refused_run_leaves_the_file_as_it_was(work: Script, standing: str | None, tmp_path: Path) -> None:
    def refuse() -> None:
        raise HarnessError("the folder holds another run", "Choose another.")

    work.append(refuse)
    output = tmp_path / "new" / "folder" / "out"
    if standing:
        output.parent.mkdir(parents=True)
        output.with_name("out.run.yaml").write_text(standing)
    assert main(["work", "m", "--output", str(output)]) == 2
    if standing:
        assert output.with_name("out.run.yaml").read_text() == standing
    else:
        assert list(tmp_path.iterdir()) == []


def test_the_file_is_there_before_the_work_and_stays_when_it_is_interrupted(
    work: Script, tmp_path: Path
) -> None:
    def interrupted() -> None:
        assert (tmp_path / "out.run.yaml").exists()
        raise KeyboardInterrupt

    work.append(interrupted)
    assert main(["work", "m", "--output", str(tmp_path / "out")]) == 130
    assert yaml.safe_load((tmp_path / "out.run.yaml").read_text())["model"] == "m"


@pytest.mark.usefixtures("work")
def test_a_dry_run_and_the_other_processes_write_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["work", "m", "--output", str(tmp_path / "out"), "--dry-run"]) == 0
    monkeypatch.setenv("RANK", "1")
    assert main(["work", "m", "--output", str(tmp_path / "out")]) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("work")
def test_a_run_whose_file_cannot_be_written_goes_on(
    tmp_path: Path, seen: list[Namespace], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["work", "m", "--output", str(tmp_path / "file" / "out")]) == 0
    assert "out.run.yaml: the run's options are not kept: " in capsys.readouterr().err
    assert len(seen) == 1


TOKEN = "hf_" + "aB3" * 9


@pytest.mark.usefixtures("work")
def test_no_secret_gets_into_a_file(tmp_path: Path, seen: list[Namespace]) -> None:
    given = ["--token", "abc123", "--stop", TOKEN, "--stop", "kept", "--tasks", f"a,{TOKEN}"]
    options = {
        "api_key": "abc123",
        "max_new_tokens": 5,
        "url": "https://me:abc123@host/x",
        "eos_token": "</s>",
    }
    given += ["--metadata", json.dumps(options)]
    assert main(["work", "m", "--output", str(tmp_path / "out"), *given]) == 0
    text = (tmp_path / "out.run.yaml").read_text()
    assert "abc123" not in text
    assert TOKEN not in text
    stated = yaml.safe_load(text)
    assert json.loads(stated["metadata"]) == {"max_new_tokens": 5, "eos_token": "</s>"}
    assert stated["stop"] == ["kept"]
    assert re.findall(r"# left out, since it looks like a secret: (.*)", text) == [
        "stop, in part",
        "tasks",
        "metadata, in part",
        "token",
    ]
    pairs = "pretrained=x,token=abc123,dtype=float16,hf_token=abc123"
    assert main(["work", "m", "--output", str(tmp_path / "two"), "--metadata", pairs]) == 0
    assert yaml.safe_load((tmp_path / "two.run.yaml").read_text())["metadata"] == "pretrained=x,dtype=float16"
    assert seen[0].token == "abc123"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A few rows of the news world, as one's own file."""
    path = tmp_path / "rows.jsonl"
    lines = [
        {"prompt": newsworld.prompt(row["article"]), "response": row["summary"]}
        for row in newsworld.rows("train", 24, seed=3)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_training_run_is_repeated_by_its_file(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = {
        "student": str(models.path("student")),
        "teacher": str(models.path("teacher")),
        "data": rows.name,
        "output": "student-kd",
        "kd_ratio": 1,
        "epochs": 1,
        "batch-size": 8,
        "learning_rate": 1e-3,
        "top_k": 8,
    }
    assert main(["train-kd", "--config", write(tmp_path, yaml.safe_dump(config)), "--seed", "3"]) == 0
    weights = (tmp_path / "student-kd" / "model.safetensors").read_bytes()
    record = json.loads((tmp_path / "student-kd" / "run.json").read_text())
    assert (record["identity"]["seed"], record["identity"]["top_k"], record["metrics"]["steps"]) == (3, 8, 3)
    capsys.readouterr()

    trained = (tmp_path / "student-kd" / "run.json").stat().st_mtime_ns
    assert main(["train-kd", "--config", "student-kd.run.yaml"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "student-kd")
    assert (tmp_path / "student-kd" / "run.json").stat().st_mtime_ns == trained  # finished: not done again

    assert main(["train-kd", "--config", "student-kd.run.yaml", "--output", "again"]) == 0
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == weights

    standing = (tmp_path / "student-kd.run.yaml").read_bytes()
    assert main(["train-kd", "--config", "student-kd.run.yaml", "--seed", "4"]) == 2
    assert "holds another run: seed 3, not 4" in capsys.readouterr().err
    assert (tmp_path / "student-kd.run.yaml").read_bytes() == standing


def test_an_evaluation_is_repeated_by_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = "tasks: [kd_newsworld_factual]\nmetadata: {n_documents: 3, metrics: [oracle]}\ndevice: cpu\n"
    assert main(["eval", "--config", write(tmp_path, config), "gold"]) == 0
    first = capsys.readouterr().out
    (written,) = (tmp_path / "results").glob("gold-*.run.yaml")
    assert main(["eval", "--config", str(written)]) == 0
    assert capsys.readouterr().out == first
    assert len(list((tmp_path / "results").glob("*/results_*.json"))) == 2
    assert list((tmp_path / "results").glob("*.run.yaml")) == [written]


ARTICLE = "The report says that Mara Lind won the race in Orvik on Monday."


@pytest.mark.parametrize(
    ("words", "options", "written"),
    [
        (
            ["generate"],
            {"model": str(models.path("student")), "data": "rows.jsonl", "max_new_tokens": 8, "stop": ["\n"]},
            "out",
        ),
        (
            ["soft-labels", "capture"],
            {"teacher": str(models.path("teacher")), "data": "rows.jsonl", "top_k": 4},
            "out/manifest.json",
        ),
        (
            ["soft-labels", "generate"],
            {"teacher": str(models.path("teacher")), "data": "rows.jsonl", "max-new-tokens": 8},
            "out",
        ),
        (["judge", "score"], {"path": "pairs.jsonl", "judge": "embedded", "unproven": True}, "out"),
    ],
)
@pytest.mark.usefixtures("rows")
def test_other_long_commands_are_repeated_by_theirs(
    words: list[str], options: dict[str, Any], written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pairs = [{"id": "a", "source": ARTICLE, "summary": "Mara Lind won the race."}]
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pairs[0]) + "\n")
    config = write(tmp_path, yaml.safe_dump({"command": " ".join(words), "output": "out", **options}))
    assert main([*words, "--config", config]) == 0
    made = (tmp_path / written).read_bytes()
    assert main([*words, "--config", "out.run.yaml", "--output", "again"]) == 0
    assert (tmp_path / written.replace("out", "again", 1)).read_bytes() == made
    first, second = (yaml.safe_load((tmp_path / f"{name}.run.yaml").read_text()) for name in ("out", "again"))
    assert second == first | {"output": "again"}


def test_the_file_in_the_docs_is_accepted(root: Path, tmp_path: Path) -> None:
    (example,) = re.findall(r"(?ms)^```yaml\n(.*?)^```", (root / "docs" / "api.md").read_text("utf-8"))
    words = example.splitlines()[0].removeprefix("# harness ").split()
    config = write(tmp_path, example)
    call = read_call(
        build_parser(command_groups()), [config if word == "run.yaml" else word for word in words]
    )
    given = vars(call.arguments)
    assert (given["kd_ratio"], given["learning_rate"], given["bf16"]) == ((0.1, 1.0, 10.0), 1e-5, True)
    assert given["seed"] == 3
