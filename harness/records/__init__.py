"""Records: what one model did on one task, with every sample and where it all came from.

A record is one file whose name ends in the SHA-256 of its content. Records are only ever added, so two branches that add
records merge without conflict.
"""

from harness.records.documents import Document, load_documents, save_documents
from harness.records.lm_eval_results import from_lm_eval, import_results
from harness.records.reading import load_record, load_scored
from harness.records.record import Record, SampleRecord, Scored, save_record

__all__ = [
    "Document",
    "Record",
    "SampleRecord",
    "Scored",
    "from_lm_eval",
    "import_results",
    "load_documents",
    "load_record",
    "load_scored",
    "save_documents",
    "save_record",
]
