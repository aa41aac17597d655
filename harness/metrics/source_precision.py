"""How much of a response its source says: BERTScore's precision with the source in the place of the reference.

Each token of the response is matched with the most similar token of the source (Zhang et al., 2020, equation for P_BERT, without
idf), and the similarities are averaged. A source longer than the encoder is read in windows that overlap, and a response's token
takes its best match in any of them, so that nothing of the source is cut. Special tokens are matched with nothing, where bert_score
lets the reference's be matched: here they would stand once in each window. A response longer than the encoder is cut, as
BERTScore's is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tqdm import tqdm

from harness.metrics import signatures
from harness.metrics.base import Family, Metric, Options, Sample, Score
from harness.metrics.bertscore import CHUNK_BYTES, batch_tokens_of, build_encoder, expected_encoder
from harness.metrics.encoders import EncodedText, Encoder

KEY = "source_precision"
SCORES = {
    KEY: Score(
        title="mean similarity of the response's tokens to their nearest in the source, by embedding",
        kind="faithfulness",
        low=-1.0,
        leading=True,
    )
}
OPTIONS: Options = {
    "bertscore_model": "roberta-large",
    "bertscore_layer": None,
    "bertscore_batch_tokens": None,
}
"""The encoder is BERTScore's: one choice serves both."""

WINDOW = 254
"""Tokens of the source in a window, without special ones; fewer where the encoder takes fewer."""
OVERLAP = 64
"""Tokens that a window shares with the one before it."""
_FORM = f"{KEY}|model:{{model}}|layer:{{layer}}|windows:{WINDOW}/{OVERLAP}|transformers:{{transformers}}|torch:{{torch}}|version:1"


class SourcePrecision(Metric):
    """`source_precision` in -1..1, in practice 0..1.

    Args:
        encoder: Where embeddings come from.
        batch_tokens: Tokens of an encoder batch; None: what suits the device.
    """

    scores = SCORES

    def __init__(self, encoder: Encoder, *, batch_tokens: int | None = None) -> None:
        self._encoder = encoder
        self._batch_tokens = batch_tokens

    def score(self, samples: Sequence[Sample]) -> list[dict[str, float]]:
        """See `harness.metrics.base.Metric`; a sample without a source, or without a token of its own, has no score."""
        scores: list[dict[str, float]] = [{} for _ in samples]
        with_source = [i for i, sample in enumerate(samples) if sample.source.strip()]
        if samples and not with_source:
            self.absent = {KEY: "No document has a source."}
        windows = {
            text: self._encoder.windows(text, WINDOW, OVERLAP)
            for text in {samples[i].source for i in with_source}
        }
        responses = {text: self._encoder.encode(text) for text in {samples[i].response for i in with_source}}
        with tqdm(total=len(with_source), desc="source precision", unit=" samples", leave=False) as progress:
            for chunk in self._chunks(with_source, samples, windows, responses):
                self._score_chunk([(i, samples[i]) for i in chunk], windows, responses, scores)
                progress.update(len(chunk))
        self._encoder.release()
        return scores

    def signature(self, _key: str) -> str:
        """See `harness.metrics.base.Metric`."""
        import torch
        import transformers

        return _FORM.format(
            model=self._encoder.name,
            layer=self._encoder.layer,
            transformers=transformers.__version__,
            torch=torch.__version__.split("+")[0],
        )

    def _chunks(
        self,
        indices: Sequence[int],
        samples: Sequence[Sample],
        windows: Mapping[str, Sequence[EncodedText]],
        responses: Mapping[str, EncodedText],
    ) -> Iterator[list[int]]:
        """Indices whose texts' embeddings fit in memory; samples of one source stand together, and it is embedded once."""
        budget = CHUNK_BYTES // (4 * self._encoder.hidden_size)
        chunk: list[int] = []
        tokens, last = 0, ""
        for i in sorted(indices, key=lambda i: samples[i].source):
            source = samples[i].source
            read = sum(len(window.token_ids) for window in windows[source])
            own = len(responses[samples[i].response].token_ids)
            needed = own + (read if source != last or not chunk else 0)
            if chunk and tokens + needed > budget:
                yield chunk
                chunk, tokens, needed = [], 0, own + read
            chunk.append(i)
            tokens += needed
            last = source
        if chunk:
            yield chunk

    def _score_chunk(
        self,
        chunk: Sequence[tuple[int, Sample]],
        windows: Mapping[str, Sequence[EncodedText]],
        responses: Mapping[str, EncodedText],
        scores: list[dict[str, float]],
    ) -> None:
        sources = list(dict.fromkeys(sample.source for _, sample in chunk))
        answers = list(dict.fromkeys(sample.response for _, sample in chunk))
        texts = [window for source in sources for window in windows[source]] + [
            responses[text] for text in answers
        ]
        embedded = iter(self._encoder.embed(texts, batch_tokens=self._batch_tokens))
        held = {source: _own_tokens(windows[source], embedded) for source in sources}
        given = {text: _own_tokens([responses[text]], embedded) for text in answers}
        for i, sample in chunk:
            source, response = held[sample.source], given[sample.response]
            if len(source) and len(response):
                scores[i] = {KEY: float((response @ source.T).amax(dim=1).mean())}


def _own_tokens(texts: Sequence[EncodedText], embedded: Iterator[Any]) -> Any:
    """Unit vectors [T, D] of the tokens of some texts, without special ones; takes as many from ``embedded`` as there are texts."""
    import torch

    parts = [next(embedded)[[not special for special in text.special]] for text in texts]
    return torch.cat(parts)


def from_options(options: Options) -> SourcePrecision:
    """Build from task metadata; see `OPTIONS`."""
    return SourcePrecision(build_encoder(options, "source precision"), batch_tokens=batch_tokens_of(options))


def contradiction(_key: str, signature: str, options: Options) -> str | None:
    """See `harness.metrics.base.Family`: the encoder's name and layer are known, its weights are not."""
    stated = signatures.read(_FORM, signature)
    if stated is None:
        return f"is not of the form {_FORM}"
    return signatures.differing(stated, expected_encoder(stated, options))


FAMILY = Family(scores=SCORES, from_options=from_options, options=OPTIONS, contradiction=contradiction)
