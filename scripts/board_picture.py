"""The README's picture of a board: a screenshot of its page.

    python scripts/board_picture.py leaderboards/newsworld.html docs/images/board.png

Needs Chromium with chromedriver and the dev extra.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from selenium import webdriver

from harness.files import write_atomic

WIDTH, HEIGHT = 1180, 1180


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    write_atomic(arguments.picture, screenshot(arguments.page))
    print(f"{arguments.picture}: {arguments.picture.stat().st_size:,} bytes")


def screenshot(page: Path) -> bytes:
    """PNG of the top of a page in light colours."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"):
        options.add_argument(flag)
    service = webdriver.ChromeService(shutil.which("chromedriver") or "chromedriver")
    with webdriver.Chrome(options=options, service=service) as browser:
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(page.resolve().as_uri())
        return bytes(browser.get_screenshot_as_png())


if __name__ == "__main__":
    main()
