"""The ``harness`` command: one module per subcommand, each with a module-level ``COMMAND``.

Every module of this package is imported for ``harness --help``: heavy imports belong inside ``Command.run``.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence

from harness import __version__
from harness.cli._config import read_call
from harness.cli._run_file import run_file
from harness.errors import HarnessError
from harness.plugins import Command, CommandGroup, load_plugins
from harness.quiet import plain_bars
from harness.redaction import masked

EXIT_ERROR = 2
EXIT_INTERRUPT = 130  # 128 + SIGINT, what a shell reports for Ctrl-C
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE, what a shell reports for `yes | head -1`

_FILE_REMEDIES = {
    errno.ENOSPC: "Free some space or choose another output folder, then run the same command again.",
    errno.EDQUOT: "Free some of your quota or choose another output folder, then run the same command again.",
    errno.EACCES: "Change the permissions or choose another folder.",
    errno.EPERM: "Change the permissions or choose another folder.",
    errno.EROFS: "The file system is read-only: choose another folder.",
    errno.EISDIR: "This is a folder where a file is to go: choose another path.",
    errno.ENOTDIR: "A part of this path is a file: choose another path.",
    errno.EEXIST: "This is a file where a folder is to go: choose another path.",
}

_FULL_DISK = "No space left on device"
"""In the words of safetensors and shutil too, whose errors have no number."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``harness`` and return its exit status.

    Args:
        argv: Arguments after the program's name; ``sys.argv[1:]`` by default.

    Returns:
        The command's own status; 2 for a usage error or a `HarnessError`, 130 for Ctrl-C, 141 for a reader
        that went away.
    """
    try:
        status = _dispatch(argv)
        sys.stdout.flush()  # a reader that went away must show here, not at interpreter shutdown
        return status
    except HarnessError as error:
        return _fail(error)
    except KeyboardInterrupt:
        print("\nharness: interrupted; run the same command again to resume", file=sys.stderr)
        return EXIT_INTERRUPT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except Exception as error:
        if _FULL_DISK in str(error) and not getattr(error, "errno", None):
            return _fail(
                HarnessError(f"no space left on the disk ({error})"[:300], _FILE_REMEDIES[errno.ENOSPC])
            )
        if not isinstance(error, OSError) or error.errno not in _FILE_REMEDIES:
            raise
        where = error.filename or "a file that the system does not name"
        return _fail(HarnessError(f"{where}: {error.strerror}", _FILE_REMEDIES[error.errno]))


def _dispatch(argv: Sequence[str] | None) -> int:
    groups = command_groups()
    parser = build_parser(groups)
    try:
        call = read_call(parser, sys.argv[1:] if argv is None else argv)
    except SystemExit as stop:  # --help, --version, or a usage error that argparse has printed
        return stop.code if isinstance(stop.code, int) else EXIT_ERROR
    if not call.words:
        parser.print_help(sys.stderr)
        return EXIT_ERROR
    commands = {command.name: command for group in groups for command in group.commands}
    if argv is None:  # in a process of its own, which the variables are for
        plain_bars()
    with run_file(call):
        return commands[call.words[0]].run(call.arguments)


def _fail(error: HarnessError) -> int:
    print(masked(f"harness: error: {error}"), file=sys.stderr)
    return EXIT_ERROR


def command_groups() -> list[CommandGroup]:
    """The built-in commands, then those of every installed plugin."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    built_in: list[Command] = [
        importlib.import_module(f"{__name__}.{name}").COMMAND for name in names if not name.startswith("_")
    ]
    groups = [CommandGroup(title="evaluation", commands=tuple(built_in))] if built_in else []
    return groups + load_plugins(taken=[command.name for command in built_in])


def build_parser(groups: Sequence[CommandGroup]) -> argparse.ArgumentParser:
    """The parser of ``harness`` with one subparser per command."""
    parser = argparse.ArgumentParser(
        prog="harness",
        usage="harness [-h] [--version] COMMAND ...",
        description="Measure how much a language model hallucinates, and distil it to hallucinate less.",
        epilog=_command_list(groups),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"harness {__version__}")
    # argparse cannot group subcommands under headings: they are hidden here and listed in the epilog
    subparsers = parser.add_subparsers(
        dest="command", metavar="COMMAND", help=argparse.SUPPRESS, prog="harness"
    )
    for group in groups:
        for command in group.commands:
            # abbreviated options would change their meaning with every option that is added
            subparser = subparsers.add_parser(command.name, description=command.help, allow_abbrev=False)
            command.add_arguments(subparser)
    return parser


def _command_list(groups: Sequence[CommandGroup]) -> str:
    width = max((len(command.name) for group in groups for command in group.commands), default=0)
    lines = []
    for group in groups:
        lines.append(f"{group.title}:")
        lines += [f"  {command.name:<{width}}  {command.help}" for command in group.commands]
        lines.append("")
    return "\n".join([*lines, "`harness COMMAND --help` explains a command."])
