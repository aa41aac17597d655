"""BERTScore (Zhang et al., 2020): precision, recall and F1 of greedily matched token embeddings.

Equal to the bert_score package (0.3.13) and made for whole tasks: each distinct text is encoded once per chunk, in batches
of similar length, and a chunk's embeddings are dropped before the next, so that memory does not grow with the corpus.
bert_score itself fails on an empty candidate, takes any path with "t5" in it for T5, and under transformers 5 leaves out
RoBERTa's leading space (see `encoders`).

* Special tokens weigh nothing but may be matched, as in bert_score. With idf, weights come from the references of the task.
* Several references: the best precision, recall and F1, each for itself, as in bert_score.
* Rescaled F1 is (F1 - b) / (1 - b), b from bert_score's table for the model and layer; models without a table have no such score.
"""

from __future__ import annotations

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tqdm import tqdm

from harness.errors import HarnessError
from harness.metrics import signatures
from harness.metrics.base import Family, Metric, Options, Sample, Score
from harness.metrics.encoders import MINILM, EncodedText, Encoder, names_encoder

_RESCALED = "bertscore_f1_rescaled"
# F1 leaves -1..1 only where precision and recall have different signs, which no pair of texts has shown
SCORES = {
    "bertscore_p": Score(
        title="precision of the response's tokens, matched by embedding", kind="overlap", low=-1.0
    ),
    "bertscore_r": Score(
        title="recall of the reference's tokens, matched by embedding", kind="overlap", low=-1.0
    ),
    "bertscore_f1": Score(title="F1 of tokens matched by embedding", kind="overlap", low=-1.0, leading=True),
    _RESCALED: Score(
        title="F1 of tokens matched by embedding, 0 for unrelated texts", kind="overlap", low=None
    ),
}
OPTIONS: Options = {
    "bertscore_model": "roberta-large",
    "bertscore_layer": None,
    "bertscore_idf": False,
    "bertscore_batch_tokens": None,
}

LAYERS: Mapping[str, int] = {
    "bert-base-uncased": 9,
    "bert-large-uncased": 18,
    "roberta-base": 10,
    "roberta-large": 17,
    "microsoft/deberta-xlarge-mnli": 40,
    MINILM: 5,
}
"""Layers that bert_score recommends (by correlation with human scores on WMT16); minilm's by docs/metrics.md."""

CHUNK_BYTES = 512 * 2**20
"""Embeddings held at once."""


class BertScore(Metric):
    """BERTScore in -1..1, in practice 0..1.

    Args:
        encoder: Where embeddings come from.
        idf: Weigh tokens by inverse document frequency among the task's references.
        baseline: Precision, recall and F1 of unrelated texts under this encoder and layer, for the rescaled F1; None leaves it out.
        batch_tokens: Tokens of an encoder batch; None: what suits the device.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        idf: bool = False,
        baseline: tuple[float, float, float] | None = None,
        batch_tokens: int | None = None,
    ) -> None:
        self._encoder = encoder
        self._idf = idf
        self._baseline = baseline
        self.scores = {key: score for key, score in SCORES.items() if baseline or key != _RESCALED}
        self._batch_tokens = batch_tokens

    def score(self, samples: Sequence[Sample]) -> list[dict[str, float]]:
        """See `harness.metrics.base.Metric`. A response without any token of its own leaves the sample unscored."""
        texts: dict[str, EncodedText] = {}
        for sample in samples:
            for text in (sample.response, *sample.references):
                if text not in texts:
                    texts[text] = self._encoder.encode(text)
        weights = self._weights([texts[reference] for sample in samples for reference in sample.references])
        scores: list[dict[str, float]] = [{} for _ in samples]
        with tqdm(total=len(samples), desc="BERTScore", unit=" samples", leave=False) as progress:
            for chunk in self._chunks(samples, texts):
                self._score_chunk([(i, samples[i]) for i in chunk], texts, weights, scores)
                progress.update(len(chunk))
        self._encoder.release()
        return scores

    def signature(self, key: str) -> str:
        """See `harness.metrics.base.Metric`."""
        import torch
        import transformers

        return _form(key).format(
            model=self._encoder.name,
            layer=self._encoder.layer,
            idf=_yes_no(self._idf),
            baseline=f"{self._baseline[2]:g}" if self._baseline else "",
            transformers=transformers.__version__,
            torch=torch.__version__.split("+")[0],
        )

    def _weights(self, references: Sequence[EncodedText]) -> Mapping[int, float] | None:
        """Weight by token id; None where every token weighs 1."""
        if not self._idf:
            return None
        frequency = Counter(token for reference in references for token in set(reference.token_ids))
        count = len(references)
        weights: defaultdict[int, float] = defaultdict(lambda: math.log(count + 1))
        weights.update({token: math.log((count + 1) / (n + 1)) for token, n in frequency.items()})
        return weights

    def _chunks(self, samples: Sequence[Sample], texts: Mapping[str, EncodedText]) -> Iterator[list[int]]:
        """Sample indices whose distinct texts' embeddings fit in memory; equal responses stand together."""
        order = sorted(range(len(samples)), key=lambda i: samples[i].response)
        budget = CHUNK_BYTES // (4 * self._encoder.hidden_size)
        chunk: list[int] = []
        held: set[str] = set()
        tokens = 0
        for i in order:
            new = {samples[i].response, *samples[i].references} - held
            needed = sum(len(texts[text].token_ids) for text in new)
            if chunk and tokens + needed > budget:
                yield chunk
                chunk, held, tokens = [], set(), 0
                new = {samples[i].response, *samples[i].references}
                needed = sum(len(texts[text].token_ids) for text in new)
            chunk.append(i)
            held |= new
            tokens += needed
        if chunk:
            yield chunk

    def _score_chunk(
        self,
        chunk: Sequence[tuple[int, Sample]],
        texts: Mapping[str, EncodedText],
        weights: Mapping[int, float] | None,
        scores: list[dict[str, float]],
    ) -> None:
        distinct = list(
            dict.fromkeys(text for _, sample in chunk for text in (sample.response, *sample.references))
        )
        embedded = self._encoder.embed([texts[text] for text in distinct], batch_tokens=self._batch_tokens)
        vectors = dict(zip(distinct, embedded, strict=True))
        shares = {text: _shares(texts[text], weights) for text in distinct}
        for i, sample in chunk:
            ours = shares[sample.response]
            found = [
                _greedy(vectors[sample.response], ours, vectors[reference], theirs)
                for reference in sample.references
                if ours is not None and (theirs := shares[reference]) is not None
            ]
            if found:
                scores[i] = self._best(found)

    def _best(self, found: Sequence[tuple[float, float, float]]) -> dict[str, float]:
        best = [max(column) for column in zip(*found, strict=True)]
        scores = dict(zip(("bertscore_p", "bertscore_r", "bertscore_f1"), best, strict=True))
        if self._baseline:
            scores[_RESCALED] = rescale(best[2], self._baseline[2])
        return scores


def _form(key: str) -> str:
    baseline = "|baseline:{baseline}" if key == _RESCALED else ""
    return (
        f"{key}|model:{{model}}|layer:{{layer}}|idf:{{idf}}{baseline}|refs:best"
        "|transformers:{transformers}|torch:{torch}|version:1"
    )


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"


def rescale(score: float, baseline: float) -> float:
    """0 for unrelated texts, 1 for equal ones."""
    return (score - baseline) / (1 - baseline)


def _shares(text: EncodedText, weights: Mapping[int, float] | None) -> Any:
    """Each token's share in the text's weight, float32 [T]; None for a text without any weight."""
    import torch

    unweighted = (float(not special) for special in text.special)
    raw = list(unweighted if weights is None else (weights[token] for token in text.token_ids))
    total = math.fsum(raw)
    return torch.tensor(raw) / total if total > 0 else None


def _greedy(response: Any, ours: Any, reference: Any, theirs: Any) -> tuple[float, float, float]:
    """Precision, recall and F1 from unit vectors [T, D] and weights [T]."""
    similarity = response @ reference.T
    precision = float(similarity.amax(dim=1).cpu() @ ours)
    recall = float(similarity.amax(dim=0).cpu() @ theirs)
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total else 0.0


def load_baseline(model: str, layer: int) -> tuple[float, float, float] | None:
    """Precision, recall and F1 of unrelated English sentences, from the table that bert_score ships; None if it has none."""
    spec = find_spec("bert_score")
    if spec is None or spec.origin is None:
        return None
    table = Path(spec.origin).parent / "rescale_baseline" / "en" / f"{model}.tsv"
    if not table.is_file():
        return None
    with open(table, encoding="utf-8", newline="") as file:
        rows = {int(row["LAYER"]): row for row in csv.DictReader(file)}
    row = rows.get(layer)
    return (float(row["P"]), float(row["R"]), float(row["F"])) if row else None


def from_options(options: Options) -> BertScore:
    """Build from task metadata; see `OPTIONS`."""
    encoder = build_encoder(options, "BERTScore")
    return BertScore(
        encoder,
        idf=bool(options["bertscore_idf"]),
        baseline=load_baseline(str(options["bertscore_model"]), encoder.layer),
        batch_tokens=batch_tokens_of(options),
    )


def build_encoder(options: Options, metric: str) -> Encoder:
    """The encoder that the options name.

    Raises:
        HarnessError: If it cannot be had, or its layer is not known; it names the metric.
    """
    model, layer = str(options["bertscore_model"]), layer_of(options)
    if layer is None:
        raise HarnessError(
            f"{metric}: no layer is known to be best for {model}",
            "Choose one: --metadata bertscore_layer=N.",
        )
    return Encoder(model, layer=layer)


def layer_of(options: Options) -> int | None:
    """The layer that the options give, or that is known to suit the encoder."""
    layer = options["bertscore_layer"] or LAYERS.get(str(options["bertscore_model"]))
    return None if layer is None else int(layer)


def batch_tokens_of(options: Options) -> int | None:
    """Tokens of an encoder batch; None: what suits the device."""
    given = options["bertscore_batch_tokens"]
    return int(given) if given else None


def expected_encoder(stated: Mapping[str, str], options: Options) -> dict[str, str | None]:
    """What a signature must state of the encoder that the options name; None where they leave it open."""
    model, layer = str(options["bertscore_model"]), layer_of(options)
    return {
        "model": None if names_encoder(stated["model"], model) else model,
        "layer": None if layer is None else str(layer),
    }


def contradiction(key: str, signature: str, options: Options) -> str | None:
    """See `harness.metrics.base.Family`: the encoder's name, layer, idf and baseline are known, its weights are not."""
    form = _form(key)
    stated = signatures.read(form, signature)
    if stated is None:
        return f"is not of the form {form}"
    expected = {**expected_encoder(stated, options), "idf": _yes_no(bool(options["bertscore_idf"]))}
    model, layer = str(options["bertscore_model"]), layer_of(options)
    if key == _RESCALED and layer is not None and (baseline := load_baseline(model, layer)):
        expected["baseline"] = f"{baseline[2]:g}"
    return signatures.differing(stated, expected)


FAMILY = Family(scores=SCORES, from_options=from_options, options=OPTIONS, contradiction=contradiction)
