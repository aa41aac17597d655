"""The page in Chromium, where there is one."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from harness.board import publish
from harness.records import Document, Record, save_documents

MakeRecord = Callable[..., Record]
WriteBoard = Callable[..., Path]

ODD = '<script>alert("1")</script>, & 100%=1'
SOURCE = "A source \U0001f600 with </script><img src=x onerror=alert(2)> in it"
RESPONSE = "\U0001f600 eight of it and more"
N = 30
ROWS = "[...document.querySelectorAll('table[data-name=results] tbody tr')]"


@pytest.fixture
def board_path(make_record: MakeRecord, write_board: WriteBoard, tmp_path: Path) -> Path:
    """Two tasks and three models; one with an unpleasant name and lookback windows; one failed on every fifth document."""
    records = []
    for task in ("news", "letters"):
        documents = [
            Document(doc_id=i, source=f"{SOURCE} {i}", references=(f"reference {i}",)) for i in range(N)
        ]
        digest = hashlib.sha256(
            save_documents(documents, task, tmp_path / "records").read_bytes()
        ).hexdigest()
        for number, name in enumerate(("base", ODD, "other")):
            generator = np.random.default_rng(number)
            values = {
                "oracle_faithfulness": list((generator.random(N) < 0.3 + number / 5).astype(float)),
                "rougeL": [(i % 10 + number) / 12 for i in range(N)],
                "length": [5.0 + i % 7 for i in range(N)],
            }
            if name == "other":
                values = {
                    key: [None if i % 5 == 0 else v for i, v in enumerate(column)]
                    for key, column in values.items()
                }
            prompt = "Article: {source}\nSummary:"
            record = make_record(name, values, task=task, documents=digest, prompt=prompt)
            if name == ODD:
                samples = [
                    replace(
                        s,
                        response=RESPONSE,
                        lookback_windows=((0, 7, 0.1), (2, 10, 0.9)),
                        unsupported_spans=((0, 1, "name"), (8, 10, "number")),
                        source_chars=10,
                    )
                    for s in record.samples
                ]
                record = replace(record, samples=tuple(samples))
            records.append(record)
    return write_board(
        *records,
        title=f"Board {ODD}",
        columns=["oracle_faithfulness", "rougeL"],
        comparisons=[["base", ODD], ["base", "other"]],
    )


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


def open_page(browser: Any, path: Path, *, width: int = 1280, dark: bool = False, address: str = "") -> None:
    publish(path)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.get("about:blank")
    browser.get(path.with_suffix(".html").as_uri() + address)


def ask(browser: Any, script: str, *arguments: Any) -> Any:
    return browser.execute_script(f"return {script}", *arguments)


def until(browser: Any, script: str, expected: Any) -> None:
    """Addresses change in their own time."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 5).until(
        lambda _: ask(browser, script) == expected, f"{expected}: {ask(browser, script)}"
    )


def find(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def labels(browser: Any) -> list[str]:
    shown = f"{ROWS}.filter(row => !row.hidden).map(row => row.dataset.model)"
    return list(ask(browser, shown))


def choose(browser: Any, name: str, text: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element("id", name)).select_by_visible_text(text)


@pytest.mark.parametrize(
    ("width", "dark"),
    [
        (390, True),
        pytest.param(390, False, marks=pytest.mark.slow),
        pytest.param(1280, False, marks=pytest.mark.slow),
        pytest.param(1280, True, marks=pytest.mark.slow),
    ],
)
def test_the_page_fits_every_screen_and_says_where_there_is_more(
    browser: Any, board_path: Path, width: int, dark: bool
) -> None:
    open_page(browser, board_path, width=width, dark=dark)
    assert browser.get_log("browser") == []
    assert ask(browser, "document.documentElement.scrollWidth") <= width  # only tables scroll sideways
    background, text = (
        ask(browser, f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color")
    )
    shades = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (background, text)]
    assert (shades[0] < shades[1]) == dark
    assert ask(browser, "document.querySelector('h1').textContent") == f"Board {ODD}"
    assert ask(browser, "document.querySelectorAll('main script, main img').length") == 0
    cut = """(() => new Promise(done => requestAnimationFrame(() => setTimeout(() => done(
        [...document.querySelectorAll('.scroll')].map(box =>
          [box.scrollWidth > box.clientWidth + 1, !box.nextElementSibling.hidden]))))))()"""
    boxes = ask(browser, cut)
    assert all(cut_off == said for cut_off, said in boxes)
    assert boxes[0][0] == (width == 390)


@pytest.mark.slow
def test_the_model_stays_while_a_phone_scrolls_by_keyboard(browser: Any, board_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    open_page(browser, board_path, width=390)
    box = find(browser, ".scroll")
    before = ask(browser, f"{ROWS}[0].querySelector('th').getBoundingClientRect().left")
    for _ in range(6):
        box.send_keys(Keys.ARROW_RIGHT)
    moved = "(() => new Promise(done => setTimeout(() => done(document.querySelector('.scroll').scrollLeft), 400)))()"
    assert ask(browser, moved) > 100
    after = ask(browser, f"{ROWS}[0].querySelector('th').getBoundingClientRect().left")
    assert 0 <= after <= before  # it slides over the rank and stays
    right = ask(browser, f"{ROWS}[0].querySelector('th').getBoundingClientRect().right")
    assert ask(browser, f"{ROWS}[0].cells[2].getBoundingClientRect().left") < right  # and scores go under it


@pytest.mark.slow
def test_the_table_is_sorted_by_keyboard(browser: Any, board_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    open_page(browser, board_path)
    (head, *_) = browser.find_elements(
        "xpath", "//table[@data-name='results']//button[normalize-space()='rougeL']"
    )
    head.send_keys(Keys.ENTER)
    assert labels(browser) == ["other", ODD, "base"]
    assert ask(browser, "document.querySelector('th[aria-sort]').getAttribute('aria-sort')") == "descending"
    head.send_keys(Keys.SPACE)
    assert labels(browser) == ["base", ODD, "other"]
    find(browser, "table[data-name=results] th.label button").click()
    assert labels(browser) == [ODD, "base", "other"]


@pytest.mark.slow
def test_columns_and_models_are_picked_and_kept_in_the_address(browser: Any, board_path: Path) -> None:
    heads = """[...document.querySelectorAll('table[data-name=results] thead tr:last-child th')]
        .filter(cell => cell.offsetParent).map(cell => cell.innerText.split('\\n')[0].trim())"""
    groups = """[...document.querySelectorAll('table[data-name=results] thead tr:first-child th.start')]
        .filter(cell => cell.offsetParent).map(cell => [cell.textContent, cell.colSpan])"""
    open_page(browser, board_path)
    everything = ask(browser, heads)
    assert len(everything) == 6
    find(browser, ".picker summary").click()
    find(browser, "input[value='news/rougeL']").click()
    for key in ("oracle_faithfulness", "rougeL"):
        find(browser, f"input[value='letters/{key}']").click()
    assert ask(browser, heads) == everything[:3]
    assert ask(browser, groups) == [["news", 1]]
    find(browser, "#model").send_keys("alert")
    assert labels(browser) == [ODD]
    assert ask(browser, "document.getElementById('models').value") == "1 of 3 models"
    address = ask(browser, "location.hash")
    open_page(browser, board_path, address=address)
    assert ask(browser, heads) == everything[:3]
    assert labels(browser) == [ODD]
    find(browser, "#model").clear()
    find(browser, "#model").send_keys("x")
    assert labels(browser) == []


@pytest.mark.slow
def test_samples_are_listed_sorted_filtered_and_searched(browser: Any, board_path: Path) -> None:
    position = "document.getElementById('position').value"
    listed = (
        "[...document.getElementById('list').rows].map(row => [...row.cells].map(cell => cell.textContent))"
    )
    open_page(browser, board_path)
    assert ask(browser, position) == f"1 of {N}"
    find(browser, "body").send_keys("jjk")
    assert ask(browser, position) == f"2 of {N}"
    choose(browser, "score", "rougeL")
    find(browser, "[data-by=after]").click()
    rows = ask(browser, listed)
    after = [float(row[2]) for row in rows]
    assert after == sorted(after, reverse=True)
    assert {row[3] for row in rows} == {"+8.3"}  # one twelfth
    find(browser, "[data-by=after]").click()
    assert [float(row[2]) for row in ask(browser, listed)] == after[::-1]
    choose(browser, "candidate", "other")
    choose(browser, "filter", "unanswered or failed")
    assert sorted(int(row[0]) for row in ask(browser, listed)) == list(range(0, N, 5))
    assert {row[2] for row in ask(browser, listed)} == {"–"}
    assert "failed" in ask(browser, "document.querySelector('.card.candidate .chips').textContent")
    choose(browser, "filter", "all")
    find(browser, "#find").send_keys("reference 17")
    assert ask(browser, position) == "1 of 1"
    assert ask(browser, "document.querySelector('.article p').textContent") == f"{SOURCE} 17"
    choose(browser, "task", "letters")
    assert ask(browser, "location.hash").startswith("#sample=letters/17&")


@pytest.mark.slow
def test_a_link_leads_to_one_sample_and_back(browser: Any, board_path: Path) -> None:
    shown = """[document.querySelector('.article h3').textContent, document.querySelector('.card.candidate h3 b').textContent,
        document.querySelector('.card.baseline h3 b').textContent, document.getElementById('task').selectedOptions[0].text]"""
    pair = f"{quote('other', safe='')},{quote(ODD, safe='')}"
    open_page(browser, board_path, address=f"#sample=letters/12&pair={pair}")
    assert ask(browser, shown) == ["Source 12", ODD, "other", "letters"]
    assert ask(browser, "scrollY") > 0
    first = f"{shown}[0]"
    find(browser, "#list tr[data-id='20'] a").click()
    until(browser, first, "Source 20")
    find(browser, "#next").click()
    assert ask(browser, first) != "Source 20"
    ask(browser, "history.back()")
    until(browser, first, "Source 20")
    ask(browser, "history.back()")
    until(browser, shown, ["Source 12", ODD, "other", "letters"])
    ask(browser, "history.forward()")
    until(browser, first, "Source 20")
    for broken in ("#sample=letters/999", "#sample=%E0%A4%A/1&pair=,", "#hide=%&model=%"):
        open_page(browser, board_path, address=broken)
        assert ask(browser, shown)[0].startswith("Source ")
        assert browser.get_log("browser") == []


@pytest.mark.slow
def test_doubtful_windows_are_coloured_by_character_and_prompts_are_those_seen(
    browser: Any, board_path: Path
) -> None:
    open_page(browser, board_path)
    marks = "[...document.querySelectorAll('.candidate mark:not(.unheld)')].map(mark => mark.textContent)"
    assert (
        "".join(ask(browser, marks)) == RESPONSE[:2]
    )  # 0.1 alone; where 0.1 and 0.9 overlap the mean is 0.5, no doubt
    assert ask(browser, "document.getElementById('colours').hidden") is False
    assert "1 of 2 windows below 0.5" in ask(
        browser, "document.querySelector('.candidate .chips').textContent"
    )
    prompts = (
        "[...document.querySelectorAll('.candidate .prompt p, .baseline .prompt p')].map(p => p.textContent)"
    )
    source = ask(browser, "document.querySelector('.article p').textContent")
    expected = [f"Article: {SOURCE[:10]}\nSummary:", f"Article: {source}\nSummary:"]
    assert ask(browser, prompts) == expected


@pytest.mark.slow
def test_what_the_source_does_not_hold_is_underlined(browser: Any, board_path: Path) -> None:
    open_page(browser, board_path)
    marks = "[...document.querySelectorAll('.candidate .unheld')].map(mark => [mark.textContent, mark.title])"
    assert ask(browser, marks) == [
        [RESPONSE[:1], "a name that the source does not hold"],
        [RESPONSE[8:10], "a number that the source does not hold"],
    ]
    # the first stands in a doubtful window too, and keeps its colour
    assert ask(browser, "document.querySelector('.candidate .unheld mark').title").startswith("mean window")
    assert ask(browser, "document.querySelector('.candidate p').textContent") == RESPONSE
    assert ask(browser, "document.getElementById('unheld').hidden") is False
    assert "2 not in the source" in ask(browser, "document.querySelector('.candidate .chips').textContent")


@pytest.mark.slow
def test_without_scripts_all_numbers_are_there(browser: Any, board_path: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        open_page(browser, board_path)
        assert "needs JavaScript" in find(browser, "#samples noscript").text
        assert not find(browser, ".controls").is_displayed()
        assert len(browser.find_elements("css selector", "table[data-name=results] tbody tr")) == 3
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
