"""A board as one HTML file that opens from disk: no network, no library, readable without scripts.

Every text is escaped by Jinja. The policy in the page's head allows its own script, by hash, and nothing else; samples travel as
JSON in which no tag can be closed.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.board import comparison_views, views
from harness.board.figures import figures
from harness.board.sample_browser import browser_data
from harness.board.svg import STYLE
from harness.board.table import Board

_SCRIPTS = ("state.js", "tables.js", "samples.js")


def as_html(board: Board) -> str:
    """The page."""
    script = "".join(_asset(name) for name in _SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    data = browser_data(board)
    return (
        _templates()
        .get_template("page.html.jinja")
        .render(
            title=views.one_line(board.spec.title),
            policy=policy,
            # none of these three is anybody's text: our own files, and JSON that closes no tag
            style=Markup(_asset("page.css") + STYLE),  # noqa: S704
            script=Markup(script),  # noqa: S704
            data=Markup(_json(data)),  # noqa: S704
            header=views.header(board),
            verdicts=comparison_views.verdicts(board),
            tables=views.tables(board),
            legend=views.legend(board),
            footnotes=board.footnotes,
            notes=board.spec.notes,
            figures=figures(board),
            reading=comparison_views.reading(board),
            comparisons=comparison_views.comparisons(board),
            samples=views.samples(data),
            scores=views.scores(board),
            provenance=views.provenance(board),
            cited=views.cited(board),
        )
    )


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("harness.board"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _asset(name: str) -> str:
    return (files("harness.board") / "assets" / name).read_text("utf-8")


def _json(data: Any) -> str:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
