"""The store: immutable Arrow files named by their own SHA-256, memory-mapped, addressed by example content.

    manifest.json            what the labels are
    part-00-<sha256>.arrow   one captured batch by writer 0, written whole or not at all
    shard-<sha256>.arrow     many batches, merged once they are large enough
    writer-00.lock           held by the running writer 0

There is no index to go stale. Keys stand in the files, a key that stands in two files is the same label
twice, and merging two caches is copying their files. A crash loses at most the batch in flight. Every row
carries a CRC-32 that is checked whenever it is read; `verify` checks whole files against their names, which
also finds swapped ones.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from harness.errors import HarnessError
from harness.files import atomic_writer, exclusive_lock, sha256_bytes, sha256_file
from harness_kd.data.examples import Example
from harness_kd.soft_labels.labels import RANGE, SoftLabels
from harness_kd.soft_labels.manifest import Manifest

MERGE_BYTES = 64 << 20
"""A writer merges its parts into one shard when they reach this size."""
_NAME = re.compile(r"(?:part-\d+|shard)-([0-9a-f]{64})\.arrow")
_COLUMNS = ("ids", "log_probs", "counts", "log_tail", "log_normalizer")
_RECAPTURE = "Delete that file and capture again: only its examples are computed anew."


def _schema(manifest: Manifest) -> pa.Schema:
    counts = pa.uint8() if manifest.most_entries < 256 else pa.uint16()
    log_probs = pa.float16() if manifest.label_dtype == "float16" else pa.float32()
    values = (pa.uint16(), log_probs, counts, pa.float16(), pa.float32())
    lists = [pa.field(name, pa.list_(kind)) for name, kind in zip(_COLUMNS, values, strict=True)]
    metadata = {"harness_kd": manifest.fingerprint}
    return pa.schema(
        [pa.field("key", pa.binary(32)), pa.field("crc", pa.uint32()), *lists], metadata=metadata
    )


def _checksum(key: bytes, columns: Sequence[np.ndarray[Any, Any]]) -> int:
    value = zlib.crc32(key)
    for column in columns:
        value = zlib.crc32(np.ascontiguousarray(column).data, value)
    return value


class SoftLabelCache:
    """Read access to a folder of soft labels."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """Map every file of the cache and index its keys.

        Raises:
            HarnessError: If a file is not readable Arrow data, or belongs to a cache of another kind.
        """
        self.folder, self.manifest = folder, manifest
        self._tables: list[pa.Table] = []
        self._columns: list[list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]] = []
        self._checksums: list[np.ndarray[Any, Any]] = []
        self._paths: list[Path] = []
        self._index: dict[bytes, tuple[int, int]] = {}
        for path in label_files(folder):
            self._add(path)

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, key: bytes) -> bool:
        return key in self._index

    def keys(self) -> list[bytes]:
        """Content hashes of the examples, in no order."""
        return list(self._index)

    @property
    def tokens(self) -> int:
        """Number of labelled tokens; an example that two files hold counts once."""
        return sum(
            int(self._columns[file][4][0][row + 1] - self._columns[file][4][0][row])
            for file, row in self._index.values()
        )

    def _add(self, path: Path) -> None:
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except (pa.ArrowInvalid, OSError) as error:
            raise HarnessError(
                f"{path}: damaged soft labels ({str(error).splitlines()[0]})", _RECAPTURE
            ) from error
        if table.schema.metadata != _schema(self.manifest).metadata:
            raise HarnessError(f"{path}: belongs to a cache of another kind", "Move it out of this folder.")
        table = table.combine_chunks()
        for row, key in enumerate(table["key"].to_pylist()):
            self._index[key] = (len(self._paths), row)
        self._paths.append(path)
        self._tables.append(table)
        self._checksums.append(table["crc"].to_numpy())
        lists = [table[name].combine_chunks() for name in _COLUMNS]
        self._columns.append([(column.offsets.to_numpy(), column.values.to_numpy()) for column in lists])

    def of(self, batch: Sequence[Example]) -> list[SoftLabels]:
        """The labels of each example; errors as in `get`."""
        return [self.get(example.key) for example in batch]

    def get(self, key: bytes) -> SoftLabels:
        """The labels of one example, checked against their CRC-32.

        Raises:
            KeyError: If the cache lacks them.
            HarnessError: If the stored bytes are damaged.
        """
        file, row = self._index[key]
        parts = [values[offsets[row] : offsets[row + 1]] for offsets, values in self._columns[file]]
        if _checksum(key, parts) != self._checksums[file][row]:
            raise HarnessError(f"{self._paths[file]}: the soft labels of row {row} are damaged", _RECAPTURE)
        ids, log_probs, counts, log_tail, log_normalizer = parts
        ranges = -(-self.manifest.vocabulary_size // RANGE)
        return SoftLabels(
            ids=ids,
            log_probs=log_probs,
            counts=counts.reshape(-1, ranges),
            log_tail=log_tail.reshape(-1, len(self.manifest.temperatures)),
            log_normalizer=log_normalizer,
        )


class SoftLabelWriter:
    """Append access; use it as ``with writing(folder, manifest) as writer``."""

    def __init__(self, folder: Path, manifest: Manifest, rank: int) -> None:
        self._folder, self._manifest, self._rank = folder, manifest, rank

    def append(self, items: Sequence[tuple[bytes, SoftLabels]]) -> None:
        """Store one batch; it is on disk when this returns."""
        schema = _schema(self._manifest)
        kinds = {name: schema.field(name).type.value_type.to_pandas_dtype() for name in _COLUMNS}
        rows = [
            [getattr(labels, name).reshape(-1).astype(kind, copy=False) for name, kind in kinds.items()]
            for _, labels in items
        ]
        keys = [key for key, _ in items]
        arrays = [
            pa.array(keys, pa.binary(32)),
            pa.array([_checksum(key, row) for key, row in zip(keys, rows, strict=True)], pa.uint32()),
        ]
        for index, name in enumerate(_COLUMNS):
            parts = [row[index] for row in rows]
            offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int32)
            values = pa.array(np.concatenate(parts), schema.field(name).type.value_type)
            arrays.append(pa.ListArray.from_arrays(pa.array(offsets), values))
        _write_table(self._folder, f"part-{self._rank:02d}", pa.Table.from_arrays(arrays, schema=schema))
        self._merge_parts(MERGE_BYTES)

    def _merge_parts(self, at_least: int) -> None:
        parts = sorted(self._folder.glob(f"part-{self._rank:02d}-*.arrow"))
        if len(parts) < 2 or sum(part.stat().st_size for part in parts) < at_least:
            return
        tables = [pa.ipc.open_file(part.read_bytes()).read_all() for part in parts]
        _write_table(self._folder, "shard", pa.concat_tables(tables))
        for part in parts:  # a crash before this leaves the labels twice, which readers do not mind
            part.unlink()

    def close(self) -> None:
        """Merge what was written."""
        self._merge_parts(0)


@contextmanager
def writing(folder: Path, manifest: Manifest, *, rank: int = 0) -> Iterator[SoftLabelWriter]:
    """Open a cache for appending, made if it is not there.

    Raises:
        HarnessError: If the folder holds labels of another kind, or another process writes as the same rank.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest.write_or_match(folder)
    lock = folder / f"writer-{rank:02d}.lock"
    with exclusive_lock(lock, f"{folder}: another process is writing these soft labels"):
        writer = SoftLabelWriter(folder, manifest, rank)
        yield writer
        writer.close()


def label_files(folder: Path) -> list[Path]:
    """The cache's Arrow files, in the order of their names."""
    return sorted(path for path in folder.glob("*.arrow") if _NAME.fullmatch(path.name))


def verify(folder: Path) -> int:
    """Check every file against its name and return their number.

    Raises:
        HarnessError: Naming each truncated, changed or swapped file.
    """
    Manifest.read(folder)
    files = label_files(folder)
    damaged = []
    for path in files:
        match = _NAME.fullmatch(path.name)
        if match is None or sha256_file(path) != match[1]:
            damaged.append(f"{path}: its content is not what its name says")
    HarnessError.raise_for(damaged, _RECAPTURE)
    return len(files)


def _write_table(folder: Path, prefix: str, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table.combine_chunks())
    data = sink.getvalue()
    with atomic_writer(folder / f"{prefix}-{sha256_bytes(data)}.arrow") as target:
        target.write(data)
