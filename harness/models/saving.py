"""A model written as a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.files import replace_dir


def save_whole(model: Any, tokenizer: Any, folder: Path) -> Path:
    """Write a model with its tokenizer, whole or not at all, and return the folder."""
    with replace_dir(folder) as target:
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
        let_all_read(target)
    return folder


def let_all_read(folder: Path) -> None:
    """Let everyone read the files of a folder: safetensors writes for its owner alone."""
    for file in folder.iterdir():
        file.chmod(file.stat().st_mode | 0o044)
