"""What libraries print beside the work."""

from __future__ import annotations


def hide_loading_bars() -> None:
    """One bar for the work is enough: transformers shows one more per weight file."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
