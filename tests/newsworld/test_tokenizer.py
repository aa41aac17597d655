"""Text survives the tokenizer, so what is judged is what the model wrote."""

import pytest

from harness.newsworld import make_story, prompt
from harness.newsworld.tokenizer import MAX_LENGTH, build, vocabulary

TOKENIZER = build()


def test_round_trip_is_exact_and_nothing_is_unknown():
    for index in range(500):
        story = make_story("train", index, noise=0.3)
        for text in (story.article, story.reference):
            ids = TOKENIZER(text).input_ids
            assert TOKENIZER.unk_token_id not in ids
            assert TOKENIZER.decode(ids, skip_special_tokens=True) == text
        assert len(TOKENIZER(prompt(story.article)).input_ids) < MAX_LENGTH - 40


def test_a_prompt_starts_with_bos_and_a_response_does_not_when_asked():
    assert TOKENIZER("Summary:").input_ids[0] == TOKENIZER.bos_token_id
    assert TOKENIZER.bos_token_id not in TOKENIZER("Summary:", add_special_tokens=False).input_ids


def test_the_vocabulary_is_closed_and_ordered():
    words = vocabulary()
    assert words[:4] == ["<pad>", "<s>", "</s>", "<unk>"]
    assert words[4:] == sorted(set(words[4:]))
    assert TOKENIZER("Reykjavik").input_ids[1:] == [TOKENIZER.unk_token_id]


@pytest.mark.parametrize("name", ["teacher", "teacher-clean", "student"])
def test_shipped_models_carry_this_tokenizer_and_the_weights_they_claim(name: str):
    import json

    from transformers import AutoTokenizer

    from harness.files import sha256_file
    from harness.newsworld.models import path

    folder = path(name)
    assert AutoTokenizer.from_pretrained(folder).get_vocab() == TOKENIZER.get_vocab()
    provenance = json.loads((folder / "provenance.json").read_text())
    assert sha256_file(folder / "model.safetensors") == provenance["weights_sha256"]
