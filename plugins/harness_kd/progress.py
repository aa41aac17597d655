"""Progress of long work: a bar on a terminal, and elsewhere, as in the log of a batch job, a plain line every half minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from tqdm import tqdm

EVERY = 30.0
"""Seconds between plain lines."""
NOTED = 1.0
"""Seconds between looks at what is noted beside a bar."""


class Progress:
    """How far a piece of work is, on stderr; a context manager."""

    def __init__(
        self, name: str, total: int, *, unit: str, done: int = 0, shown: bool = True, leave: bool = True
    ) -> None:
        """Begin.

        Args:
            name: Of the work.
            total: Units of it.
            unit: One of them, such as ``step``.
            done: How many an earlier call has done.
            shown: Whether to say anything; of several processes one does.
            leave: Whether the bar stays when the work is done.
        """
        self._name, self._total, self._unit = name, total, unit
        self._done = self._before = done
        self._started = self._said = time.monotonic()
        terminal = sys.stderr.isatty()
        self._every = NOTED if terminal else EVERY
        self._plain = shown and not terminal
        self._bar: tqdm[Any] | None = None
        if shown and terminal:
            self._bar = tqdm(total=total, initial=done, desc=name, unit=unit, leave=leave)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def advance(self, units: int = 1, **notes: Callable[[], str]) -> None:
        """Some more is done.

        Args:
            units: How much.
            notes: What to show beside it, such as ``loss=lambda: "1.234"``; asked for only when shown, because to read a number
                from an accelerator is to wait for it.
        """
        self._done += units
        now = time.monotonic()
        due = now - self._said >= self._every
        if due:
            self._said = now
        if self._bar is not None:
            if due and notes:
                self._bar.set_postfix({name: read() for name, read in notes.items()}, refresh=False)
            self._bar.update(units)
        elif self._plain and due:
            shown = {name: read() for name, read in notes.items()}
            print(self.line(now - self._started, **shown), file=sys.stderr, flush=True)

    def line(self, seconds: float, **notes: str) -> str:
        """``training: step 120 of 600, loss 1.234, 4.0 minutes left``.

        Args:
            seconds: Since the beginning.
            notes: What to say beside it.
        """
        words = [f"{self._name}: {self._unit} {self._done:,} of {self._total:,}"]
        words += [f"{name} {value}" for name, value in notes.items()]
        if now := self._done - self._before:
            words.append(f"{duration(seconds / now * (self._total - self._done))} left")
        return ", ".join(words)

    def close(self) -> None:
        """The work is over, finished or not."""
        if self._bar is not None:
            self._bar.close()


def duration(seconds: float) -> str:
    """A time in the largest unit of which there are two."""
    for unit, length in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"
