"""The one error that a user sees."""

from __future__ import annotations

from collections.abc import Sequence


class HarnessError(Exception):
    """Bad input or a bad environment: what is wrong and where, then what to do about it.

    ``harness.cli.main`` prints it without a traceback; any other exception is a bug and keeps its traceback.

    Args:
        problem: What is wrong, naming the file, row, key or option.
        remedy: What to do, where possible as a command to type.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}\n{self.remedy}"

    @classmethod
    def raise_for(cls, problems: Sequence[str], remedy: str) -> None:
        """Raise one error for all collected problems; do nothing when there are none.

        Raises:
            HarnessError: If ``problems`` is not empty.
        """
        if not problems:
            return
        if len(problems) == 1:
            raise cls(problems[0], remedy)
        listed = [f"  - {problem}" for problem in problems]
        raise cls("\n".join([f"{len(problems)} problems:", *listed]), remedy)
