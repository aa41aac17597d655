"""The aggregate file: who evaluated what, with which library, each score with its interval, and how responses were made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.board.card import dataset_of
from harness.board.every_eval_ever.place import Place, Publisher
from harness.board.every_eval_ever.samples import SCHEMA_VERSION, directed_keys, is_rate, texts
from harness.errors import HarnessError
from harness.metrics.base import COUNTS, Score
from harness.records.described import describe
from harness.records.record import Record

_UNITS = {"share": "proportion", "of 100": "points", "points": "points"} | {
    str(unit): str(unit) for unit in COUNTS
}
_GENERATION = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "max_gen_toks": "max_tokens"}
"""Decoding option of lm-eval -> field of ``generation_args``; any other goes into ``additional_details``."""
_RUN_HERE = {"hf": "transformers", "vllm": "vllm", "sglang": "sglang"}
"""lm-eval backends that load weights into their own process -> inference engine."""


def aggregate(record: Record, digest: str, place: Place, publisher: Publisher, *, now: int) -> dict[str, Any]:
    """The aggregate file's content, without the link to the samples.

    Raises:
        HarnessError: If no score has a better direction.
    """
    keys = directed_keys(record)
    if not keys:
        raise HarnessError(
            f"{record.model} on {record.task}: no score with a better direction, which the schema needs",
            "Leave this record out.",
        )
    found: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"{place.collection}/{place.model_id}/{digest}",
        "retrieved_timestamp": str(now),
        "source_metadata": _source_metadata(record, digest, publisher),
        "eval_library": _library(record),
        "model_info": _model(record, place),
        "evaluation_results": [_result(record, key) for key in keys],
    }
    if not record.measured_elsewhere:  # whose date is that of access
        found["evaluation_timestamp"] = str(record.provenance["date"])
    return found


def _source_metadata(record: Record, digest: str, publisher: Publisher) -> dict[str, Any]:
    origin = record.provenance
    undirected = {key: score for key, score in record.scores.items() if score["higher_is_better"] is None}
    details = {
        "record_sha256": digest,
        "measured": "elsewhere" if record.measured_elsewhere else None,
        "url": origin.get("url"),
        "accessed": origin.get("accessed"),
        "license": origin.get("license"),
        "scores_without_direction": undirected or None,
    }
    return {
        "source_name": str(origin["source"]) if origin.get("source") else "faithfulness-harness",
        "source_type": "evaluation_run",  # in the schema's words: the samples are there, whoever ran them
        "source_organization_name": publisher.organization,
        "evaluator_relationship": publisher.relationship,
        "additional_details": texts(details),
    }


def _library(record: Record) -> dict[str, Any]:
    software: Mapping[str, Any] = record.provenance["software"]
    ours, lm_eval = software.get("harness"), software.get("lm_eval")
    names = [("faithfulness-harness", ours), ("lm-evaluation-harness", lm_eval), ("unknown", "unknown")]
    name, version = next((name, version) for name, version in names if version)
    details = texts({**software, "machine": record.provenance.get("machine")})
    return {"name": name, "version": str(version)} | ({"additional_details": details} if details else {})


def _model(record: Record, place: Place) -> dict[str, Any]:
    origin = record.provenance
    engine = _RUN_HERE.get(str(origin.get("backend")))
    known = {name: value for name, value in origin["model"].items() if name != "name"}
    details = {**known, "parameters": origin.get("parameters"), "dtype": origin.get("dtype")}
    found: dict[str, Any] = {
        "name": record.model,
        "id": place.model_id,
        "developer": place.model_id.partition("/")[0],
        "additional_details": {
            "deployment_type": "self_deployed" if engine else "unknown",
            "model_availability": "unknown",
            **texts(details),
        },
    }
    if engine:
        version = origin["software"].get(engine)
        found["inference_engine"] = {"name": engine} | ({"version": str(version)} if version else {})
    return found


def _result(record: Record, key: str) -> dict[str, Any]:
    stated, score = record.scores[key], describe(record, key)
    judge = (record.provenance.get("judges") or {}).get(key)
    return {
        "evaluation_result_id": key,
        "evaluation_name": record.task,
        "source_data": _data(record),
        "metric_config": {
            "metric_id": f"faithfulness-harness.{key}"
            if not record.measured_elsewhere
            else f"{record.task}.{key}",
            "metric_name": key,
            "evaluation_description": score.title,
            "metric_unit": _UNITS[score.unit],
            "metric_parameters": {"signature": stated["signature"], **({"judge": judge} if judge else {})},
            "lower_is_better": not stated["higher_is_better"],
            "score_type": "continuous",
            "min_score": "-Infinity" if score.low is None else score.low,
            "max_score": "Infinity" if score.high is None else score.high,
        },
        "score_details": {
            "score": _held(stated["value"], score),
            "details": {"failed": str(len(record.samples) - stated["n"])},
            "uncertainty": _uncertainty(record, key),
        },
        **_generation(record),
    }


def _held(value: float, score: Score) -> float:
    """A headline in its range: float32's rounding may take the BERTScore of two equal texts past 1."""
    low, high = (limit if limit is not None else value for limit in (score.low, score.high))
    return min(max(value, low), high)


def _uncertainty(record: Record, key: str) -> dict[str, Any]:
    stated, bootstrap = record.scores[key], record.bootstrap
    found: dict[str, Any] = {"num_samples": stated["n"]}
    if stated["low"] is None or stated["high"] is None:
        return found
    wilson = is_rate(record, key)
    if not wilson:
        found["num_bootstrap_samples"] = bootstrap["n_resamples"]
    return found | {
        "confidence_interval": {
            "lower": stated["low"],
            "upper": stated["high"],
            "confidence_level": bootstrap["confidence"],
            "method": "Wilson score" if wilson else f"BCa bootstrap, seed {bootstrap['seed']}",
        }
    }


def _data(record: Record) -> dict[str, Any]:
    origin = record.provenance
    dataset, config, revision, split = dataset_of(record)
    hashes = {name: origin.get(name) for name in ("data_sha256", "documents_sha256", "prompts_sha256")}
    details = texts({"data_source": origin["data_source"], "config": config, "revision": revision, **hashes})
    if not str(origin["data_source"]).startswith("hub:"):
        name = record.task if record.measured_elsewhere else str(dataset)
        return {"dataset_name": name, "source_type": "other", "additional_details": details}
    return {
        "dataset_name": dataset,
        "source_type": "hf_dataset",
        "hf_repo": dataset,
        **({"hf_split": split} if split else {}),
        "additional_details": details,
    }


def _generation(record: Record) -> dict[str, Any]:
    """Decoding and prompt; empty where neither is known."""
    origin = record.provenance
    decoding: Mapping[str, Any] = origin.get("decoding") or {}
    arguments = {_GENERATION[name]: value for name, value in decoding.items() if name in _GENERATION}
    if record.prompt:
        arguments["prompt_template"] = record.prompt
    others = ("num_fewshot", "chat_template_sha256", "system_instruction_sha256", "limit", "batch_size")
    rest = {name: value for name, value in decoding.items() if name not in _GENERATION}
    details = texts({**rest, **{name: origin.get(name) for name in others}})
    config = {"generation_args": arguments, "additional_details": details}
    known = {name: value for name, value in config.items() if value}
    return {"generation_config": known} if known else {}
