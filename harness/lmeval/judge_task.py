"""`JudgeTask`: a judge is evaluated like any model, on labelled pairs, before it evaluates others.

A document is a source, a summary and a label; the model under test chooses between "no" and "yes". The model
`harness-judge` answers with a judge's probabilities (`harness.lmeval.models.judge`); any other lm-eval model answers with its
likelihoods of the two words, so that language models can be ranked as judges on the same pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import datasets
from lm_eval.api.task import ConfigurableTask

import harness
from harness.errors import HarnessError
from harness.files import canonical_json, sha256_bytes, sha256_file
from harness.judges import ranking
from harness.judges.finish import check_two_classes
from harness.judges.pairs import LabelledPair, newsworld_pairs, read_pairs
from harness.lmeval.bridge import hand_over, plain_errors
from harness.lmeval.bridge.whole_model import Loaded, require_whole_files

plain_errors.install()

MEASURES: Mapping[str, bool] = {"balanced_accuracy": True, "auroc": True, "ece": False}
CHOICES = ("no", "yes")
NEWS_WORLD_SPLIT = "judge-rank"
"""A stream of articles that neither the embedded judge nor any shipped model has seen."""

Judged = tuple[int, float]


class JudgeTask(ConfigurableTask):  # type: ignore[misc]  # lm_eval ships no types
    """Labelled pairs on which a judge is ranked.

    Metadata: ``data_dir`` (a JSON Lines file of pairs, see `harness.judges.pairs.read_pairs`), or ``n_documents`` and
    ``data_seed`` of the news world.

    Raises:
        HarnessError: If the file is missing or has bad rows, or all labels are equal.
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        own = dict(config or {})
        self._metadata = {**(own.pop("factual", None) or {}), **(own.get("metadata") or {})}
        own.pop("class", None)
        own["metric_list"] = [
            {"metric": key, "aggregation": "mean", "higher_is_better": higher}
            for key, higher in MEASURES.items()
        ]
        own["process_results"] = self._judged  # without one, lm-eval looks every metric name up on the hub
        self._found: dict[str, list[Judged]] = {}
        self._judge_signature: str | None = None
        super().__init__(config=own)

    def download(self, _dataset_kwargs: Mapping[str, Any] | None = None, **_: Any) -> None:
        """Read or make the pairs (lm-eval's hook for it)."""
        pairs, self._source, self._file_sha256 = _pairs(self._metadata, str(self.config.dataset_path))
        check_two_classes(pairs, self._source)
        rows = [{"source": p.source, "summary": p.summary, "label": p.label} for p in pairs]
        self._sha256 = sha256_bytes("\n".join(map(canonical_json, rows)).encode())
        self.dataset = {"test": datasets.Dataset.from_list(rows)}

    def build_all_requests(self, **kwargs: Any) -> None:
        """One pair of requests per document, and before them one that hands us the judge, for its signature."""
        super().build_all_requests(**kwargs | {"cache_requests": False, "rewrite_requests_cache": False})
        self._instances.insert(0, hand_over.request(self.config.task, self._meet))

    def _meet(self, lm: Any) -> None:
        require_whole_files(Loaded.of_model(lm))
        self._judge_signature = getattr(lm, "judge_signature", None)

    def apply_filters(self) -> None:
        """Drop the hand-over request, which is no document."""
        self._instances: list[Any] = [i for i in self._instances if i.request_type != hand_over.REQUEST_TYPE]
        super().apply_filters()

    def _judged(self, doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, Judged]:
        """Label and probability of yes; nothing where the model gave no number, which counts as failed."""
        no, yes = (float(item[0]) if isinstance(item, list | tuple) else float(item) for item in results)
        highest = max(no, yes)
        if not math.isfinite(highest) or math.isnan(no) or math.isnan(yes):
            return {}
        share_no, share_yes = math.exp(no - highest), math.exp(yes - highest)
        return dict.fromkeys(MEASURES, (int(doc["label"]), share_yes / (share_no + share_yes)))

    def process_results(self, doc: Mapping[str, Any], results: Any) -> dict[str, Any]:
        """See `_judged`."""
        return self._judged(doc, results)

    def aggregation(self) -> dict[str, Callable[[Sequence[Judged]], float]]:
        """Each measure over all pairs."""
        return {key: partial(self._measure, key) for key in MEASURES}

    def _measure(self, key: str, judged: Sequence[Judged]) -> float:
        self._found[key] = [(int(label), float(score)) for label, score in judged]
        labels, scores = [label for label, _ in judged], [score for _, score in judged]
        return ranking.measure(key, scores, labels)

    def dump_config(self) -> dict[str, Any]:
        """The configuration for the results file, with intervals, confusion, counts and provenance."""
        dumped: dict[str, Any] = super().dump_config()
        dumped.pop("process_results", None)
        metadata: dict[str, Any] = {
            "version": str(self._metadata.get("version", "")),
            "harness_version": harness.__version__,
            "metrics": ["judge"],
            "metric_options": {},
            "data_source": self._source,
            "data_sha256": self._sha256,
            "data_file_sha256": self._file_sha256,
            "judge": self._judge_signature,
        }
        if self._found:
            metadata |= self._summary()
        dumped["metadata"] = metadata
        return dumped

    def _summary(self) -> dict[str, Any]:
        judged = self._found["auroc"]
        labels, scores = [label for label, _ in judged], [score for _, score in judged]
        summaries = {}
        for key, higher in MEASURES.items():
            interval = ranking.interval(key, scores, labels)
            summaries[key] = {
                "value": ranking.measure(key, scores, labels),
                "low": interval.low,
                "high": interval.high,
                "n": len(scores),
                "higher_is_better": higher,
                "signature": f"{key}|{self._judge_signature or 'choices:no,yes'}|threshold:0.5|bins:10|version:1",
            }
        found = ranking.rank(scores, labels)
        total = len(self.eval_docs)
        return {
            "scores": summaries,
            "confusion": {
                "true_positive": found.true_positive,
                "false_positive": found.false_positive,
                "true_negative": found.true_negative,
                "false_negative": found.false_negative,
            },
            "counts": {"n": total, "answered": len(scores), "failed": total - len(scores)}
            | dict.fromkeys(("empty", "error", "short", "refused"), 0),
        }


def _pairs(metadata: Mapping[str, Any], dataset: str) -> tuple[list[LabelledPair], str, str | None]:
    if metadata.get("data_dir"):
        path = Path(str(metadata["data_dir"])).expanduser()
        if not path.is_file():
            raise HarnessError(
                f"no file at {path}", "Give data_dir the path of a JSON Lines file of labelled pairs."
            )
        return read_pairs(path), f"local:{path.name}", sha256_file(path)
    if dataset == "local":
        raise HarnessError("no pairs given", "Name the file: --metadata data_dir=FILE.")
    n, seed = int(metadata.get("n_documents", 1000)), int(metadata.get("data_seed", 0))
    return (
        list(newsworld_pairs(NEWS_WORLD_SPLIT, n, seed=seed)),
        f"newsworld:{NEWS_WORLD_SPLIT}:n={n}:seed={seed}",
        None,
    )


def question(doc: Mapping[str, Any]) -> str:
    """The prompt for language models: HHEM's own question."""
    return (
        "Determine if the hypothesis is true given the premise?\n\n"
        f"Premise: {doc['source']}\n\nHypothesis: {doc['summary']}\n\nAnswer (yes or no):"
    )


__all__ = ["CHOICES", "JudgeTask", "question"]
