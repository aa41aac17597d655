"""The README's picture of a board: its page's verdict, table and arrows, in light colours.

    python scripts/board_picture.py leaderboards/newsworld.html docs/images/board.png

Needs Chromium with chromedriver and the dev extra.
"""

from __future__ import annotations

import argparse
import base64
import shutil
from pathlib import Path

from selenium import webdriver

from harness.files import write_atomic

WIDTH = 1280

# What a picture cannot do is left out of it: controls, and all that follows the table but the plot.
CROP = """
const plot = document.getElementById("arrows") || document.querySelector("figure");
const results = document.getElementById("results")?.closest("section");
for (const node of document.querySelectorAll(".controls, .scripted, .more, .notes")) node.style.display = "none";
let after = false;
for (const node of document.querySelector("main").children) {
  if (after && node !== plot) node.style.display = "none";
  after ||= node === results;
}
return Math.ceil((plot || results || document.body).getBoundingClientRect().bottom + scrollY + 24);
"""


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    write_atomic(arguments.picture, screenshot(arguments.page))
    print(f"{arguments.picture}: {arguments.picture.stat().st_size:,} bytes")


def screenshot(page: Path) -> bytes:
    """PNG of the head of a page."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"):
        options.add_argument(flag)
    service = webdriver.ChromeService(shutil.which("chromedriver") or "chromedriver")
    with webdriver.Chrome(options=options, service=service) as browser:
        size = {"width": WIDTH, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        light = {"features": [{"name": "prefers-color-scheme", "value": "light"}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", light)
        browser.get(page.resolve().as_uri())
        clip = {"x": 0, "y": 0, "width": WIDTH, "height": browser.execute_script(CROP), "scale": 1}
        shot = browser.execute_cdp_cmd(
            "Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True}
        )
        return base64.b64decode(shot["data"])


if __name__ == "__main__":
    main()
