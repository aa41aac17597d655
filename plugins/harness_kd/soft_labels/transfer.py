"""Caches together, and out of the cache into a plain table."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from harness.errors import HarnessError
from harness.files import atomic_writer, canonical_json
from harness_kd.soft_labels.cache import SoftLabelCache, label_files, verify
from harness_kd.soft_labels.manifest import Manifest

EXPORTED = pa.schema(
    [
        pa.field("key", pa.binary(32)),
        pa.field("token", pa.int32()),
        pa.field("ids", pa.list_(pa.int32())),
        pa.field("log_probs", pa.list_(pa.float32())),
        pa.field("log_tail", pa.list_(pa.float32())),
        pa.field("log_normalizer", pa.float32()),
    ]
)
"""One row per response token: the example's SHA-256, the token's number in the response, kept ids ascending, their natural
log-probabilities at T = 1, the log of the mass outside them at each temperature of the manifest, and the log-normaliser."""
_BATCH = 256


def merge(sources: Sequence[Path], output: Path) -> int:
    """Put the files of several caches of one kind into one, checked first, and return how many examples it then holds.

    Files are named by their content, so the same file twice is one, and an interrupted merge is done again.

    Raises:
        HarnessError: If a cache is damaged, or of another kind than the first; it names what differs.
    """
    manifest = Manifest.read(sources[0])
    for source in sources:
        manifest.require_match(Manifest.read(source), source)
        verify(source)
    output.mkdir(parents=True, exist_ok=True)
    manifest.write_or_match(output)
    for source in sources:
        for file in label_files(source):
            target = output / _shard_name(file.name)
            if not target.exists():
                with file.open("rb") as content, atomic_writer(target) as copy:
                    shutil.copyfileobj(content, copy)
    return len(SoftLabelCache(output, manifest))


def _shard_name(name: str) -> str:
    """A writer's part is a shard of the merged cache: its writer may number its own parts there."""
    return f"shard-{name.rsplit('-', 1)[1]}"


def export(folder: Path, output: Path) -> int:
    """Write a cache as one Parquet file in the schema `EXPORTED`, and return the number of tokens.

    Raises:
        HarnessError: If an entry is damaged.
    """
    if output.suffix != ".parquet":
        raise HarnessError(f"{output}: soft labels are exported as Parquet", f"Write {output.stem}.parquet.")
    manifest = Manifest.read(folder)
    cache = SoftLabelCache(folder, manifest)
    schema = EXPORTED.with_metadata({"harness_kd": canonical_json(asdict(manifest))})
    tokens = 0
    with atomic_writer(output) as file, parquet.ParquetWriter(file, schema) as writer:
        for table in _tables(cache, schema):
            writer.write_table(table)
            tokens += table.num_rows
    return tokens


def _tables(cache: SoftLabelCache, schema: pa.Schema) -> Iterator[pa.Table]:
    keys = sorted(cache.keys())
    for start in range(0, len(keys), _BATCH):
        rows = []
        for key in keys[start : start + _BATCH]:
            labels = cache.get(key)
            ends = labels.entries_per_token().cumsum()
            ids, log_probs = labels.full_ids(), labels.log_probs.astype(np.float32)
            for token, (low, high) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
                rows.append(
                    {
                        "key": key,
                        "token": token,
                        "ids": ids[low:high],
                        "log_probs": log_probs[low:high],
                        "log_tail": labels.log_tail[token].astype(np.float32),
                        "log_normalizer": labels.log_normalizer[token],
                    }
                )
        yield pa.Table.from_pylist(rows, schema=schema)
