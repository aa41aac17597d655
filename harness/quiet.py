"""What libraries print beside the work."""

from __future__ import annotations

import os
import sys

_PLAIN = {
    "DELAY": "30",
    "MININTERVAL": "30",
    "MAXINTERVAL": "30",
    "BAR_FORMAT": "{desc}: {n_fmt} of {total_fmt}, {remaining} left\n",
}
"""tqdm's own settings, which it reads from variables ``TQDM_...`` when it is imported."""


def hide_loading_bars() -> None:
    """One bar for the work is enough: transformers shows one more per weight file."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def plain_bars() -> None:
    """Off a terminal, as in the log of a batch job, libraries' bars become a line every half minute, and short work has none.

    To be called before tqdm is imported; what the user has set stays.
    """
    if not sys.stderr.isatty():
        for name, value in _PLAIN.items():
            os.environ.setdefault(f"TQDM_{name}", value)
