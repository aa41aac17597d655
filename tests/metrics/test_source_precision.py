"""Precision against the source: windows, and what bert_score and plain transformers give."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.errors import HarnessError
from harness.metrics import Sample, encoders, source_precision
from harness.metrics.encoders import Encoder
from harness.metrics.registry import build, signature_problem
from harness.metrics.source_precision import KEY, SourcePrecision
from tests.metrics.test_bertscore import PAIRS

LONG = " ".join(f"{reference} {response}" for response, reference in PAIRS) * 12


def score(encoder: Encoder, pairs: list[tuple[str, str]]) -> list[float]:
    samples = [Sample(source=source, references=(), response=response) for source, response in pairs]
    return [found[KEY] for found in SourcePrecision(encoder).score(samples)]


def test_equals_bert_scores_precision_where_no_special_token_is_matched(minilm: str) -> None:
    """bert_score 0.3.13; it lets [CLS] and [SEP] of the reference be matched, which takes its precision up and never down."""
    import bert_score

    pairs = [(reference, response) for response, reference in PAIRS]
    ours = score(Encoder(minilm, layer=5), pairs)
    theirs, _, _ = bert_score.score(
        [response for _, response in pairs],
        [source for source, _ in pairs],
        model_type=str(encoders._minilm_folder()),
        num_layers=5,
        nthreads=0,
    )
    apart = [b - a for a, b in zip(ours, theirs.tolist(), strict=True)]
    assert all(-1e-5 < gap < 0.1 for gap in apart), apart
    assert sum(abs(gap) < 1e-5 for gap in apart) >= 2


def test_equals_a_loop_over_windows_with_plain_transformers(minilm: str) -> None:
    """Windows, specials and the best match written out with transformers alone, in float64 after the model."""
    from transformers import AutoModel, AutoTokenizer

    folder = encoders._minilm_folder()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()

    def hidden(ids: list[int]) -> torch.Tensor:
        whole = torch.tensor([[tokenizer.cls_token_id, *ids, tokenizer.sep_token_id]])
        with torch.inference_mode():
            states = model(input_ids=whole, output_hidden_states=True).hidden_states[5][0, 1:-1].double()
        return torch.nn.functional.normalize(states, dim=-1)

    ids = tokenizer(LONG, add_special_tokens=False, verbose=False)["input_ids"]
    assert len(ids) > 2 * source_precision.WINDOW
    step = source_precision.WINDOW - source_precision.OVERLAP
    starts = range(0, len(ids) - source_precision.OVERLAP, step)
    source = torch.cat([hidden(ids[at : at + source_precision.WINDOW]) for at in starts])
    response = "On Friday two dogs lost 12 percent of the mat."
    best = (hidden(tokenizer(response, add_special_tokens=False)["input_ids"]) @ source.T).amax(dim=1)
    assert score(Encoder(minilm, layer=5), [(LONG, response)]) == [
        pytest.approx(float(best.mean()), abs=1e-5)
    ]


@pytest.mark.parametrize(("size", "overlap"), [(20, 5), (62, 10), (500, 0), (7, 6)])
def test_windows_hold_every_token_and_overlap(roberta_folder: Path, size: int, overlap: int) -> None:
    encoder = Encoder(str(roberta_folder), layer=2)
    text = "the cat sat on the mat " * 20
    ids = encoder.tokenizer(" " + text.strip(), add_special_tokens=False, verbose=False)["input_ids"]
    windows = encoder.windows(text, size, overlap)
    size = min(size, encoder.max_length - 2)
    parts = [window.token_ids[1:-1] for window in windows]
    assert all(
        window.special == (True, *[False] * len(part), True)
        for window, part in zip(windows, parts, strict=True)
    )
    assert all(len(part) == size for part in parts[:-1])
    assert 0 < len(parts[-1]) <= size
    joined = [*parts[0], *(token for part in parts[1:] for token in part[overlap:])]
    assert joined == ids
    assert all(len(part) > overlap for part in parts)


def test_a_copy_scores_one_wherever_it_stands_in_a_long_source(minilm: str) -> None:
    encoder = Encoder(minilm, layer=5)
    words = "The treaty of Lisbon was signed by seven ministers."
    short, long, absent = score(encoder, [(words, words), (f"{LONG} {words} {LONG}", words), (LONG, words)])
    assert short == pytest.approx(1, abs=1e-5)
    assert absent + 0.1 < long < 1
    # the end of a source is read, not only what an encoder of 512 tokens holds
    (last,) = score(encoder, [(f"{LONG} {words}", words)])
    assert last > absent + 0.1


def test_order_batches_and_memory_change_nothing(minilm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(minilm, layer=5)
    pairs = [(source, response) for source in (LONG, PAIRS[0][1], PAIRS[2][1]) for response, _ in PAIRS]
    whole = score(encoder, pairs)
    assert score(encoder, pairs[::-1])[::-1] == pytest.approx(whole, abs=1e-6)
    monkeypatch.setattr(source_precision, "CHUNK_BYTES", 4 * 384 * 300)
    assert score(encoder, pairs) == pytest.approx(whole, abs=1e-6)


def test_without_a_source_there_is_no_score_and_a_reason(minilm: str) -> None:
    metric = SourcePrecision(Encoder(minilm, layer=5))
    (found,) = metric.score([Sample(source=" ", references=("a",), response="b c")])
    assert found == {}
    assert "source" in metric.absent[KEY]


def test_one_choice_of_encoder_serves_it_and_bertscore(minilm: str, tmp_path: Path) -> None:
    options = {"bertscore_model": minilm}
    precision, bertscore = build(["source_precision", "bertscore"], options)
    signature = precision.signature(KEY)
    assert signature.split("|")[1:3] == bertscore.signature("bertscore_p").split("|")[1:3]
    assert "windows:254/64" in signature
    assert signature_problem(KEY, signature, ["source_precision"], options) is None
    problem = signature_problem(KEY, signature, ["source_precision"], {**options, "bertscore_layer": 4})
    assert "layer:5 where the options give 4" in str(problem)
    assert "where the options give" in str(signature_problem(KEY, signature, ["source_precision"], {}))
    assert "not of the form" in str(signature_problem(KEY, "source_precision|x", ["source_precision"], {}))
    with pytest.raises(HarnessError, match=r"no model\.safetensors") as caught:
        build(["source_precision"], {"bertscore_model": str(tmp_path), "bertscore_layer": 1})
    assert "without=source_precision" in caught.value.remedy
    with pytest.raises(HarnessError, match="source precision: no layer is known"):
        build(["source_precision"], {"bertscore_model": "owner/unknown"})
