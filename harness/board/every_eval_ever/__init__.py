"""Records in the schema of Every Eval Ever, version 0.3.0: an aggregate file for each record, and a line for each sample and score.

Source: evalevalai.com, github.com/evaleval/every_eval_ever, ``eval.schema.json`` and ``instance_level_eval.schema.json``.
Files stand at ``data/<collection>/<developer>/<model>/<UUID>.json`` and ``<UUID>_samples.jsonl``. The UUID is taken from the
hash of the record, so that a second export replaces the first.

What a record does not know stays out. The schema's required fields that no record holds are asked for (`Publisher`), or say
"unknown" where the schema has that word. Two things have no place in the schema: scores without a better direction (its
``lower_is_better`` is required), which stand in ``source_metadata.additional_details``, and failed samples (its ``score`` is
required), which are counted in ``score_details.details``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from harness.board.every_eval_ever.aggregate import aggregate
from harness.board.every_eval_ever.place import RELATIONSHIPS, Publisher, Relationship, place_of
from harness.board.every_eval_ever.samples import instances
from harness.board.footnotes import is_gold
from harness.board.load import load_rows
from harness.errors import HarnessError
from harness.files import sha256_file, write_atomic, write_jsonl
from harness.records.documents import load_documents
from harness.records.import_scores import load_ids
from harness.records.reading import load_record

__all__ = ["RELATIONSHIPS", "Publisher", "Relationship", "export"]


def export(
    paths: Sequence[Path], output: Path, publisher: Publisher, *, now: int, samples: bool = True
) -> tuple[list[Path], list[str]]:
    """Write records below ``output``, each checked first.

    Args:
        paths: Of the records.
        output: Folder that ``data/`` goes into.
        publisher: What no record knows.
        now: Time of the export, seconds since 1970.
        samples: Write the samples too.

    Returns:
        The files, and a sentence on each thing that was left out.

    Raises:
        HarnessError: If a record is missing, damaged, edited or untrue, or does not say enough for the schema.
    """
    rows = dict(zip(paths, load_rows(paths, frozenset()), strict=True))
    references = [path for path, row in rows.items() if is_gold(row)]
    models = [path for path in rows if path not in references]
    if not models:
        raise HarnessError("no record of a model: the references are none", "Give the records of models.")
    left_out = [f"{path.name}: the references, which are no model" for path in references]
    written = []
    for path in models:
        files = _export(path, output, publisher, now=now, samples=samples)
        written += files
        if samples and len(files) == 1:
            left_out.append(f"{path.name}: its samples, whose documents were not kept")
    return written, left_out


def _export(path: Path, output: Path, publisher: Publisher, *, now: int, samples: bool) -> list[Path]:
    record, digest = load_record(path), path.stem.rpartition("-")[2]
    place = place_of(record, digest, publisher)
    found = aggregate(record, digest, place, publisher, now=now)
    folder = output / place.folder
    documents = load_documents(record, path) if samples else None
    files = [folder / f"{place.stem}.json"]
    if documents is not None:  # the schema requires the input
        lines = instances(record, place, found["evaluation_id"], documents, load_ids(record, path) or {})
        files.append(folder / f"{place.stem}_samples.jsonl")
        rows = write_jsonl(files[1], lines)
        found["detailed_evaluation_results"] = {
            "format": "jsonl",
            "file_path": f"{place.folder}/{files[1].name}",
            "hash_algorithm": "sha256",
            "checksum": sha256_file(files[1]),
            "total_rows": rows,
        }
    write_atomic(files[0], json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    return files
