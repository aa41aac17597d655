"""The files of an lm-eval run as they were read: results, and the sample log of each task, every line whole and as it was logged.

lm-eval 0.4.13 logs with each sample the hashes of its document, prompt and target (`lm_eval.evaluator.evaluate`). They are computed
again here, so that a text that was changed after the run is found.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.data.prompts import chat_text
from harness.errors import HarnessError
from harness.files import iter_jsonl, sha256_bytes

_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "results": dict,
    "configs": dict,
    "versions": dict,
    "n-samples": dict,
    "config": dict,
    "date": (int, float),
    "lm_eval_version": str,
}
_FIELDS_OF_SAMPLES: Mapping[str, type | tuple[type, ...]] = {
    "doc_id": int,
    "doc": object,
    "target": str,
    "arguments": (dict, list),
    "filtered_resps": list,
    "metrics": list,
    "doc_hash": str,
    "prompt_hash": str,
    "target_hash": str,
}
_AGAIN = "Run the evaluation again with lm-eval 0.4.12 or 0.4.13 and --log_samples."
_SHOWN = 5


def newest_results(folder: Path) -> Path:
    """The newest results file in a folder, or in the one model's folder in it; lm-eval puts the time into its name.

    Raises:
        HarnessError: If there is none, or those of several models.
    """
    first, *more = results_folders(folder)
    if more:
        raise HarnessError(
            f"{folder}: results of {1 + len(more)} models", f"Give one: {', '.join(map(str, [first, *more]))}"
        )
    return max(first.glob("results_*.json"))


def results_folders(folder: Path) -> list[Path]:
    """The folder itself if it holds results, else those below it that do: lm-eval makes one for each model in ``--output_path``.

    Raises:
        HarnessError: If there are none.
    """
    found = [folder] if any(folder.glob("results_*.json")) else []
    found = found or sorted({path.parent for path in folder.rglob("results_*.json")})
    if not found:
        raise HarnessError(
            f"{folder}: no results_*.json in it, nor in a folder below it",
            "Give a folder that lm_eval --output_path wrote.",
        )
    return found


def read_results(path: Path) -> dict[str, Any]:
    """The results file, which must have what a record needs; lm-eval's own versions differ in this.

    Raises:
        HarnessError: If it is no JSON, or lacks something.
    """
    try:
        results = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        remedy = "The run was cut short or the file is damaged: run lm_eval again."
        raise HarnessError(f"{path}: not JSON ({error})", remedy) from error
    if not isinstance(results, dict):
        raise HarnessError(f"{path}: not a results file of lm-eval", _AGAIN)
    missing = [name for name, kind in _FIELDS.items() if not isinstance(results.get(name), kind)]
    if missing:
        writer = results.get("lm_eval_version", "unknown")
        raise HarnessError(f"{path}: no {', '.join(missing)}; written by lm-eval {writer}", _AGAIN)
    return results


def read_rows(path: Path, results: Mapping[str, Any], task: str) -> list[dict[str, Any]]:
    """The lines of a sample log.

    Args:
        path: Of the log.
        results: What the results file says; of ``task``, the number of documents.
        task: Whose log it is.

    Raises:
        HarnessError: If the log is missing or of another version, a line was changed, or a document is repeated or missing.
    """
    if not path.is_file():
        raise HarnessError(f"{path}: missing", "Run lm_eval again with --log_samples.")
    rows = list(iter_jsonl(path, allow_nan=True))
    for number, row in enumerate(rows, start=1):
        if missing := _missing(row):
            raise HarnessError(
                f"{path}, line {number}: no {', '.join(missing)}; written by lm-eval {results['lm_eval_version']}",
                _AGAIN,
            )
    problems = [
        f"{path}, line {number}: {problem}"
        for number, row in enumerate(rows, start=1)
        for problem in _changed(row)
    ]
    HarnessError.raise_for(
        problems[:_SHOWN], "The line is not as it was logged. Restore the file, or run the evaluation again."
    )
    _check_documents(rows, (results["n-samples"].get(task) or {}).get("effective"), path)
    return rows


def _missing(row: Mapping[str, Any]) -> list[str]:
    """What a line lacks; sample logs of other versions of lm-eval have other fields."""
    missing = [name for name, kind in _FIELDS_OF_SAMPLES.items() if not isinstance(row.get(name), kind)]
    if missing:
        return missing
    if not isinstance(row["arguments"], dict) or "arg_0" not in row["arguments"].get("gen_args_0", {}):
        return ["arguments.gen_args_0"]
    if not row["filtered_resps"] or not all(isinstance(name, str) for name in row["metrics"]):
        return ["filtered_resps" if not row["filtered_resps"] else "metrics"]
    return []


def prompt_of(row: Mapping[str, Any]) -> str:
    """The prompt as it was hashed; a chat backend's is the one field of a tuple, JSON as text."""
    prompt = row["arguments"]["gen_args_0"]["arg_0"]
    return str(prompt[0] if isinstance(prompt, list) and prompt else prompt)


def readable_prompt_of(row: Mapping[str, Any]) -> str:
    """The prompt for readers: a chat that was sent as messages with each turn below its role."""
    return readable(row["arguments"]["gen_args_0"]["arg_0"])


def readable(prompt: Any) -> str:
    """A prompt of lm-eval for readers, as text or as the messages of a chat backend."""
    if isinstance(prompt, str):
        return prompt
    found = list(prompt)
    try:
        messages = json.loads(found[0]) if len(found) == 1 and isinstance(found[0], str) else found
        return chat_text(messages)
    except (ValueError, TypeError, AttributeError):
        return str(found[0] if len(found) == 1 else found)


def _changed(row: Mapping[str, Any]) -> list[str]:
    """Which of the line's texts are not those that were hashed, or are no text."""
    try:
        found = {
            "doc": json.dumps(row["doc"], indent=2, ensure_ascii=False),
            "prompt": prompt_of(row),
            "target": row["target"],
        }
        problems = [
            f"{name}_hash is not that of its {name}"
            for name, text in found.items()
            if sha256_bytes(text.encode()) != row[f"{name}_hash"]
        ]
        json.dumps(row["filtered_resps"], ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError) as error:
        return [f"half of a surrogate pair, or too deep to be text ({error})"]
    return problems


def _check_documents(rows: Sequence[Mapping[str, Any]], expected: Any, path: Path) -> None:
    """Each document once (for each of lm-eval's filters), and all of them."""
    counts = Counter((row["doc_id"], str(row.get("filter", "none"))) for row in rows)
    repeated = [key for key, count in counts.items() if count > 1]
    problems = [f"{path}: document {key[0]} occurs {counts[key]} times" for key in repeated[:_SHOWN]]
    present = len({doc_id for doc_id, _ in counts})
    if present != expected and not problems:
        problems.append(
            f"{path}: {present} of {expected} documents; the run was cut short, or is not that of the results"
        )
    HarnessError.raise_for(problems, "Run the evaluation again into an empty folder.")
