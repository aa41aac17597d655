"""Build hook: what a wheel holds besides the two packages.

The start-up module and its ``.pth`` line go to the top level of site-packages in every kind of install. The
task files go in as ``harness/tasks`` in a wheel only: an editable install reads the live ``tasks/``
folder, and a copy would go stale.
"""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

STARTUP_FILES = {
    "harness/startup/faithfulness_harness_lm_eval.py": "faithfulness_harness_lm_eval.py",
    "harness/startup/faithfulness_harness_lm_eval.pth": "faithfulness_harness_lm_eval.pth",
}


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds files to the wheel; hatchling finds the class by its base."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Declare the extra files; ``version`` is "editable" or "standard"."""
        if version == "editable":
            build_data["force_include_editable"] = STARTUP_FILES
        else:
            build_data["force_include"] |= STARTUP_FILES | {"tasks": "harness/tasks"}
