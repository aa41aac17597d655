"""The page, in a real browser where there is one."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.board import plots, publish, read_board, verify
from harness.board.browser import browser_data
from harness.errors import HarnessError
from harness.records import Document, Record, save_documents

MakeRecord = Callable[..., Record]
WriteBoard = Callable[..., Path]

HOSTILE = "<script>alert(1)</script>"
ARTICLE = "a | b | c\n|---|---|\n`code` **bold** </script><img src=x onerror=alert(2)> & more"
N = 30


@pytest.fixture
def board_path(make_record: MakeRecord, write_board: WriteBoard, tmp_path: Path) -> Path:
    """Thirty documents, three models, one of them with an unpleasant name and lookback windows; and a comparison."""
    documents = [
        Document(doc_id=i, source=f"{ARTICLE} {i}", references=(f"reference {i}",)) for i in range(N)
    ]
    file = save_documents(documents, "made_up", tmp_path / "records")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    faithful = {
        "base": [float(i % 3 == 0) for i in range(N)],
        HOSTILE: [float(i % 4 != 0) for i in range(N)],
        "other": [float(i % 2) for i in range(N)],
    }
    records = {}
    for number, (label, values) in enumerate(faithful.items()):
        columns: dict[str, Any] = {
            "oracle_faithfulness": values,
            "rougeL": [(i % 10 + number) / 12 for i in range(N)],
            "length": [5.0 + i % 7 for i in range(N)],
            "density": [1.0 + i % 5 for i in range(N)],
        }
        record = make_record(label, columns, documents=digest)
        if label == HOSTILE:
            windows = ((0, 8, 0.1), (4, 10, 0.9))
            samples = tuple(replace(sample, lookback_windows=windows) for sample in record.samples)
            record = replace(record, samples=samples)
        records[label] = record
    return write_board(
        records,
        title=f"Board {HOSTILE}",
        columns=["oracle_faithfulness", "rougeL"],
        comparisons=[["base", HOSTILE]],
        notes=["A note with <b>tags</b>."],
    )


def test_texts_are_escaped_and_only_our_script_may_run(board_path: Path) -> None:
    publish(board_path)
    page = board_path.with_suffix(".html").read_text("utf-8")
    assert "<script>alert" not in page
    assert "<img" not in page
    assert page.count("<script") == 2
    assert page.count("</script>") == 2
    code = page.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "default-src 'none'" in page
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert data["documents"][0]["source"].startswith(ARTICLE)
    assert re.findall(r'(?:src|href)="(?!data:|#|records/)', page) == []  # nothing is fetched


def test_a_page_edited_by_hand_does_not_verify(board_path: Path) -> None:
    publish(board_path)
    assert verify(board_path) == 3
    for suffix in (".html", ".intervals.svg"):
        file = board_path.with_suffix(suffix)
        original = file.read_text("utf-8")
        file.write_text(original.replace("73.3", "99.9"), "utf-8")
        with pytest.raises(HarnessError, match=re.escape(suffix)):
            verify(board_path)
        file.write_text(original, "utf-8")


def test_the_page_holds_the_documents_that_differ_first(board_path: Path) -> None:
    board = read_board(board_path)
    small = replace(board, spec=replace(board.spec, samples=6))
    data = browser_data(small)
    assert data["total"] == N
    labels = [row["label"] for row in data["rows"]]
    before, after = labels.index("base"), labels.index(HOSTILE)
    assert data["comparisons"] == [[before, after]]
    changes = [
        doc["answers"][after]["scores"]["oracle_faithfulness"]
        - doc["answers"][before]["scores"]["oracle_faithfulness"]
        for doc in data["documents"]
    ]
    assert changes == [1, -1, 1, -1, 1, -1]


def test_plots_are_xml_with_a_description(board_path: Path) -> None:
    files = plots.as_files(read_board(board_path))
    assert set(files) == {".intervals.svg", ".arrows.svg", ".tradeoff.svg"}
    for content in files.values():
        tree = ET.fromstring(content)
        assert tree.get("aria-label")
        assert "nan" not in content
    texts = [node.text for node in ET.fromstring(files[".intervals.svg"]).iter() if node.tag.endswith("text")]
    assert HOSTILE in texts  # as text, and nothing of it as a tag
    assert "73.3" in texts


def test_a_board_of_one_row_without_documents_has_a_page(
    make_record: MakeRecord, write_board: WriteBoard
) -> None:
    path = write_board({"alone": make_record("alone", {"quality": [0.5, 0.5, 0.5]})})
    publish(path)
    page = path.with_suffix(".html").read_text("utf-8")
    assert "alone" in page
    assert "<h2 id=browse>" not in page
    assert not path.with_suffix(".arrows.svg").exists()


# -- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Headless Chromium."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no Chromium with chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    flags = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
        --disable-component-update --disable-sync --disable-dev-shm-usage""".split()
    for flag in [*flags, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(driver)) as found:
        yield found


def open_page(browser: Any, path: Path, *, width: int = 1200, dark: bool = False) -> None:
    publish(path)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.get(path.with_suffix(".html").as_uri())


def ask(browser: Any, script: str, *arguments: Any) -> Any:
    return browser.execute_script(f"return {script}", *arguments)


LABELS = "[...document.querySelectorAll('table.sortable tbody th')].map(cell => cell.textContent.trim())"


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (1200, True), (390, False), (390, True)])
def test_the_page_fits_every_screen_without_an_error(
    browser: Any, board_path: Path, width: int, dark: bool
) -> None:
    open_page(browser, board_path, width=width, dark=dark)
    assert ask(browser, "document.documentElement.scrollWidth") <= width  # only tables scroll sideways
    background, text = (
        ask(browser, f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color")
    )
    shades = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (background, text)]
    assert (shades[0] < shades[1]) == dark
    assert browser.get_log("browser") == []
    assert ask(browser, "document.querySelector('h1').textContent") == f"Board {HOSTILE}"
    assert ask(browser, "document.querySelectorAll('main script, main img').length") == 0


def test_the_table_is_sorted_by_keyboard(browser: Any, board_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    open_page(browser, board_path)
    head = browser.find_element("xpath", "//table[contains(@class,'sortable')]//button[text()='rougeL']")
    head.send_keys(Keys.ENTER)
    assert ask(browser, LABELS) == ["other", HOSTILE, "base"]
    assert ask(browser, "document.querySelector('th[aria-sort]').getAttribute('aria-sort')") == "descending"
    head.send_keys(Keys.SPACE)
    assert ask(browser, LABELS) == ["base", HOSTILE, "other"]
    browser.find_element("xpath", "//table[contains(@class,'sortable')]//button[text()='rank']").click()
    ranks = (
        "[...document.querySelectorAll('table.sortable tbody td:first-child')].map(cell => cell.textContent)"
    )
    assert ask(browser, ranks) == sorted(ask(browser, ranks))


def test_samples_are_filtered_searched_and_stepped_through(browser: Any, board_path: Path) -> None:
    from selenium.webdriver.support.ui import Select

    open_page(browser, board_path)
    position = "document.getElementById('position').value"
    assert ask(browser, position) == f"1 of {N}"
    browser.find_element("css selector", "body").send_keys("jjk")
    assert ask(browser, position) == f"2 of {N}"
    Select(browser.find_element("id", "filter")).select_by_value("worse")
    worse = sum(i % 3 == 0 and i % 4 == 0 for i in range(N))
    assert ask(browser, position) == f"1 of {worse}"
    Select(browser.find_element("id", "filter")).select_by_value("all")
    browser.find_element("id", "find").send_keys("reference 17")
    assert ask(browser, position) == "1 of 1"
    article = ask(browser, "document.querySelector('.article p').textContent")
    assert article == f"{ARTICLE} 17"


def test_doubtful_windows_are_coloured(browser: Any, board_path: Path) -> None:
    open_page(browser, board_path)
    marks = "[...document.querySelectorAll('.candidate mark')].map(mark => mark.textContent)"
    assert ask(browser, marks) == ["resp"]  # 0.1 alone; where 0.1 and 0.9 overlap the mean is 0.5, no doubt
