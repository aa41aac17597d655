"""Lets stock ``lm_eval --tasks kd_...`` find the tasks of faithfulness-harness.

Why this file runs at every start of Python: lm-evaluation-harness 0.4 looks for tasks in its own folder and
in ``--include_path`` only; it has no entry points for them yet. So ``faithfulness_harness_lm_eval.pth``
imports this module, which puts one object on ``sys.meta_path`` and does nothing else. When, and only when,
a program imports ``lm_eval.tasks``, that object makes lm_eval's ``TaskManager`` read our task folder too,
and names our models ``harness-gold`` (answers with the references), ``harness-judge`` and
``harness-lookback-guided``.
No file is changed, no data is read or sent, and ``pip uninstall faithfulness-harness`` removes both files.

To turn it off set ``HARNESS_NO_LM_EVAL_HOOK=1``. ``harness eval`` does not need it.
"""

import os
import sys


class _LmEvalTasksFinder:
    """Import hook for the one module ``lm_eval.tasks``."""

    def find_spec(self, name, path=None, target=None):
        if name != "lm_eval.tasks":
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                _call_after_execution(spec.loader, _add_our_tasks)
                return spec
        return None


def _call_after_execution(loader, callback):
    execute = loader.exec_module

    def exec_module(module):
        execute(module)
        try:
            callback(module)
        except Exception as error:  # our defect must never stop somebody's lm_eval
            print(f"faithfulness-harness: lm_eval will not see the kd_ tasks: {error!r}", file=sys.stderr)

    loader.exec_module = exec_module


def _add_our_tasks(module):
    import functools
    import inspect

    from harness.paths import tasks_dir

    ours = str(tasks_dir())
    original = module.TaskManager.__init__
    signature = inspect.signature(original)

    @functools.wraps(original)
    def init(self, *args, **kwargs):
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        if bound.arguments["include_defaults"]:  # else the caller wants nothing but the folders given
            given = bound.arguments["include_path"] or []
            given = list(given) if isinstance(given, (list, tuple)) else [given]
            if ours not in [os.path.realpath(folder) for folder in given]:  # twice would warn for each task
                bound.arguments["include_path"] = [ours, *given]  # the later folder wins a name
        original(*bound.args, **bound.kwargs)

    module.TaskManager.__init__ = init
    _add_our_models()


def _add_our_models():
    """Name our models, unimported: entry points for models are not released yet."""
    import lm_eval.models  # noqa: F401  # lm-eval fills its registry here, and later only while it is empty
    from lm_eval.api.registry import model_registry

    for name, target in {
        "harness-gold": "harness.lmeval.models.gold:Gold",
        "harness-judge": "harness.lmeval.models.judge:HarnessJudge",
        "harness-lookback-guided": "harness.lmeval.models.guided:LookbackGuided",
    }.items():
        if name not in model_registry:
            model_registry.register(name, target=target)


if not os.environ.get("HARNESS_NO_LM_EVAL_HOOK"):
    sys.meta_path.insert(0, _LmEvalTasksFinder())
