"""A model from a GGUF file, as an ordinary folder of safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.models.hub import first_line
from harness.models.saving import save_whole


def from_gguf(file: Path, folder: Path) -> Path:
    """Write the model of a GGUF file, its weights unpacked to float32, with its tokenizer and chat template.

    transformers reads the file; it needs the ``gguf`` package. A folder that is there already is left as it is: it appears whole.

    Args:
        file: GGUF file of an architecture that transformers reads, quantized or not.
        folder: To write.

    Returns:
        The folder.

    Raises:
        HarnessError: If the package is missing, or the file cannot be read.
    """
    if folder.exists():
        return folder
    model, tokenizer = _read(file)
    # else the quantizer, which has done its work, would refuse to save
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return save_whole(model, tokenizer, folder)


def _read(file: Path) -> tuple[Any, Any]:
    try:
        import gguf  # type: ignore[import-not-found, unused-ignore]  # noqa: F401
    except ImportError:
        raise HarnessError(f"{file}: reading GGUF needs the package gguf", "pip install gguf") from None
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not file.is_file():
        raise HarnessError(f"{file}: no such file", "Give a GGUF file that exists.")
    where = {"gguf_file": file.name, "trust_remote_code": False}
    try:
        model = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **where)
        return model, AutoTokenizer.from_pretrained(file.parent, **where)
    except Exception as error:  # the gguf package raises what comes
        raise HarnessError(
            f"{file}: cannot be read as a model: {first_line(error)}",
            "Give a whole GGUF file of a family that transformers reads.",
        ) from error
