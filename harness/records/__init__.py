"""Records: what one model did on one task, with every sample and where it all came from.

A record is one file whose name ends in a hash of its content. Records are only ever added, so two branches that add
records merge without conflict.
"""

from harness.records.lm_eval_results import from_lm_eval
from harness.records.record import Record, load_record, save_record

__all__ = ["Record", "from_lm_eval", "load_record", "save_record"]
