"""Who may import whom, and who may write files: docs/architecture.md held against the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

# Data flows one way: a part imports itself, its own rank and what is below.
RANKS = {
    "errors": 0,
    "files": 0,
    "quiet": 0,
    "paths": 0,
    "plugins": 0,
    "prompts": 0,
    "models": 1,
    "generation": 2,
    "lookback": 2,
    "newsworld": 2,
    "judges": 2,
    "metrics": 2,
    "stats": 2,
    "records": 3,
    "lmeval": 4,
    "board": 5,
    "api": 6,
    "cli": 7,
    "__main__": 8,
}
WRITERS = {"write_text", "write_bytes"}


def sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "startup" not in path.parts)


def imported_modules(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a file imports, inside functions too."""
    package = list(path.relative_to(root).parent.parts)
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def test_the_walk_sees_every_form_of_import(tmp_path: Path) -> None:
    (tmp_path / "harness" / "stats").mkdir(parents=True)
    path = tmp_path / "harness" / "stats" / "x.py"
    path.write_text("import a.b\nfrom c import d\ndef f():\n    from . import e\n    from ..g import h\n")
    assert [name for _, name in imported_modules(path, tmp_path)] == [
        "a.b",
        "c.d",
        "harness.stats.e",
        "harness.g.h",
    ]


def test_the_harness_never_imports_the_plugin(root: Path) -> None:
    wrong = [
        f"{path}:{line} imports {name}"
        for path in sources(root / "harness")
        for line, name in imported_modules(path, root)
        if name.split(".")[0] == "harness_kd"
    ]
    assert not wrong


def test_only_lmeval_imports_lm_eval(root: Path) -> None:
    importers = {
        path.relative_to(root)
        for folder in (root / "harness", root / "plugins")
        for path in sources(folder)
        for _, name in imported_modules(path, root)
        if name.split(".")[0] == "lm_eval"
    }
    assert {path for path in importers if path.parts[:2] != ("harness", "lmeval")} == set()


def test_parts_import_downwards_only(root: Path) -> None:
    wrong = []
    for path in sources(root / "harness"):
        part = path.relative_to(root / "harness").with_suffix("").parts[0]
        if part == "__init__":
            continue
        assert part in RANKS, f"{path}: give harness.{part} a rank here and a line in docs/architecture.md"
        for line, name in imported_modules(path, root):
            target = name.split(".")[1] if name.startswith("harness.") else part
            if RANKS.get(target, 0) > RANKS[part]:
                wrong.append(f"{path}:{line}: harness.{part} imports {name}")
    assert not wrong, "\n".join(wrong)


def opens_for_writing(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute) and node.func.attr in WRITERS:
        return True
    name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    arguments = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
    modes = [argument.value for argument in arguments if isinstance(argument, ast.Constant)]
    return name == "open" and any(
        isinstance(mode, str) and set(mode) & set("wax+") and len(mode) < 4 for mode in modes
    )


@pytest.mark.parametrize(
    ("code", "writes"),
    [
        ("open(p, 'wb')", True),
        ("open(p, mode='a')", True),
        ("p.open('w')", True),
        ("p.write_text(t)", True),
        ("open(p)", False),
        ("p.open('rb')", False),
    ],
)
def test_writing_is_recognised(code: str, writes: bool) -> None:
    assert any(opens_for_writing(node) for node in ast.walk(ast.parse(code))) == writes


def test_files_are_written_through_harness_files(root: Path) -> None:
    wrong = [
        f"{path}:{node.lineno}"  # type: ignore[attr-defined]
        for folder in (root / "harness", root / "plugins")
        for path in sources(folder)
        if path != root / "harness" / "files.py"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if opens_for_writing(node)
    ]
    assert not wrong, f"use harness.files instead: {wrong}"
