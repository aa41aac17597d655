"""The whole-word tokenizer of the news world: about a thousand words, one token each, and punctuation.

Whole words make copying learnable for models this small. The vocabulary is closed: a word outside the news
world becomes `<unk>`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from harness.newsworld import prompt
from harness.newsworld.events import ASIDE, EVENTS, FILLERS, SLOT
from harness.newsworld.lexicon import SLOT_TYPES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS, UNK = "<pad>", "<s>", "</s>", "<unk>"
MAX_LENGTH = 256  # tokens; the longest article with its prompt and summary has about 120

# What the base models were pretrained to continue, so that a summary is asked for with words they know in a
# way they do not.
PRETRAINING_CUE = "News:"

_WORD_OR_MARK = r"\w+|[^\w\s]"


def vocabulary() -> list[str]:
    """Special tokens, then every word and punctuation mark of the news world in code-point order."""
    texts = [ASIDE, prompt(""), PRETRAINING_CUE, *FILLERS]
    for event in EVENTS.values():
        texts += [
            SLOT.sub(" ", template) for template in (*event.leads, *event.detail_sentences, *event.summaries)
        ]
    for kind in SLOT_TYPES.values():
        texts += kind.words
    return [
        PAD,
        BOS,
        EOS,
        UNK,
        *sorted({token for text in texts for token in re.findall(_WORD_OR_MARK, text)}),
    ]


def build() -> PreTrainedTokenizerFast:
    """The tokenizer; prompts get a leading `<s>`, and decoding gives back the text of the news world
    exactly.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {word: index for index, word in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD_OR_MARK), behavior="removed", invert=True)
    tokenizer.decoder = decoders.WordPiece(
        prefix="##", cleanup=True
    )  # joins with spaces, none before punctuation
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, ids[BOS])]
    )
    make: Any = PreTrainedTokenizerFast  # its constructor is untyped
    made: PreTrainedTokenizerFast = make(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        model_max_length=MAX_LENGTH,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    return made
