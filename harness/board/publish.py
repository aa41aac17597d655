"""Writing a board's files, and holding them against its records.

What stands outside the markers in the markdown file belongs to its author and is never touched. Nothing is written before
everything is computed, and no file takes its place before all are on disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from harness.board import plots
from harness.board.export import (
    as_csv,
    as_json,
    content,
    csv_cells,
    csv_differences,
    json_differences,
    text_differences,
)
from harness.board.markdown import render
from harness.board.page import as_html
from harness.board.spec import BoardSpec, as_text, check, read_spec
from harness.board.table import Board, build
from harness.errors import HarnessError
from harness.files import atomic_writer

START, END = "<!-- LEADERBOARD_START -->", "<!-- LEADERBOARD_END -->"


def publish(path: Path, *, new: BoardSpec | None = None, workers: int = 1) -> Path:
    """Write the board of a specification between the markers of the markdown file beside it, and return that file.

    Args:
        path: Of the specification.
        new: The specification, where it is to be written too; ``path`` must not be there yet.
        workers: Processes to read records with.

    Raises:
        HarnessError: If the file exists without the two markers, or anything behind the board is missing, damaged or edited.
    """
    if new is not None:
        HarnessError.raise_for([f"{path}: {problem}" for problem in check(new)], "Correct the options.")
    spec = read_spec(path) if new is None else new
    board = build(spec, path.parent, workers=workers)
    target = path.with_suffix(".md")
    text = _markdown(target) if target.exists() else f"# {board.spec.title}\n\n{START}\n{END}\n"
    before, _, after = _split(text, target)
    files = texts(board)
    shown = f"{before}{START}\n{render(board, pictures(path, files))}{END}{after}"
    wanted = {path.with_suffix(suffix): written for suffix, written in files.items()} | {target: shown}
    if new is not None:
        wanted[path] = as_text(spec)
    with ExitStack() as stack:
        for file, written in wanted.items():
            stack.enter_context(atomic_writer(file)).write(written.encode())
    return target


def texts(board: Board) -> dict[str, str]:
    """Suffix -> content of each file beside the markdown."""
    files = {
        ".csv": as_csv(csv_cells(board)),
        ".results.json": as_json(content(board)),
        ".html": as_html(board),
    }
    return files | plots.as_files(board)


def verify(path: Path, *, workers: int = 1) -> Board:
    """Recompute every cell of a board from its records.

    Returns:
        The board as its records give it.

    Raises:
        HarnessError: If a file differs, with the first places that do.
    """
    board = build(read_spec(path), path.parent, workers=workers)
    target = path.with_suffix(".md")
    _, shown, _ = _split(_read(target, path), target)
    drawn = {".html": as_html(board), **plots.as_files(board)}
    names = pictures(path, (".csv", ".results.json", *drawn))
    _require(target, text_differences(shown, "\n" + render(board, names)), path)
    for suffix, expected in drawn.items():
        file = path.with_suffix(suffix)
        _require(file, text_differences(_read(file, path), expected), path)
    data = path.with_suffix(".results.json")
    _require(data, json_differences(_read(data, path), content(board)), path)
    sheet = path.with_suffix(".csv")
    _require(sheet, csv_differences(_read(sheet, path), csv_cells(board)), path)
    return board


def pictures(path: Path, files: Iterable[str]) -> list[str]:
    """Names of the plots among a board's files."""
    return [f"{path.stem}{suffix}" for suffix in files if suffix.endswith(".svg")]


def _read(file: Path, spec: Path) -> str:
    if not file.is_file():
        raise HarnessError(f"{file}: no such file", f"Make it: harness publish {spec}")
    return _markdown(file)


def _markdown(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise HarnessError(
            f"{file}: not UTF-8 ({error.reason})", "Restore it from version control."
        ) from error


def _require(file: Path, differences: Iterator[str], spec: Path) -> None:
    found = list(islice(differences, 8))
    if found:
        raise HarnessError(
            f"{file}: differs from its records:\n" + "\n".join(found),
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
