"""Records: what one model did on one task, with every sample and where it all came from.

A record is one file whose name ends in a hash of its content. Records are only ever added, so two branches that add
records merge without conflict.
"""

from harness.records.documents import Document, load_documents, save_documents
from harness.records.lm_eval_results import from_lm_eval, import_results
from harness.records.record import Record, SampleRecord, load_record, save_record

__all__ = [
    "Document",
    "Record",
    "SampleRecord",
    "from_lm_eval",
    "import_results",
    "load_documents",
    "load_record",
    "save_documents",
    "save_record",
]
