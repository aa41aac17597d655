"""Plots: XML, one scale for one unit, labels that keep clear of one another."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest

from harness.board import plots, read_board
from harness.board.plots import MOST_ROWS
from harness.board.svg import axis, shared_axes, shorten, text_width
from harness.board.tradeoff import Box, place_labels, tradeoff
from harness.records import Record

MakeRecord = Callable[..., Record]
WriteBoard = Callable[..., Path]
N = 40
ODD = "<b>&\x01\ufffe \u202e]]>"


def scores(seed: int, faithful: float, overlap: float) -> dict[str, list[float]]:
    generator = np.random.default_rng(seed)
    return {
        "oracle_faithfulness": list((generator.random(N) < faithful).astype(float)),
        "rougeL": list(np.clip(generator.normal(overlap, 0.05, N), 0, 1)),
        "length": list(1.0 + generator.integers(5, 15, N)),
    }


def write(
    make_record: MakeRecord,
    write_board: WriteBoard,
    rows: dict[str, tuple[float, float]],
    pairs: list[list[str]],
) -> Path:
    records = [make_record(name, scores(i, *levels)) for i, (name, levels) in enumerate(rows.items())]
    return write_board(*records, columns=["oracle_faithfulness", "rougeL", "length"], comparisons=pairs)


def test_plots_are_xml_with_a_description(make_record: MakeRecord, write_board: WriteBoard) -> None:
    board = read_board(write(make_record, write_board, {"a": (0.3, 0.5), ODD: (0.7, 0.6)}, [["a", ODD]]))
    files = plots.as_files(board)
    assert set(files) == {".intervals.svg", ".arrows.svg", ".tradeoff.svg"}
    for content in files.values():
        tree = ET.fromstring(content)
        assert tree.get("aria-label")
        assert "nan" not in content
    texts = [node for node in ET.fromstring(files[".intervals.svg"]).iter() if node.tag.endswith("text")]
    shown = ["".join(node.itertext()) for node in texts]
    assert any(
        text.endswith("<b>&\ufffd\ufffd \u202e]]>") for text in shown
    )  # as text, and nothing of it as a tag
    value = board.rows[0].scores["rougeL"]
    assert value is not None
    assert f"{100 * value.value:.1f}" in shown


def test_arrows_of_one_unit_are_drawn_to_one_scale(make_record: MakeRecord, write_board: WriteBoard) -> None:
    rows = {"a": (0.1, 0.5), "b": (0.9, 0.6), "c": (0.4, 0.3)}
    board = read_board(write(make_record, write_board, rows, [["a", "b"], ["a", "c"]]))
    drawings = plots.arrows(board)
    assert [drawing.title.split()[0] for drawing in drawings] == ["oracle_faithfulness", "rougeL", "length"]
    scales = []
    for drawing, key in zip(drawings, ("oracle_faithfulness", "rougeL", "length"), strict=True):
        deltas = [
            found.difference.delta * found.score.scale
            for compared in board.comparisons
            for found in compared.comparison.scores
            if found.key == key and found.difference
        ]
        drawn = arrow_lengths(drawing.marks)
        scales += [(key, pixels / delta) for pixels, delta in zip(drawn, deltas, strict=True)]
    shares = [scale for key, scale in scales if key != "length"]
    words = [scale for key, scale in scales if key == "length"]
    longest = shares[0]  # of a to b in faithfulness, which nearly fills its panel
    assert shares == pytest.approx([longest] * 4, abs=0.1)
    assert min(words) > 5 * longest  # words have a scale of their own
    units = [re.findall(r'text-anchor="end">([^<]*)<', drawing.marks)[0] for drawing in drawings]
    assert units == ["%", "%", "words"]


def arrow_lengths(marks: str) -> list[float]:
    """Signed, from the circle of each arrow to its head's point or to its small dot."""
    starts = re.findall(r'<circle cx="([\d.]+)"[^>]*class="from', marks)
    ends = re.findall(r'<polygon points="([\d.]+),|<circle cx="([\d.]+)"[^>]*r="2.5"', marks)
    return [float(head or point) - float(start) for start, (head, point) in zip(starts, ends, strict=True)]


def test_panels_have_as_many_pixels_to_the_point_and_hold_their_values() -> None:
    generator = np.random.default_rng(0)
    for _ in range(300):
        panels = [list(np.sort(generator.uniform(0, 100, 4))) for _ in range(generator.integers(1, 5))]
        axes = shared_axes(panels, 8, 342, (0.0, 100.0))
        scales = {round((found.end - found.start) / (found.high - found.low), 9) for found in axes}
        assert len(scales) == 1
        for found, values in zip(axes, panels, strict=True):
            assert 8 <= found(values[0]) <= found(values[-1]) <= 342
            ticks = found.ticks()
            assert 2 <= len(ticks) <= 8
            assert found.low <= ticks[0] < ticks[-1] <= found.high
            assert len({round(b - a, 9) for a, b in pairwise(ticks)}) <= 1
        spans = [found.high - found.low for found in axes]
        if max(values[-1] - values[0] for values in panels) < 80:
            assert min(found.low for found in axes) > -0.13 * max(
                spans
            )  # no axis reaches far where no value can be
    assert axis([3.0], 0, 100)(3.0) == 50


def test_no_label_covers_a_dot_or_another_label() -> None:
    generator = np.random.default_rng(1)
    left_out = []
    for count in (1, 5, 20, 60):
        dots = [
            (f"model {i} of {count}", (float(x), float(y)))
            for i, (x, y) in enumerate(generator.uniform((60, 40), (500, 340), (count, 2)))
        ]
        frame = Box(52, 28, 540, 354)
        labels = place_labels(dots, frame)
        left_out.append(count - len(labels))
        boxes = [_box(label) for label in labels]
        assert all(box.within(frame) for box in boxes)
        assert not any(a.meets(b) for a, b in combinations(boxes, 2))
        for _, (x, y) in dots:
            assert not any(box.meets(Box(x - 4.5, y - 4.5, x + 4.5, y + 4.5)) for box in boxes)
        assert place_labels(dots, frame) == labels
    assert left_out[:2] == [0, 0]
    assert left_out[2] <= 2


def _box(label: str) -> Box:
    """As drawn: 12-pixel type, in which few letters hang lower than 3 pixels."""
    found = re.fullmatch(
        r'<text x="([\d.]+)" y="([\d.]+)"(?: text-anchor="(\w+)")?>(?:<title>.*</title>)?(.*)</text>', label
    )
    assert found
    width = text_width(found[4])
    left = float(found[1]) - {None: 0, "middle": width / 2, "end": width}[found[3]]
    return Box(left + 0.1, float(found[2]) - 11.9, left + width - 0.1, float(found[2]) + 2.9)


def test_names_are_cut_in_the_middle_and_kept_whole_in_a_title() -> None:
    assert shorten("short", 100) == "short"
    cut = shorten("organisation/a-very-long-model-name-of-a-model-v12", 150)
    assert cut.startswith("organisa")
    assert cut.endswith("v12")
    assert 100 < text_width(cut) <= 150
    assert shorten("two\nlines", 100) == "two lines"
    assert text_width(shorten("模型名称" * 20, 150)) <= 150


def test_a_plot_of_many_rows_shows_the_first_and_says_so(
    make_record: MakeRecord, write_board: WriteBoard
) -> None:
    generator = np.random.default_rng(2)
    rows = {f"model {i}": tuple(generator.uniform(0.2, 0.9, 2)) for i in range(34)}
    board = read_board(
        write(make_record, write_board, rows, [["model 0", f"model {i}"] for i in range(1, 34)])
    )
    assert all(drawing.title.endswith(f"{MOST_ROWS} rows") for drawing in plots.intervals(board))
    files = plots.as_files(board)
    assert f"The first {MOST_ROWS} of 34 rows." in files[".intervals.svg"]
    assert f"The first {MOST_ROWS} of 33 comparisons." in files[".arrows.svg"]
    (drawing,) = tradeoff(board)
    assert drawing.marks.count("<circle") == 34  # each with its name for who points at it
    assert drawing.marks.count("</title></circle>") == 34
