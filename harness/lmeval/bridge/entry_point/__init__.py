"""The folder of our task files as a package name, which is what lm-eval's entry points for tasks will ask for.

``harness.lmeval.bridge.entry_point.tasks`` (``pyproject.toml``) is a folder without ``__init__.py``: ``tasks/`` of a checkout, or
its copy in a wheel. Python finds it because this package looks for its parts where that folder is.
"""

from harness.paths import tasks_dir

__path__ = [str(tasks_dir().parent)]
