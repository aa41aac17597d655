"""The shipped news-world checkpoints: ordinary Hugging Face folders made by
`scripts/make_newsworld_models.py`.
"""

from __future__ import annotations

from pathlib import Path

from harness.errors import HarnessError

CHECKPOINTS = Path(__file__).parent / "checkpoints"

SHIPPED = {
    "teacher": "teacher finetuned on references of which 40% are noisy",
    "teacher-clean": "teacher finetuned on clean references",
    "student": "student base, pretrained but not finetuned",
}


def path(name: str) -> Path:
    """The folder of a shipped checkpoint.

    Raises:
        HarnessError: If there is no such checkpoint, or this installation lacks its weights.
    """
    if name not in SHIPPED:
        raise HarnessError(
            f"no shipped news-world model is called {name!r}", f"choose one of: {', '.join(SHIPPED)}"
        )
    folder = CHECKPOINTS / name
    if not (folder / "model.safetensors").is_file():
        raise HarnessError(
            f"the shipped news-world model {name!r} is missing from {folder}",
            "reinstall the package, or make the models again with scripts/make_newsworld_models.py --install",
        )
    return folder
