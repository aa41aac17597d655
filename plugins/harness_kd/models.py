"""What a pair of models must share to distil: the meaning of their token ids."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.files import canonical_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def vocabulary_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hexadecimal SHA-256 over every token and its id, added tokens included.

    Padded rows of a model's embedding are not part of it, so Qwen2.5's 151,936 and 152,064 rows compare as
    equal.
    """
    return hashlib.sha256(canonical_json(tokenizer.get_vocab()).encode()).hexdigest()


def vocabulary_size(tokenizer: PreTrainedTokenizerBase) -> int:
    """Largest token id plus one: the rows of an output head that mean something."""
    return max(tokenizer.get_vocab().values()) + 1


def require_same_vocabulary(teacher: PreTrainedTokenizerBase, student: PreTrainedTokenizerBase) -> None:
    """Refuse a teacher whose token ids mean something else to the student.

    Raises:
        HarnessError: If any token or id differs; it names the first difference.
    """
    if vocabulary_hash(teacher) == vocabulary_hash(student):
        return
    of_teacher, of_student = teacher.get_vocab(), student.get_vocab()
    index, token = min((index, token) for token, index in of_teacher.items() ^ of_student.items())
    raise HarnessError(
        f"different vocabularies: the teacher has {len(of_teacher)} tokens, the student {len(of_student)} "
        f"(hash {vocabulary_hash(teacher)[:12]} against {vocabulary_hash(student)[:12]}), "
        f"first difference at id {index} ({token!r})",
        "Choose a teacher of the student's family; or --divergence uld, which compares ranks in place of tokens; or train on texts "
        "that the teacher wrote (harness soft-labels generate).",
    )
