"""Lets stock ``lm_eval --tasks kd_...`` find the tasks of faithfulness-harness.

Why this file runs at every start of Python: lm-evaluation-harness 0.4 looks for tasks in its own folder and
in ``--include_path`` only; it has no entry points for them yet. So ``faithfulness_harness_lm_eval.pth``
imports this module, which puts one object on ``sys.meta_path`` and does nothing else. When, and only when,
a program imports ``lm_eval.tasks``, that object calls ``harness.lmeval.bridge.startup``: lm_eval's
``TaskManager`` then reads our task folder too, and lm_eval knows our models ``harness-gold`` (answers with
the references), ``harness-judge`` and ``harness-lookback-guided``. An lm_eval that finds the tasks by itself
is left alone, and so is a program whose ``harness`` is somebody else's package.
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
                if hasattr(spec.loader, "exec_module"):
                    _call_after_execution(spec.loader)
                return spec
        return None


def _call_after_execution(loader):
    execute = loader.exec_module

    def exec_module(module):
        execute(module)
        try:
            _install(module)
        except Exception as error:  # our defect must never stop somebody's lm_eval
            print(f"faithfulness-harness: lm_eval will not see the kd_ tasks: {error!r}", file=sys.stderr)

    try:
        loader.exec_module = exec_module
    except AttributeError:
        return  # a loader that takes no attributes: somebody else's lm_eval


def _install(module):
    from importlib.util import find_spec
    from pathlib import Path

    try:
        found = find_spec("harness")  # not imported: it may be a package of that name in the working folder
    except ValueError:  # imported already, and made by hand
        return
    folders = (found and found.submodule_search_locations) or ()
    if any(Path(folder, "lmeval", "bridge", "startup.py").is_file() for folder in folders):
        from harness.lmeval.bridge.startup import install

        install(module)


if not os.environ.get("HARNESS_NO_LM_EVAL_HOOK"):
    sys.meta_path.insert(0, _LmEvalTasksFinder())
