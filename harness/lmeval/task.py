"""The one task class behind all ``kd_*`` tasks of lm-evaluation-harness.

A task's YAML names its data, prompt and decoding; its ``metadata`` names the metrics. Everything under ``metadata`` can
be overridden with ``lm_eval --metadata``. Three things differ from a plain ``ConfigurableTask``:

- all responses are scored at once, after generation, so that metrics can batch;
- a sample that failed (empty, refused) has no score: it is counted, never scored 0;
- ``configs.<task>.metadata`` of the results file holds, for every score, its 95% bootstrap interval, the number of samples
  behind it and its signature, and an account of the data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from lm_eval.api.metrics import mean
from lm_eval.api.task import ConfigurableTask

from harness.lmeval.documents import Origin, load
from harness.metrics import Sample, Suite
from harness.metrics.registry import build

_ORIGIN_KEYS = ("source", "references", "sentence_mark", "n_documents", "seed", "split", "revision")


class ScoredResponse(str):
    """A response that carries its scores: logs show plain text, and it survives the way between processes."""

    scores: dict[str, float]


def scores_of(_doc: Mapping[str, Any], results: Sequence[ScoredResponse]) -> dict[str, float]:
    """``process_results`` of every task: the scores found in `FactualTask.apply_filters`."""
    return dict(results[0].scores)


class FactualTask(ConfigurableTask):  # type: ignore[misc]
    """Generation from a source text, scored by a suite of metrics; see the module."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        settings = dict(config)
        settings.pop("class", None)  # TaskConfig knows no such key
        metadata = dict(settings.get("metadata") or {})
        self.suite = Suite(build(metadata["metrics"]))
        settings |= {
            "metadata": metadata,
            "test_split": "test",
            "process_results": scores_of,
            "metric_list": [
                {"metric": key, "aggregation": "mean", "higher_is_better": better is not False}
                for key, better in self.suite.keys.items()
            ],
        }
        super().__init__(config=settings)
        self._aggregation_list = {key: _Headline(self, key) for key in self.suite.keys}

    def download(self, _dataset_kwargs: dict[str, Any] | None = None, **_: Any) -> None:
        """Read the documents from where the metadata say; called by the base class."""
        metadata = self.config.metadata
        chosen = {key: metadata[key] for key in _ORIGIN_KEYS if key in metadata}
        origin = Origin(
            path=self.config.dataset_path,
            name=self.config.dataset_name,
            local=metadata.get("data_dir"),
            **chosen,
        )
        documents = load(origin)
        if origin.local:
            metadata["data_dir"] = documents.account["data_source"]  # results name no path of this machine
        metadata.update(documents.account)
        self.dataset = {"test": documents.dataset}

    def apply_filters(self) -> None:
        """Filter as configured, then score all responses of this process at once."""
        super().apply_filters()
        if "bypass" in self._metric_fn_list:  # --predict_only
            return
        (name,) = {filter_.name for filter_ in self._filters}
        samples = [
            Sample(
                source=instance.doc["source"],
                references=tuple(instance.doc["references"]),
                response=str(instance.filtered_resps[name]).strip(),
            )
            for instance in self._instances
        ]
        scores = self.suite.score(samples)
        missing = [key for key in self.suite.keys if not any(key in found for found in scores)]
        scores[0].update(
            dict.fromkeys(missing, math.nan)
        )  # every process must name every key, or gathering breaks
        for instance, sample, found in zip(self._instances, samples, scores, strict=True):
            scored = ScoredResponse(sample.response)
            scored.scores = found
            instance.filtered_resps[name] = scored

    def process_results(self, doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, Any]:
        """Scores of one document."""
        if "bypass" in self._metric_fn_list:
            bypassed: dict[str, Any] = super().process_results(doc, results)
            return bypassed
        return scores_of(doc, results)


class _Headline:
    """Aggregates one score and notes its interval in the task's metadata.

    lm-eval knows the standard error of its own ``mean`` and looks it up by equality: a headline that is a mean equals it.
    """

    def __init__(self, task: FactualTask, key: str) -> None:
        self._task, self._key = task, key

    def __call__(self, items: Sequence[float]) -> float:
        scores = [score for score in items if not math.isnan(score)]
        summary = self._task.suite.summarise_key(self._key, scores)
        self._task.config.metadata.setdefault("scores", {})[self._key] = asdict(summary)
        return self._task.suite.aggregate(self._key, scores)

    def __eq__(self, other: object) -> bool:
        if other is mean:
            return not self._task.suite.is_corpus_score(self._key)
        return self is other

    def __hash__(self) -> int:
        return hash(mean)
