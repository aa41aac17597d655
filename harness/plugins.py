"""Commands, and the plugins that bring more of them.

A plugin is any installed distribution with an entry point in the group ``harness.plugins``::

    [project.entry-points."harness.plugins"]
    mine = "my_package.plugin:PLUGIN"

``PLUGIN`` has a ``name`` and ``commands()``. Both are read for ``harness --help``, so the module behind the
entry point must import nothing heavy: torch belongs inside ``Command.run``. A command that runs long calls
`add_run_file` in its ``add_arguments``.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Protocol

ENTRY_POINT_GROUP = "harness.plugins"


@dataclass(frozen=True, kw_only=True)
class Command:
    """One subcommand of ``harness``."""

    name: str
    """What the user types after ``harness``."""
    help: str
    """One line for ``harness --help``."""
    add_arguments: Callable[[ArgumentParser], None]
    """Declares the options; imports nothing heavy."""
    run: Callable[[Namespace], int]
    """Does the work and returns the exit status; heavy imports go inside."""


def add_run_file(parser: ArgumentParser, beside: Callable[[Namespace], Path | None]) -> None:
    """Make a command, or one action of it, repeatable: it takes ``--config FILE``, and each run writes such a file.

    `harness.cli` does both for every parser that was given here; ``Command.run`` sees the merged options.

    Args:
        parser: Of the command or the action.
        beside: The output of a call; the file is ``NAME.run.yaml`` next to it. None where a call is not worth one.
    """
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="YAML with options; those given beside it win, and --no-SWITCH unsets one of its switches",
    )
    parser.set_defaults(run_file=beside)
    parser.allow_abbrev = False  # --conf must not pass for --config here and be refused there


def names(text: str) -> str:
    """Type of an option that takes names with commas between; in a ``--config`` file it may be a list."""
    return text


def settings(text: str) -> str:
    """Type of an option that takes ``key=value,key=value`` or a JSON object; in a ``--config`` file it may be a mapping."""
    return text


class Plugin(Protocol):
    """What an entry point of the group ``harness.plugins`` must give."""

    @property
    def name(self) -> str:
        """The heading under which ``harness --help`` lists the commands."""

    def commands(self) -> Sequence[Command]:
        """The commands that the plugin adds."""


@dataclass(frozen=True, kw_only=True)
class CommandGroup:
    """The commands of one origin, as ``harness --help`` lists them."""

    title: str
    commands: tuple[Command, ...]


def load_plugins(taken: Iterable[str] = ()) -> list[CommandGroup]:
    """Load every installed plugin, in the order of the entry points' names.

    A plugin that fails to load, or brings a command whose name is taken, costs one warning line on stderr
    and nothing else: a stranger's broken package must not take ``harness`` down.

    Args:
        taken: Command names that no plugin may use.

    Returns:
        One group per plugin that brought at least one command.
    """
    seen = set(taken)
    groups = []
    for entry_point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        try:
            title, commands = _commands_of(entry_point)
        except (Exception, SystemExit) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            _warn(entry_point, f"cannot be loaded: {type(error).__name__}: {reason}")
            continue
        kept = []
        for command in commands:
            if command.name in seen:
                _warn(entry_point, f"command {command.name!r} is left out: the name is taken")
                continue
            seen.add(command.name)
            kept.append(command)
        if kept:
            groups.append(CommandGroup(title=title, commands=tuple(kept)))
    return groups


def _commands_of(entry_point: EntryPoint) -> tuple[str, list[Command]]:
    plugin: Plugin = entry_point.load()
    commands = list(plugin.commands())
    for command in commands:
        if not isinstance(command, Command):
            raise TypeError(f"commands() gave {command!r}, not a harness.plugins.Command")
        command.add_arguments(
            ArgumentParser()
        )  # a mistake in it must show here, where it costs one plugin only
    return str(plugin.name), commands


def _warn(entry_point: EntryPoint, what: str) -> None:
    origin = f" (from {entry_point.dist.name})" if entry_point.dist else ""
    print(f"harness: warning: plugin {entry_point.name!r}{origin} {what}", file=sys.stderr)
