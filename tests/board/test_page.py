"""The page as text: what it shows, that nothing in it is taken for markup, and that no last bit changes it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.board import plots, publish, read_board, sample_browser, verify
from harness.board.cited import CitedRow, CitedTable
from harness.board.page import as_html
from harness.board.sample_browser import browser_data, chosen_rows
from harness.board.table import Board
from harness.board.views import relative_link
from harness.errors import HarnessError
from harness.records import Document, Record, save_documents

MakeRecord = Callable[..., Record]
WriteBoard = Callable[..., Path]

HOSTILE = "\"><script>alert(1)</script>'`](javascript:alert(2))|\n\u202edesrever {{ 7*7 }} &amp; </title>"
ARTICLE = "a | b | c\n|---|---|\n`code` **bold** </script><img src=x onerror=alert(2)> & more"
N = 30


def save_texts(folder: Path, task: str, n: int = N, source: str = ARTICLE) -> str:
    """The hash of a documents file."""
    documents = [Document(doc_id=i, source=f"{source} {i}", references=(f"reference {i}",)) for i in range(n)]
    return hashlib.sha256(save_documents(documents, task, folder / "records").read_bytes()).hexdigest()


def columns(number: int, n: int = N) -> dict[str, list[float | None]]:
    generator = np.random.default_rng(number)
    return {
        "oracle_faithfulness": list((generator.random(n) < 0.3 + number / 5).astype(float)),
        "rougeL": list(generator.beta(5, 5 - number, n)),
        "length": list(5.0 + generator.integers(0, 7, n)),
        "density": list(1 + generator.random(n)),
    }


@pytest.fixture
def board_path(make_record: MakeRecord, write_board: WriteBoard, tmp_path: Path) -> Path:
    """Thirty documents and three models, one with an unpleasant name, lookback windows and unsupported items; a comparison."""
    digest = save_texts(tmp_path, "made_up")
    records = [make_record(name, columns(i), documents=digest) for i, name in enumerate(("base", "other"))]
    odd = make_record("odd " + HOSTILE, columns(2), documents=digest)
    windows = ((0, 8, 0.1), (4, 10, 0.9))
    spans = ((0, 3, "name"), (5, 7, "date"))
    samples = tuple(
        replace(sample, lookback_windows=windows, unsupported_spans=spans) for sample in odd.samples
    )
    return write_board(
        *records,
        replace(odd, samples=samples),
        title=f"Board {HOSTILE}",
        columns=["oracle_faithfulness", "rougeL"],
        comparisons=[["base", "odd " + HOSTILE]],
        notes=[f"A note with <b>tags</b> {HOSTILE}"],
    )


class Page(HTMLParser):
    """Tags, links, attributes and texts as a parser sees them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] not in (["script"], ["style"]):
            self.texts.append(data)

    @property
    def links(self) -> list[str]:
        return [value for name, value in self.attributes if name in ("href", "src", "action", "xlink:href")]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def spoiled(value: Any) -> Any:
    """A board with hostile text in every text that it shows, whoever wrote it; keys by which it is put together stay."""
    if isinstance(value, str):
        return f"{value} {HOSTILE}"
    if isinstance(value, Mapping):
        return {key: spoiled(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(spoiled, value))
    return value


def spoil(board: Board) -> Board:
    rows = []
    for row in board.rows:
        entries = {}
        for task, entry in row.entries.items():
            origin = {
                name: spoiled(value) if name != "date" else value
                for name, value in entry.record.provenance.items()
            }
            entries[task] = replace(
                entry,
                path=f"javascript:alert(1)//{HOSTILE}",
                record=replace(entry.record, provenance=origin, task_version=spoiled("1.0")),
            )
        rows.append(replace(row, entries=entries, label=spoiled(row.label), footnotes=(1,)))
    table = CitedTable(
        title=HOSTILE,
        source=HOSTILE,
        url="javascript:alert(1)",
        accessed=HOSTILE,
        how=HOSTILE,
        columns=[HOSTILE],
        rows=[CitedRow(label=HOSTILE, values=[HOSTILE])],
        notes=[HOSTILE],
    )
    return replace(
        board,
        spec=replace(board.spec, samples=0),
        columns=tuple(
            replace(c, signature=spoiled(c.signature), score=replace(c.score, title=HOSTILE))
            for c in board.columns
        ),
        rows=tuple(rows),
        footnotes=(HOSTILE,),
        readers={HOSTILE: (HOSTILE,)},
        cited=(table,),
    )


def test_hostile_text_in_every_field_stays_text(board_path: Path) -> None:
    board = read_board(board_path)
    clean, page = Page(as_html(board)), Page(as_html(spoil(board)))
    assert set(page.tags) <= set(clean.tags) | {"ol", "li", "sup"}
    assert page.tags.count("script") == 2
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert all(re.match(r"#|data:,$|javascript%3A", link) for link in page.links), page.links
    assert page.text.count("<script>alert(1)</script>'`](javascript:alert(2))|") > 30
    assert page.text.count("desrever {{ 7*7 }} &amp; </title>") > 30  # and no text a template


def test_hostile_names_of_tasks_and_scores_stay_text(
    make_record: MakeRecord, write_board: WriteBoard, tmp_path: Path
) -> None:
    odd = HOSTILE.replace("/", "")
    records = []
    for task in (odd, "other"):
        digest = save_texts(tmp_path, task)
        values = {f"key {odd}": [0.1, 0.9] * (N // 2)}
        records += [make_record(name, values, task=task, documents=digest) for name in ("a", "b")]
    path = write_board(*records, columns=[f"key {odd}"], comparisons=[["a", "b"]])
    publish(path)
    page = Page(path.with_suffix(".html").read_text("utf-8"))
    assert page.tags.count("script") == 2
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert len([link for link in page.links if link.startswith("records/")]) == 4
    for suffix in (".intervals.svg", ".arrows.svg"):
        assert "script>alert" in "".join(
            ET.fromstring(path.with_suffix(suffix).read_text("utf-8")).itertext()
        )
    assert len(verify(path).rows) == 2


def test_only_our_script_may_run_and_nothing_is_fetched(board_path: Path) -> None:
    publish(board_path)
    text = board_path.with_suffix(".html").read_text("utf-8")
    page = Page(text)
    code = text.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    (policy,) = [value for _, value in page.attributes if value.startswith("default-src 'none'")]
    assert f"script-src 'sha256-{digest}'" in policy
    assert "img" not in page.tags
    assert all(re.match(r"#|data:,$|records/", link) for link in page.links)
    for link in page.links:
        if link.startswith("records/"):
            assert (board_path.parent / link).is_file()
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    assert data["tasks"][0]["documents"][0]["source"].startswith(ARTICLE)


@pytest.mark.parametrize(
    ("path", "link"),
    [
        ("records/a b-1.jsonl", "records/a%20b-1.jsonl"),
        ("javascript:alert(1)", "javascript%3Aalert%281%29"),
        ("https://x.org/a", "https%3A/x.org/a"),
        ("//x.org/a", ""),
        ("/etc/passwd", ""),
        ("a/../../b", ""),
        ("\\\\x.org\\a?b#c", "%5C%5Cx.org%5Ca%3Fb%23c"),
        ("", ""),
    ],
)
def test_a_link_is_relative_and_has_no_scheme(path: str, link: str) -> None:
    assert relative_link(path) == link


def test_a_page_edited_by_hand_does_not_verify(board_path: Path) -> None:
    publish(board_path)
    assert len(verify(board_path).rows) == 3
    shown = re.search(r">(\d\d\.\d)<small>", board_path.with_suffix(".html").read_text("utf-8"))
    assert shown
    for suffix in (".html", ".intervals.svg"):
        file = board_path.with_suffix(suffix)
        original = file.read_text("utf-8")
        assert shown[1] in original
        file.write_text(original.replace(shown[1], "99.9"), "utf-8")
        with pytest.raises(HarnessError, match=re.escape(suffix)):
            verify(board_path)
        file.write_text(original, "utf-8")


def shaken(value: Any, generator: np.random.Generator) -> Any:
    """The same with every number that is computed moved by some units in its last place."""
    if isinstance(value, float) and not value.is_integer():
        return value * (1 + float(generator.integers(-4, 5)) * 2**-52)
    if is_dataclass(value) and not isinstance(value, type):
        kept = ("record", "spec", "folder", "cited")
        changes = {
            field.name: shaken(getattr(value, field.name), generator)
            for field in fields(value)
            if field.name not in kept
        }
        return replace(value, **changes)
    if isinstance(value, Mapping):
        return {key: shaken(inner, generator) for key, inner in value.items()}
    if isinstance(value, tuple):
        return tuple(shaken(inner, generator) for inner in value)
    return value


def test_no_last_bit_changes_the_page_or_a_plot(board_path: Path) -> None:
    board = read_board(board_path)
    page, drawn = as_html(board), plots.as_files(board)
    for seed in range(5):
        other = shaken(board, np.random.default_rng(seed))
        assert other.rows != board.rows
        assert as_html(other) == page
        assert plots.as_files(other) == drawn
    numbers = re.findall(
        r"\d+\.\d+", re.sub(r"<code>.*?</code>|<(script|style).*?</\1>", "", page, flags=re.DOTALL)
    )
    assert max(len(number.partition(".")[2]) for number in numbers) <= 4


# -- what it says ----------------------------------------------------------------------------------------------------


def test_scores_are_grouped_by_what_they_speak_of(board_path: Path) -> None:
    page = Page(as_html(read_board(board_path)))
    assert (
        "Faithfulness oracle_ faithfulness Overlap with references rougeL Judge none: every score follows a rule"
        in page.text
    )
    assert "No faithfulness score" not in page.text


def test_a_board_without_faithfulness_says_so_and_calls_no_encoder_a_judge(
    make_record: MakeRecord, write_board: WriteBoard
) -> None:
    board = read_board(write_board(make_record("a", {"rougeL": [0.5] * 12}), columns=["rougeL"]))
    board = replace(board, readers={"encoder": ("roberta-large@8",)})
    page = Page(as_html(board))
    assert "No faithfulness score was measured:" in page.text
    assert "Encoder roberta-large@8" in page.text
    assert "Judge" not in page.text


def test_published_elsewhere_and_gold_rows_are_marked(
    make_record: MakeRecord, write_board: WriteBoard
) -> None:
    scores = {"quality": [0.2, 0.4] * 10}
    theirs = {"measured": "elsewhere", "source": "their table", "url": "https://x.org"}
    board = read_board(
        write_board(
            make_record("ours", scores),
            make_record("theirs", {"quality": [0.3, 0.5] * 10}, provenance=theirs, task="their_own"),
            make_record("truth", {"quality": [0.4, 0.6] * 10}, provenance={"backend": "harness-gold"}),
        )
    )
    page = Page(as_html(board))
    assert re.search(r"theirs 2? ?\d published elsewhere", page.text)
    assert re.search(r"truth \d gold", page.text)
    assert "every score follows a rule" not in page.text  # who knows by what others scored
    assert "“Published elsewhere”: scores that others published, not measured here." in page.text


@pytest.fixture
def several(make_record: MakeRecord, write_board: WriteBoard, tmp_path: Path) -> Board:
    """Two tasks; one model has one of them only."""
    records = []
    for task, names in (("news", ("a", "b")), ("questions", ("a",))):
        digest = save_texts(tmp_path, task)
        records += [
            make_record(name, columns(i), task=task, documents=digest) for i, name in enumerate(names)
        ]
    return read_board(
        write_board(*records, columns=["oracle_faithfulness", "rougeL"], comparisons=[["a", "b"]])
    )


def rows_of(html: str, name: str) -> list[list[str]]:
    table = html.split(f'data-name="{name}"')[1].split("</table>")[0]
    lines = [
        re.findall(r"<t[hd].*?</t[hd]>", line, re.DOTALL)
        for line in re.findall(r"<tr.*?</tr>", table, re.DOTALL)
    ]
    return [[Page(cell).text for cell in line] for line in lines]


def test_several_tasks_stand_side_by_side_with_a_dash_where_a_model_has_none(several: Board) -> None:
    html = as_html(several)
    groups, heads, *rows = rows_of(html, "results")
    assert groups == ["", "", "news", "questions"]
    keys = [head.split()[0] for head in heads]
    assert keys == ["rank", "model", "oracle_", "rougeL", "oracle_", "rougeL"]
    assert {row[1]: [cell == "–" for cell in row[2:]] for row in rows} == {
        "a": [False] * 4,
        "b": [False, False, True, True],
    }
    groups, heads, *rows = rows_of(html, "answers")
    assert groups == ["", "news", "questions"]
    assert [head.split()[0] for head in heads[1:7]] == ["n", "failed", "answer_", "length", "density", "n"]
    assert {row[0]: row[6:] for row in rows}["b"] == ["–"] * 5
    assert [task["name"] for task in browser_data(several)["tasks"]] == ["news", "questions"]
    assert "on oracle_faithfulness" in html


def test_failures_are_counted_beside_the_common_documents(
    make_record: MakeRecord, write_board: WriteBoard, tmp_path: Path
) -> None:
    digest = save_texts(tmp_path, "made_up")
    some: dict[str, list[float | None]] = {
        key: [None if i % 3 == 0 else value for i, value in enumerate(values)]
        for key, values in columns(1).items()
    }
    silent = {key: [None] * N for key in columns(2)}
    names = {"base": columns(0), "some": some, "silent": silent}
    path = write_board(
        *(make_record(name, scores, documents=digest) for name, scores in names.items()),
        columns=["oracle_faithfulness"],
        comparisons=[["base", "some"], ["base", "silent"]],
    )
    page = Page(as_html(read_board(path)))
    assert "failures counted: 0 and 10 of 30" in page.text
    assert "failures counted: 0 and 30 of 30" in page.text
    assert "a failed document counts as the worst score there" in page.text
    assert "n/a" in page.text  # silent against base: nothing is detectable on no common document
    assert not re.search(r"\bnan\b", page.text, re.IGNORECASE)
    (row,) = [row for row in rows_of(as_html(read_board(path)), "results") if row[1].startswith("silent")]
    assert row[2:5] == ["–", "30", "30"]
    data = browser_data(read_board(path))
    position = [row["label"] for row in data["rows"]].index("silent")
    answers = [document["answers"][position] for document in data["tasks"][0]["documents"]]
    assert all(answer["scores"] == [None] for answer in answers)


def test_a_board_of_one_row_without_documents_has_a_page(
    make_record: MakeRecord, write_board: WriteBoard
) -> None:
    path = write_board(make_record("alone", {"quality": [0.5, 0.5, 0.5]}))
    publish(path)
    page = Page(path.with_suffix(".html").read_text("utf-8"))
    assert "alone" in page.text
    assert "No ranks: they need" in page.text
    assert ("id", "browser") not in page.attributes
    assert not path.with_suffix(".arrows.svg").exists()


# -- samples ---------------------------------------------------------------------------------------------------------


def test_the_page_holds_the_documents_that_differ_first(board_path: Path) -> None:
    board = read_board(board_path)
    small = replace(board, spec=replace(board.spec, samples=6))
    data = browser_data(small)
    labels = [row["label"] for row in data["rows"]]
    before, after = labels.index("base"), labels.index("odd " + HOSTILE)
    assert data["comparisons"] == [[before, after]]
    (task,) = data["tasks"]
    assert task["total"] == N
    changes = [
        doc["answers"][after]["scores"][0] - doc["answers"][before]["scores"][0] for doc in task["documents"]
    ]
    lost = changes.count(-1)
    assert changes[: 2 * lost] == [1, -1] * lost
    assert len(changes) == 6
    assert (
        "6 of 30 documents, those on which the first comparison differs first." in Page(as_html(small)).text
    )


def test_a_page_stays_small(board_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = read_board(board_path)
    whole = browser_data(board)
    size = len(json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode())
    monkeypatch.setattr(sample_browser, "BUDGET", size // 2)
    half = browser_data(board)
    shown = half["tasks"][0]["documents"]
    assert N // 3 < len(shown) < N
    assert shown == whole["tasks"][0]["documents"][: len(shown)]
    assert len(json.dumps(half, ensure_ascii=False, separators=(",", ":")).encode()) < size // 2 + 1000
    monkeypatch.setattr(sample_browser, "MOST_MODELS", 2)
    assert {row.label for row in chosen_rows(board)} == {"base", "odd " + HOSTILE}
    assert "Responses of 2 of 3 models." in Page(as_html(board)).text


def test_each_answer_leads_to_the_prompt_that_the_model_saw(
    make_record: MakeRecord, write_board: WriteBoard, tmp_path: Path
) -> None:
    digest = save_texts(tmp_path, "made_up", source="The source \U0001f600 text")
    plain = make_record("plain", columns(0), documents=digest, prompt="Article: {source}\nSummary:")
    shots = tuple(
        replace(
            sample,
            prompt=f"Example {sample.doc_id}. {{source}}",
            source_chars=13 if sample.doc_id % 2 else None,
        )
        for sample in plain.samples
    )
    chat = replace(plain, model="chat", samples=shots)
    chat = replace(
        chat, provenance={**chat.provenance, "model": {"name": "chat", "weights_sha256": "00" * 32}}
    )
    board = read_board(write_board(plain, chat, columns=["oracle_faithfulness"]))
    data = browser_data(board)
    (task,) = data["tasks"]
    for document in task["documents"]:
        for row, answer in zip(data["rows"], document["answers"], strict=True):
            source = document["source"][: answer.get("seen")]
            record = {"plain": plain, "chat": chat}[row["label"]]
            expected = record.prompt_of(record.samples[document["id"]], document["source"])
            assert task["prompts"][answer["prompt"]].replace("{source}", source) == expected


def tagged(html: str, tag: str) -> Iterator[str]:
    return (match[0] for match in re.finditer(rf"<{tag}\b.*?</{tag}>", html, re.DOTALL))


def test_highlights_have_a_legend(board_path: Path) -> None:
    html = as_html(read_board(board_path))
    assert len(list(tagged(html, "mark"))) == 5
    assert "a name, number or date that the source does not hold" in Page(html).text
    answers = [
        answer
        for task in browser_data(read_board(board_path))["tasks"]
        for d in task["documents"]
        for answer in d["answers"]
    ]
    assert [answer["unsupported"] for answer in answers if "unsupported" in answer] == 30 * [
        [[0, 3, "name"], [5, 7, "date"]]
    ]
    assert len(answers) == 90
    assert "mean probability of being factual below 0.5" in Page(html).text
