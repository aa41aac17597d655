"""The commands in the documents exist, with those options."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harness.cli import build_parser, command_groups
from harness.plugins import CommandGroup

DOCUMENTS = ["README.md", "CONTRIBUTING.md"]
NOT_OURS = {"cd", "export", "git", "pip", "python", "python3", "source"}


def shell_commands(markdown: str) -> list[list[str]]:
    """Every command in the fenced ``sh`` blocks, split into words; comments and prompts are dropped."""
    blocks = re.findall(r"(?ms)^ *```(?:sh|bash|shell|console)\n(.*?)^ *```", markdown)
    commands = []
    for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
        for part in re.split(r"&&|\|\||[;|]", line.strip().removeprefix("$ ")):
            words = shlex.split(part, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):  # variables set for the command
                words = words[1:]
            if words:
                commands.append(words)
    return commands


def problem_with(words: list[str], root: Path) -> str | None:
    """What is wrong with a documented command, or None."""
    program = Path(words[0]).name
    if program == "make":
        targets = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
        plan = subprocess.run(["make", "--dry-run", *targets], cwd=root, capture_output=True, text=True)
        return plan.stderr or None
    if program == "harness":
        if not {"-h", "--help", "--version"} & set(words):
            status = _parse_status(words[1:])
            return None if status == 0 else f"`harness` does not accept these arguments (status {status})"
        return None
    if program == "lm_eval":
        known = "\n".join(path.read_text("utf-8") for path in (root / "tasks").rglob("*.yaml"))
        names = words[words.index("--tasks") + 1].split(",") if "--tasks" in words else []
        ours = [name for name in names if name.startswith("kd_") and "*" not in name]
        unknown = [name for name in ours if not re.search(rf"(?m)^(task|group|tag): *{name} *$", known)]
        return f"unknown tasks: {unknown}" if unknown else None
    if program in NOT_OURS or os.access(root / words[0], os.X_OK) or program == "pre-commit":
        return None
    return "unknown program"


def _parse_status(arguments: list[str]) -> int:
    try:
        build_parser(command_groups()).parse_args(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.mark.parametrize(
    ("markdown", "commands"),
    [
        ("```sh\nmake test  # all\n```\n", [["make", "test"]]),
        (
            "```sh\n$ A=1 harness x \\\n  --y 'a b' && make z\n```\n",
            [["harness", "x", "--y", "a b"], ["make", "z"]],
        ),
        ("```python\nmake no\n```\nand `make this`\n", []),
    ],
)
def test_commands_are_found_in_fenced_blocks(markdown: str, commands: list[list[str]]) -> None:
    assert shell_commands(markdown) == commands


@pytest.mark.parametrize(
    "command",
    ["make no-such-target", "harness no-such-command", "lm_eval --tasks kd_no_such_task", "no-such-program"],
)
def test_a_wrong_command_would_be_noticed(command: str, root: Path) -> None:
    assert problem_with(command.split(), root)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documented_commands_exist(document: str, root: Path) -> None:
    commands = shell_commands((root / document).read_text("utf-8"))
    assert commands, f"{document} shows no command"
    problems = {" ".join(words): problem_with(words, root) for words in commands}
    assert {command: problem for command, problem in problems.items() if problem} == {}


def test_the_example_of_a_plugin_works(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"(?ms)^```python\n(.*?)^```", (root / "CONTRIBUTING.md").read_text("utf-8"))
    namespace: dict[str, Any] = {}
    exec(example, namespace)
    (command,) = namespace["PLUGIN"].commands()
    parser = build_parser([CommandGroup(title=namespace["PLUGIN"].name, commands=(command,))])
    assert command.run(parser.parse_args(["greet"])) == 0
    assert capsys.readouterr().out == "hello\n"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_linked_files_exist(document: str, root: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (root / document).read_text("utf-8"))
    assert [link for link in links if not (root / link).exists()] == []
