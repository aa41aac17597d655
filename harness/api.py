"""The Python API: `evaluate` a model, and `compare` two evaluations; what ``harness eval`` and ``harness compare`` do, as objects.

Both are names of `harness` itself, which loads this module at their first use. Bad input is a `harness.errors.HarnessError`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.lmeval.request import EvalRequest
    from harness.metrics.suite import ScoreSummary
    from harness.records.compare import Comparison, ScoreComparison
    from harness.records.record import Record, Scored

DEFAULT_TASKS = "kd_faithfulness"
GOLD = "gold"
"""As a model: the references themselves. A folder of that name is ``./gold``."""


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """One model on one or several tasks. As text: the table that ``harness eval`` prints."""

    folder: Path
    """lm-eval's results folder; ``harness import-results`` and `compare` read it."""
    records: Mapping[str, Record]
    """By task: headlines, every sample with its response and scores, and where it all came from."""
    table: str
    """Each score with its interval and n, then the counts of failed responses."""

    @property
    def scores(self) -> dict[str, dict[str, ScoreSummary]]:
        """Headlines by task and key, in the metric's own unit: ``value``, ``low`` and ``high`` (95%), ``n``."""
        from harness.metrics.suite import ScoreSummary

        return {
            task: {key: ScoreSummary(**score) for key, score in record.scores.items()}
            for task, record in self.records.items()
        }

    def __str__(self) -> str:
        return self.table


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A candidate against a baseline on one task. As text: verdict and table, as ``harness compare`` prints them."""

    baseline: str
    """Name of the model."""
    candidate: str
    comparison: Comparison
    """Paired tests, Holm-corrected over all of them."""

    @property
    def verdict(self) -> str:
        """One or two plain sentences on the first score."""
        from harness.records.verdict import verdict

        return verdict(self.comparison, self.baseline, self.candidate)

    @property
    def scores(self) -> dict[str, ScoreComparison]:
        """By key: difference (candidate minus baseline, in the metric's own unit), interval, test, p-values."""
        return {found.key: found for found in self.comparison.scores}

    def to_dict(self) -> dict[str, Any]:
        """Plain rounded data, ready for JSON."""
        from harness.board.export import comparison_data
        from harness.stats.rounding import rounded_tree

        rounded: dict[str, Any] = rounded_tree({"verdict": self.verdict, **comparison_data(self.comparison)})
        return rounded

    def __str__(self) -> str:
        from harness.board.markdown import comparison_table

        said = [self.verdict, *(found.sentence() for found in self.comparison.disagreements())]
        table = f"\n\n{comparison_table(self.comparison)}" if self.comparison.scores else ""
        return "\n".join(said) + table


def evaluate(
    model: str | Path,
    tasks: str | Sequence[str] = DEFAULT_TASKS,
    *,
    output: str | Path = "results",
    limit: int | None = None,
    num_fewshot: int | None = None,
    metadata: Mapping[str, Any] | None = None,
    chat: bool | None = None,
    gen_kwargs: Mapping[str, Any] | None = None,
    backend: str = "hf",
    model_args: Mapping[str, str | int | float | bool] | None = None,
    batch_size: int | str | None = None,
    device: str | None = None,
    fresh: bool = False,
) -> Evaluated:
    """Evaluate a model with stock lm-eval.

    Args:
        model: Folder or hub name; ``gold`` scores the references themselves.
        tasks: Tasks or groups, ours (``harness.lmeval.run.all_task_names``) or lm-eval's own; in text with commas between.
        output: Results folder; it gets a folder per model, and ``.responses``, from which the same call resumes.
        limit: Only the first documents of each task; for trials.
        num_fewshot: Solved examples in the prompt; None leaves it to the task.
        metadata: Options of tasks and metrics, such as ``{"metrics": ["rouge"], "n_documents": 100}`` (docs/metrics.md).
        chat: Ask in the model's chat template, as instruct models need; our tasks then take their wording and stops for it. None:
            where the model has one.
        gen_kwargs: Decoding in place of the tasks' own, such as ``{"max_gen_toks": 64}``.
        backend: Model backend of lm-eval.
        model_args: Further arguments of the backend, such as ``{"dtype": "bfloat16"}``.
        batch_size: Prompts at once, or ``auto``; None: 16, of an endpoint 1.
        device: Torch device; None takes the accelerator, else the processor.
        fresh: Ask the model again instead of resuming from kept responses.

    Raises:
        HarnessError: If the model is missing or not whole, a task is unknown, its data or a judge are missing, or results cannot
            be written.
    """
    from harness.lmeval import run
    from harness.lmeval.results_table import summary_table
    from harness.records import from_lm_eval

    request = eval_request(
        model,
        tasks,
        output=output,
        limit=limit,
        num_fewshot=num_fewshot,
        metadata=metadata or {},
        chat=chat,
        gen_kwargs=gen_kwargs or {},
        backend=backend,
        model_args=model_args or {},
        batch_size=batch_size,
        device=device,
        fresh=fresh,
    )
    folder = run.evaluate(request)
    records = {record.task: record for record in from_lm_eval(folder)}
    return Evaluated(folder=folder, records=records, table=summary_table(folder))


def eval_request(
    model: str | Path,
    tasks: str | Sequence[str],
    *,
    output: str | Path,
    limit: int | None,
    num_fewshot: int | None,
    metadata: Mapping[str, Any],
    chat: bool | None,
    gen_kwargs: Mapping[str, Any],
    backend: str,
    model_args: Mapping[str, str | int | float | bool],
    batch_size: int | str | None,
    device: str | None,
    fresh: bool,
) -> EvalRequest:
    """What `evaluate` and ``harness eval`` ask of lm-eval; the arguments are those of `evaluate`.

    Raises:
        HarnessError: If an argument makes no sense; all at once.
    """
    from harness.lmeval.bridge.apis import endpoint_kind
    from harness.lmeval.request import EvalRequest, named_model

    HarnessError.raise_for(option_problems(limit, batch_size, num_fewshot), "Correct it and call again.")
    names = [name for name in (tasks.split(",") if isinstance(tasks, str) else tasks) if name]
    names = names or [DEFAULT_TASKS]
    gold = str(model) == GOLD
    if batch_size is None:
        batch_size = 1 if endpoint_kind(backend) else 16
    if backend == "local-completions" and not {"tokenizer", "tokenizer_backend"} & model_args.keys():
        model_args = {
            **model_args,
            "tokenizer_backend": "none",
        }  # lm-eval would look for a tokenizer of the model's name
    return EvalRequest(
        model="harness-gold" if gold else backend,
        model_args=named_model(str(model), backend, model_args),
        tasks=tuple(names),
        output_path=Path(output),
        batch_size=int(batch_size) if str(batch_size).isdigit() else batch_size,
        device=device,
        limit=limit,
        num_fewshot=num_fewshot,
        apply_chat_template=chat,
        gen_kwargs=gen_kwargs,
        metadata=metadata,
        response_cache=None if gold or fresh or backend == "harness-judge" else Path(output) / ".responses",
    )


_BATCH_SIZE = re.compile(r"0*[1-9][0-9]*|auto(:[1-9][0-9]*)?")
"""``auto:N`` measures N times anew as prompts get shorter."""


def option_problems(
    limit: int | None, batch_size: int | str | None, num_fewshot: int | None = None
) -> list[str]:
    """What is wrong with how much is to be evaluated, each as a sentence that begins with the option."""
    problems = [f"limit {limit} leaves no document"] if limit is not None and limit < 1 else []
    size = "1" if batch_size is None else str(batch_size)
    if not _BATCH_SIZE.fullmatch(size):
        problems.append(f"batch_size {size} is neither a positive number nor auto")
    if num_fewshot is not None and num_fewshot < 0:
        problems.append(f"num_fewshot {num_fewshot} is no number of examples: give 0 or more")
    return problems


def compare(
    baseline: Evaluated | Record | Scored | str | Path,
    candidate: Evaluated | Record | Scored | str | Path,
    *,
    scores: Sequence[str] | None = None,
    task: str | None = None,
    names: tuple[str, str] | None = None,
) -> Compared:
    """Test whether two models differ on the same documents.

    Args:
        baseline: What `evaluate` returned, a record, the path of a record, or a results folder of lm-eval.
        candidate: The same, of the same task.
        scores: Keys to compare, the verdict's first; by default all with a better direction, faithfulness first.
        task: Which one, where there are several.
        names: Of the two models, in place of those of their records.

    Raises:
        HarnessError: If the two are of different tasks, documents, prompts, decoding or ways to compute a score, or share none.
    """
    from harness.records.compare import compare as compare_records
    from harness.records.compare import default_keys, incompatibilities

    before, after = _scored(baseline, task), _scored(candidate, task)
    keys = list(scores or default_keys(before, after))
    lacking = [
        f"{record.model} has no score {key}"
        for key in keys
        for record in (before, after)
        if key not in record.scores and record.counts.get("answered", 1)
    ]
    problems = incompatibilities(before, after, keys) or (
        lacking if keys else ["the two records share no score"]
    )
    HarnessError.raise_for(
        problems,
        "Compare runs of one task on the same documents, prompts and decoding, scored in the same way.",
    )
    columns = [(before.task, key) for key in keys]
    found = compare_records({before.task: before}, {before.task: after}, columns)
    first, second = names or (before.model, after.model)
    return Compared(baseline=first, candidate=second, comparison=found)


def _scored(given: Evaluated | Record | Scored | str | Path, task: str | None) -> Scored:
    """The columns of whatever `compare` was given."""
    from harness.board.load import load_rows
    from harness.records import from_lm_eval
    from harness.records.record import Record, Scored, scored

    if isinstance(given, Scored):
        return given
    if isinstance(given, Record):
        return scored(given)
    if isinstance(given, Evaluated):
        where, records = given.folder, list(given.records.values())
    elif Path(given).is_dir():
        where, records = Path(given), from_lm_eval(Path(given))
    else:
        return load_rows([Path(given)])[0]
    chosen = [record for record in records if task in (None, record.task)]
    if len(chosen) != 1:
        found = ", ".join(record.task for record in chosen) or "none of that name"
        raise HarnessError(f"{where}: needs one task, has {found}", "Say which: --task, or task= in Python.")
    return scored(chosen[0])
