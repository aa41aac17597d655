"""`FactualTask`, the task class behind every ``kd_*`` task.

Stock lm-eval scores one document at a time and aggregates with a mean. This class scores all responses of a rank in one
call, right after generation (`apply_filters`), so that models run in batches and corpus metrics see the corpus. The rest
is lm-eval's: prompts, generation, caching, sample logs and tables. Everything beyond a value and its standard error
(intervals, signatures, counts, provenance of the data) goes to ``results["configs"][task]["metadata"]``, which lm-eval
dumps after aggregation.
"""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import datasets
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean
from lm_eval.api.task import ConfigurableTask

import harness
from harness.data import documents
from harness.errors import HarnessError
from harness.lmeval import fewshot
from harness.lmeval.bridge import (
    apis,
    context,
    endpoints,
    hand_over,
    one_file,
    plain_errors,
    ranks,
    sample_log,
    token_limit,
)
from harness.lmeval.bridge.attention import language_model
from harness.lmeval.bridge.whole_model import Loaded, require_whole_files
from harness.lmeval.options import parse
from harness.metrics.base import Sample
from harness.metrics.suite import Summary
from harness.records import provenance
from harness.records.lm_eval_log import readable
from harness.records.samples import find_source

plain_errors.install()
log = logging.getLogger(__name__)


class FactualTask(ConfigurableTask):  # type: ignore[misc]  # lm_eval ships no types
    """A generation task whose responses are scored against a source and references.

    Args:
        config: The task's YAML with ``--metadata`` merged in; see `harness.lmeval.options` for the metadata that is read.

    Raises:
        HarnessError: If the data, an option, or something that a metric needs is missing or wrong.
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        own = dict(config or {})
        self.options = parse(own)
        for key in ("class", "factual"):  # TaskConfig refuses keys that are not its own
            own.pop(key, None)
        self.suite = self.options.suite
        self._summary: Summary | None = None
        self._ragged_keys: frozenset[str] = frozenset()
        self._model: dict[str, Any] | None = None
        self._count_tokens: token_limit.Counter | None = None
        self._token_limit: int | None = None
        self._shortened: set[int] | None = None
        self._shortened_count: int | None = None
        self._metric_counts: Counter[str] = Counter()
        self._examples: documents.Documents | None = None
        self._decoding: dict[str, Any] = {}
        self._in_chat = False
        own |= deepcopy(self._wording(chat=self.options.alias_of is not None))
        # without one, lm-eval looks every metric name up on the hub
        own["process_results"] = sample_log.unpack_scores
        own["metric_list"] = [
            {"metric": key, "aggregation": "mean", "higher_is_better": higher_is_better}
            for key, higher_is_better in self.suite.keys.items()
        ]
        super().__init__(config=own)

    def download(self, _dataset_kwargs: Mapping[str, Any] | None = None, **_: Any) -> None:
        """Read the documents (lm-eval's hook for it); `documents.load` says from where."""
        self.documents = documents.load(self.options.data)
        self.dataset = {self.options.data.split: datasets.Dataset.from_list(self.documents.rows)}

    def fewshot_docs(self) -> list[dict[str, Any]]:
        """None here: they are read in `build_all_requests`, once it is known that there are to be any."""
        return []

    def doc_to_target(self, doc: Mapping[str, Any], _template: Any = None) -> str:
        """The first reference, as text: lm-eval would evaluate one in square brackets as a Python list."""
        return str(doc["reference"])

    def set_config(self, key: str, value: Any, update: bool = False) -> None:
        """lm-eval's way to change the configuration; what it says of decoding (``--gen_kwargs``) holds in every wording."""
        super().set_config(key, value, update)
        if key == "generation_kwargs":
            self._decoding |= value
            if isinstance(stop := self._decoding.get("until"), str):
                self._decoding["until"] = [stop]

    def build_all_requests(self, **kwargs: Any) -> None:
        """Build one request per document, and one before them that hands us the model (`prepare`).

        lm-eval's request cache is off: its key ignores which data a task was given.
        """
        self._ask(chat=bool(kwargs.get("apply_chat_template")))
        if self.config.num_fewshot:
            self._examples = fewshot.examples(
                self.options.data,
                self.documents,
                wanted=self.config.num_fewshot,
                until=self.config.generation_kwargs["until"],
                task=self.config.task,
            )
            self.sampler.replace_df(self._examples.rows)
        super().build_all_requests(**kwargs | {"cache_requests": False, "rewrite_requests_cache": False})
        self._instances.insert(0, hand_over.request(self.config.task, self.prepare))

    def _ask(self, *, chat: bool) -> None:
        """Ask in the wording for a chat template or without one; stops and length of the response go with it.

        Raises:
            HarnessError: If the task is for the one and the other is the case.
        """
        task, alias_of = self.config.task, self.options.alias_of
        if alias_of and not chat:
            raise HarnessError(
                f"{task}: its prompt is for instruct models, and no chat template is applied",
                f"Add --apply_chat_template, or use {alias_of}.",
            )
        if self.options.wording.template == "dolly" and chat:
            raise HarnessError(
                f"{task}: template=dolly stands in place of a chat template, and one is applied",
                "Leave one of the two out.",
            )
        if alias_of:
            _tell_of_former_names()
        self._in_chat = chat
        for key, value in deepcopy(self._wording(chat=chat)).items():
            super().set_config(key, value)
            if hasattr(self.fewshot_cfg, key):
                setattr(self.fewshot_cfg, key, value)
        super().set_config("generation_kwargs", self._decoding, update=True)

    def _wording(self, *, chat: bool) -> Mapping[str, Any]:
        return self.options.wording.chat if chat else self.options.wording.plain

    def prepare(self, lm: Any) -> None:
        """Called with the evaluated model before anything is generated: prompts that are too long are cut, and counted.

        Metrics that read the model's attention are shown it, and say now what they lack; so do those that are made for other texts.
        """
        endpoints.prepare(lm)
        require_whole_files(Loaded.of_model(lm))
        one_file.require_own_file(self, lm)
        if not self._in_chat and self.options.wording.differs and _has_chat_template(lm):
            _tell_of_chat(self.config.task)
        self._model = apis.description(lm) if apis.is_endpoint(lm) else provenance.evaluated_model(lm)
        self._count_tokens = token_limit.token_counter(lm)
        self._token_limit = getattr(lm, "max_gen_toks", None)
        self._shortened = context.fit_prompts(lm, self._responses())
        if "bypass" not in self._metric_fn_list:
            self.suite.check_sources([document.get("source", "") for document in self.documents.rows])
            self.suite.prepare(language_model(lm))

    def _responses(self) -> list[Instance]:
        return [instance for instance in self._instances if instance.request_type != hand_over.REQUEST_TYPE]

    def apply_filters(self) -> None:
        """Score all responses of this rank at once."""
        self._instances = self._responses()  # lm-eval goes through all instances after this
        super().apply_filters()
        if "bypass" in self._metric_fn_list:  # --predict_only
            return
        name = self._filters[0].name
        cut = token_limit.cut(self._instances, self._count_tokens, self._token_limit)
        samples = [
            _sample(instance, str(instance.filtered_resps[name]), truncated)
            for instance, truncated in zip(self._instances, cut, strict=True)
        ]
        scores = [sample_log.as_published(found) for found in self.suite.score(samples)]
        self._summarise([i.doc_id for i in self._instances], [s.response for s in samples], scores)
        scores, self._ragged_keys = ranks.same_keys_on_every_rank(scores)
        for instance, found in zip(self._instances, scores, strict=True):
            instance.filtered_resps[name] = sample_log.Scored(instance.filtered_resps[name], found)

    def process_results(self, doc: Mapping[str, Any], results: Any) -> dict[str, Any]:
        """Hand a document's scores to lm-eval; a failed sample lacks the key and is no part of the mean."""
        if "bypass" in self._metric_fn_list:
            return dict(super().process_results(doc, results))
        return sample_log.unpack_scores(doc, results)

    def aggregation(self) -> dict[str, Callable[[Sequence[float]], float]]:
        """lm-eval's own mean, for which it knows the standard error; corpus scores are computed on the corpus."""
        if "bypass" in self._metric_fn_list:
            return dict(self._aggregation_list)
        usual = {key: ranks.mean_of_scored if key in self._ragged_keys else mean for key in self.suite.keys}
        corpus = {
            key: partial(self._corpus_score, key)
            for key in self.suite.keys
            if self.suite.is_corpus_score(key)
        }
        return usual | corpus

    def dump_config(self) -> dict[str, Any]:
        """The configuration for the results file.

        lm-eval's metadata holds the model's arguments and paths of this machine; ours holds what makes the score.
        """
        dumped: dict[str, Any] = super().dump_config()
        metadata: dict[str, Any] = {
            "version": self.options.version,
            "harness_version": harness.__version__,
            "metrics": list(self.options.families),
            "metric_options": dict(self.options.metric_options),
            "runtime": self._runtime(),
            **self.documents.provenance(),
        }
        if self._summary is not None:
            metadata |= self._summary.to_dict()
            metadata["counts"]["shortened"] = self._shortened_count
            metadata["counts"] |= dict(self._metric_counts)
        if self.suite.absent:
            metadata["absent"] = self.suite.absent
        if held_out := {key: found and found.to_dict() for key, found in self.suite.held_out().items()}:
            metadata["held_out"] = held_out
        if self._examples is not None:
            metadata["fewshot_source"] = self._examples.source
        dumped["metadata"] = metadata
        for entry in dumped["metric_list"]:
            if self.suite.is_corpus_score(entry["metric"]):
                entry["aggregation"] = "corpus"
        return dumped

    def _runtime(self) -> dict[str, Any]:
        """What evaluates, said by the process that does: a record may be made on another machine."""
        return {
            "model": self._model,
            "software": provenance.software(),
            "machine": provenance.machine(),
        }

    def _corpus_score(self, key: str, scores: Sequence[float]) -> float:
        return self.suite.aggregate(key, ranks.scored(scores))

    def _summarise(
        self, doc_ids: Sequence[int], responses: Sequence[str], scores: Sequence[Mapping[str, float]]
    ) -> None:
        everything = ranks.gather(list(zip(doc_ids, responses, scores, strict=True)))
        shortened = ranks.gather([None if self._shortened is None else len(self._shortened)])
        self._shortened_count = None if None in shortened else sum(shortened)
        counted = [metric.counts() for metric in self.suite.metrics]
        self._metric_counts = Counter()
        for counts in ranks.gather(counted):
            self._metric_counts.update(counts)
        everything.sort(key=lambda item: item[0])  # the bootstrap must not depend on the number of ranks
        self._summary = self.suite.summarise(
            [response for _, response, _ in everything],
            [found for _, _, found in everything],
            self.options.bootstrap,
        )


@functools.cache
def _tell_of_former_names() -> None:
    """Once in a process: a group of them would say it for each."""
    log.warning(
        "Task names that end in _chat are former names, and go with the next release: under a chat template the name without it "
        "asks the same."
    )


def _has_chat_template(lm: Any) -> bool:
    return bool(getattr(token_limit.tokenizer_of(lm), "chat_template", None))


@functools.cache
def _tell_of_chat(task: str) -> None:
    """Once for each task, however many models a process evaluates."""
    log.warning(
        f"{task}: the model has a chat template and is asked without it, in words for base models. In it: lm_eval "
        "--apply_chat_template, or harness eval without --no-chat-template."
    )


def _sample(instance: Instance, response: str, truncated: bool | None) -> Sample:
    doc, prompt = instance.doc, readable(instance.args[0])
    place = find_source(prompt, doc.get("source", ""))
    return Sample(
        source=doc.get("source", ""),
        references=tuple(doc["references"]),
        response=response.strip(),
        prompt=prompt,
        document_end=place[1] if place else None,
        raw=response,
        truncated=truncated,
    )
