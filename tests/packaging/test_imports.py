"""Who may import whom, and who may write files: docs/architecture.md held against the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

# Data flows one way: a part imports itself and what stands before it.
ORDER = (
    "errors redaction files quiet paths plugins sentences stats newsworld models data generation lookback judges metrics records "
    "lmeval board api cli __main__"
).split()
PLUGIN_ORDER = (
    "processes models plan placement progress data presets loss soft_labels training dry_run studies commands api plugin"
).split()
WRITERS = {"write_text", "write_bytes"}


def sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "startup" not in path.parts)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def imported_modules(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a file imports, inside functions too."""
    package = list(path.relative_to(root).parent.parts)
    for node in ast.walk(parsed(path)):
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


def wrong_way(folder: Path, root: Path, order: list[str]) -> list[str]:
    """Imports of a part that stands later."""
    wrong = []
    for path in sources(folder):
        part = path.relative_to(folder).with_suffix("").parts[0]
        if part == "__init__":
            continue
        assert part in order, (
            f"{path}: give {folder.name}.{part} a place here and a line in docs/architecture.md"
        )
        for line, name in imported_modules(path, root):
            package, _, rest = name.partition(".")
            target = rest.partition(".")[0]
            if package == folder.name and target in order and order.index(target) > order.index(part):
                wrong.append(f"{path}:{line}: {folder.name}.{part} imports {name}")
    return wrong


def test_parts_import_downwards_only(root: Path) -> None:
    assert wrong_way(root / "harness", root, ORDER) == []


def test_the_plugin_reads_downwards(root: Path) -> None:
    assert wrong_way(root / "plugins" / "harness_kd", root / "plugins", PLUGIN_ORDER) == []


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Modules that import each other, directly or not: what is left when those that import nothing left are taken away."""
    left = {module: set(targets) for module, targets in edges.items()}
    while free := [module for module, targets in left.items() if not targets & left.keys()]:
        for module in free:
            del left[module]
    return [sorted(left)] if left else []


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"e"}, "e": set()}) == [["a", "b", "c"]]


def test_no_file_imports_itself_by_way_of_others(root: Path) -> None:
    paths = {
        ".".join(path.relative_to(base).with_suffix("").parts).removesuffix(".__init__"): (path, base)
        for base, name in ((root, "harness"), (root / "plugins", "harness_kd"))
        for path in sources(base / name)
    }
    edges = {}
    for module, (path, base) in paths.items():
        names = {name for _, name in imported_modules(path, base)} - typing_only(path)
        targets = {name if name in paths else name.rpartition(".")[0] for name in names}
        edges[module] = {target for target in targets if target in paths and target != module}
    assert circles(edges) == []


def typing_only(path: Path) -> set[str]:
    """Names that are imported for type checkers alone, which is no import when the program runs."""
    tree = parsed(path)
    blocks = [
        n for n in ast.walk(tree) if isinstance(n, ast.If) and getattr(n.test, "id", "") == "TYPE_CHECKING"
    ]
    inside = {id(node) for block in blocks for node in ast.walk(block)}
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found[id(node) in inside] |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found[True] - found[False]


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
