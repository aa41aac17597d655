"""Disk that soft labels take, before there are any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness_kd.soft_labels.labels import RANGE

if TYPE_CHECKING:
    from harness_kd.data.examples import TokenizedData
    from harness_kd.soft_labels.manifest import Manifest


def label_bytes(manifest: Manifest, data: TokenizedData) -> int:
    """Bytes of the soft labels of all examples at full K; an adaptive K needs less.

    Args:
        manifest: Of the labels.
        data: What the teacher reads.
    """
    kept = min(manifest.most_entries, manifest.vocabulary_size)
    ranges = -(-manifest.vocabulary_size // RANGE) * (1 if manifest.most_entries < 256 else 2)
    width = 2 if manifest.label_dtype == "float16" else 4
    per_token = kept * (2 + width) + ranges + 2 * len(manifest.temperatures) + 4
    return data.target_tokens * per_token + 64 * len(data.examples)
