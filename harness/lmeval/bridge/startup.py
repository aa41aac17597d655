"""What the start-up hook does when somebody's program imports ``lm_eval.tasks``.

The hook itself is the module ``faithfulness_harness_lm_eval`` at the top of site-packages (``harness/startup``). It says there why
it is needed, and how it is turned off.
"""

from __future__ import annotations

import os
from types import ModuleType

from harness.data.hub import tell_no_other_host
from harness.lmeval.bridge import plain_errors
from harness.lmeval.bridge.task_index import include_ours
from harness.lmeval.models import registry


def install(tasks: ModuleType) -> None:
    """Let stock lm_eval find our tasks and models, and print our errors as such.

    No host but the hub is asked: transformers else sends the names of models without safetensors, and the user's token, to a
    conversion service, and `datasets` those of data sets to a host that counts.

    Args:
        tasks: The module ``lm_eval.tasks``, just executed.
    """
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    tell_no_other_host()
    include_ours(tasks.TaskManager)
    registry.register()
    plain_errors.install()
