"""Writing a board's files, and holding them against its records.

What stands outside the markers in the markdown file belongs to its author and is never touched.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from harness.board import plots
from harness.board.data import as_csv, as_json
from harness.board.markdown import render
from harness.board.page import as_html
from harness.board.table import Board, read_board
from harness.errors import HarnessError
from harness.files import write_atomic

START, END = "<!-- LEADERBOARD_START -->", "<!-- LEADERBOARD_END -->"


def outputs(board: Board) -> dict[str, str]:
    """Suffix -> content of each file beside the markdown; each is verified whole."""
    files = {".csv": as_csv(board), ".results.json": as_json(board), ".html": as_html(board)}
    return files | plots.as_files(board)


def publish(path: Path) -> Path:
    """Write the board of a specification between the markers of the markdown file beside it, and return that file.

    Raises:
        HarnessError: If the file exists without the two markers, or anything behind the board is missing, damaged or edited.
    """
    board = read_board(path)
    target = path.with_suffix(".md")
    text = target.read_text("utf-8") if target.exists() else f"# {board.spec.title}\n\n{START}\n{END}\n"
    before, _, after = _split(text, target)
    files = outputs(board)
    write_atomic(target, f"{before}{START}\n{render(board, _pictures(path, files))}{END}{after}")
    for suffix, content in files.items():
        write_atomic(path.with_suffix(suffix), content)
    return target


def verify(path: Path) -> int:
    """Recompute every cell of a board from its records and return the number of records behind it.

    Raises:
        HarnessError: If a file differs, with the first lines that do.
    """
    board = read_board(path)
    target = path.with_suffix(".md")
    _, shown, _ = _split(_read(target, path), target)
    files = outputs(board)
    _require_equal(target, shown, "\n" + render(board, _pictures(path, files)), path)
    for suffix, content in files.items():
        file = path.with_suffix(suffix)
        _require_equal(file, _read(file, path), content, path)
    return len(board.rows)


def _pictures(path: Path, files: Iterable[str]) -> list[str]:
    return [f"{path.stem}{suffix}" for suffix in files if suffix.endswith(".svg")]


def _read(file: Path, spec: Path) -> str:
    if not file.is_file():
        raise HarnessError(f"{file}: no such file", f"Make it: harness publish {spec}")
    return file.read_bytes().decode("utf-8")


def _require_equal(file: Path, shown: str, expected: str, spec: Path) -> None:
    if shown == expected:
        return
    changed = difflib.unified_diff(
        shown.splitlines(), expected.splitlines(), "board", "records", lineterm="", n=0
    )
    lines = [line if len(line) <= 300 else line[:300] + "..." for line in list(changed)[2:10]]
    raise HarnessError(
        f"{file}: differs from its records:\n" + ("\n".join(lines) or "(line ends)"),
        f"Never edit a published board; write it again: harness publish {spec}",
    )


def _split(text: str, path: Path) -> tuple[str, str, str]:
    if text.count(START) != 1 or text.count(END) != 1 or text.index(START) > text.index(END):
        raise HarnessError(
            f"{path}: needs the lines {START} and {END}, once each", "Add them where the board is to stand."
        )
    before, rest = text.split(START)
    shown, after = rest.split(END)
    return before, shown, after
