"""A run is a file: ``--config FILE`` gives a command its options, and a run writes the file that repeats it.

The file is YAML: each option by its name, with underscores or dashes, a switch as true or false, several values as a
list, arguments without a flag by the name that ``--help`` shows, in small letters::

    command: train-kd
    harness: 0.1.0
    student: models/small
    learning_rate: 1.0e-05
    bf16: true

``command`` and ``harness`` (a version) may be left out. Options on the command line win. Relative paths are those of the
command line: they start in the folder where ``harness`` is called, not in the file's.

What is written are the options that differ from their defaults, without secrets, before the work starts. A call that ends
in an error message takes its file back, so that one which was refused leaves the file of the run that stands there.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
import os
import sys
from argparse import SUPPRESS, Action, ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import __version__
from harness.cli._secrets import is_secret, without_secrets
from harness.errors import HarnessError
from harness.files import write_atomic
from harness.plugins import settings

SUFFIX = ".run.yaml"
_NOT_OPTIONS = ("help", "config", "dry_run")
_WORDS = {int: "a whole number", float: "a number"}


@dataclass(frozen=True, kw_only=True)
class Call:
    """A command line, read."""

    words: tuple[str, ...]
    """The command, and its action where it has some."""
    arguments: Namespace
    options: Mapping[str, Action]
    """By the name that a file gives them."""
    defaults: Mapping[str, Any]
    """By the name in the namespace, as they were before any file."""

    @property
    def name(self) -> str:
        """As typed after ``harness``."""
        return " ".join(self.words)


def read_call(parser: ArgumentParser, argv: Sequence[str]) -> Call:
    """Parse a command line, with the options of its ``--config`` file as defaults.

    Raises:
        SystemExit: As argparse does.
        HarnessError: If the file is missing or no YAML, or an option in it is unknown or of the wrong type; all at once.
    """
    words, leaf, rest = _leaf(parser, list(argv))
    options = _options(leaf)
    defaults = {action.dest: action.default for action in options.values()}
    file = _config(leaf, rest)
    if file is None:
        arguments = parser.parse_args(argv)
    else:
        _fill(leaf, options, _read(file, options, " ".join(words.values())), rest)
        # plain parsing takes an argument that may be left out for left out when an option comes first
        arguments = leaf.parse_intermixed_args(rest, Namespace(**words))
    return Call(words=tuple(words.values()), arguments=arguments, options=options, defaults=defaults)


def _leaf(parser: ArgumentParser, rest: list[str]) -> tuple[dict[str, str], ArgumentParser, list[str]]:
    """Command and action by their names in the namespace, the parser that they lead to, and what follows them."""
    words: dict[str, str] = {}
    while rest:
        actions = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
        if not actions or rest[0] not in actions[0].choices:
            break
        words[actions[0].dest] = rest[0]
        parser, rest = actions[0].choices[rest[0]], rest[1:]
    return words, parser, rest


def _options(leaf: ArgumentParser) -> dict[str, Action]:
    found = {}
    for action in leaf._actions:
        long = [option for option in action.option_strings if option.startswith("--")]
        found[(long[0].removeprefix("--") if long else action.dest).replace("-", "_")] = action
    return {name: action for name, action in found.items() if name not in ("help", "config")}


def _config(leaf: ArgumentParser, rest: Sequence[str]) -> Path | None:
    if leaf.get_default("run_file") is None or {"-h", "--help"} & set(rest):
        return None
    finder = ArgumentParser(prog=leaf.prog, usage=argparse.SUPPRESS, add_help=False, allow_abbrev=False)
    finder.add_argument("--config", type=Path)
    found: Path | None = finder.parse_known_args(rest)[0].config
    return found


def _read(file: Path, options: Mapping[str, Action], command: str) -> dict[str, Any]:
    """The options of a file by name, each checked and of the type that the command line would give it."""
    found = _load(file)
    stated = found.pop("command", command)
    problems = [] if stated == command else [f"{file}: is for `harness {stated}`, not `harness {command}`"]
    version = found.pop("harness", __version__)
    values: dict[str, Any] = {}
    for key, given in found.items():
        name = str(key).replace("-", "_")
        try:
            if name in values:
                raise ValueError("is given twice")
            if name not in options:
                close = difflib.get_close_matches(name, options, n=1)
                raise ValueError(f"no such option{f'; closest is {close[0]}' if close else ''}")
            values[name] = None  # so that a second one is noticed whatever becomes of this
            values[name] = _value(options[name], given)
        except (ValueError, argparse.ArgumentTypeError) as error:
            problems.append(f"{file}: {key}: {error}")
    HarnessError.raise_for(problems, f"`harness {command} --help` explains the options.")
    if version != __version__:
        note = f"{file} is from harness {version}, this is {__version__}: defaults may differ"
        print(f"harness: note: {note}", file=sys.stderr)
    return values


def _load(file: Path) -> dict[Any, Any]:
    import yaml

    class Loader(yaml.SafeLoader):
        """Plain data only; of a key that is there twice, YAML's own loader takes the second without a word."""

    def mapping(loader: Loader, node: yaml.MappingNode) -> dict[Any, Any]:
        keys = [loader.construct_object(key) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        HarnessError.raise_for([f"{file}: {key}: is given twice" for key in twice], "Keep one of each.")
        return loader.construct_mapping(node, deep=True)

    Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    remedy = "Give a YAML file with one option a line, such as `learning_rate: 1.0e-5`."
    try:
        found = yaml.load(file.read_bytes(), Loader)  # noqa: S506 - a subclass of SafeLoader
    except OSError as error:
        raise HarnessError(f"{file}: cannot be read: {error.strerror}", remedy) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise HarnessError(f"{file}: is not YAML: {' '.join(str(error).split())}", remedy) from error
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise HarnessError(f"{file}: holds {_shown(found)}, not options", remedy)
    return found


def _value(action: Action, given: Any) -> Any:
    """What the command line would have made of a value; ValueError says what is wrong with it."""
    if given is None:
        raise ValueError("has no value; leave it out, or give one")
    if action.nargs == 0:
        if not isinstance(given, bool):
            raise ValueError(f"is true or false, not {_shown(given)}")
        return action.const if given or not isinstance(action.const, bool) else not action.const
    if _takes_several(action):
        several = given if isinstance(given, list) else [given]
        if not several:
            raise ValueError("is an empty list; leave it out, or give one")
        return [_one(action, item) for item in several]
    return _one(action, given)


def _takes_several(action: Action) -> bool:
    return isinstance(action, argparse._AppendAction) or action.nargs not in (None, "?")


def _one(action: Action, given: Any) -> Any:
    kind: Any = action.type or str
    own = kind not in (int, float, str, Path)  # a type that reads a text of its own form
    if own and isinstance(given, list) and given and all(_is_word(item) for item in given):
        given = ",".join(str(item) for item in given)
    if kind is settings and isinstance(given, dict):
        given = json.dumps(given)
    expected = _WORDS.get(kind, "text")
    if not _is_word(given) or (kind is int and isinstance(given, float)):
        raise ValueError(f"is {expected}, not {_shown(given)}")
    try:
        value = kind(str(given))
    except (ValueError, TypeError):  # the ArgumentTypeError of an own type passes: it says more
        raise ValueError(f"is {expected}, not {_shown(given)}") from None
    if action.choices is not None and value not in action.choices:
        raise ValueError(f"is one of {', '.join(map(str, action.choices))}, not {_shown(given)}")
    return value


def _is_word(given: Any) -> bool:
    return isinstance(given, str | int | float) and not isinstance(given, bool)


def _shown(given: Any) -> str:
    shown = str(given).lower() if isinstance(given, bool) else repr(given)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _fill(
    leaf: ArgumentParser, options: Mapping[str, Action], values: Mapping[str, Any], rest: Sequence[str]
) -> None:
    """Make the file's values defaults, except of options on the command line, and let a switch be unset there."""
    typed = {word.partition("=")[0] for word in rest}
    for name, value in values.items():
        action = options[name]
        if typed & set(action.option_strings):
            continue
        action.default, action.required = value, False
        if not action.option_strings:
            action.nargs = "*" if action.nargs == "+" else action.nargs or "?"
    for name, action in options.items():
        off = f"--no-{name.replace('_', '-')}"
        if action.nargs == 0 and off not in leaf._option_string_actions:
            leaf.add_argument(off, dest=action.dest, action="store_false", default=SUPPRESS, help=SUPPRESS)


@contextlib.contextmanager
def run_file(call: Call) -> Iterator[None]:
    """Write the file that repeats a call, and take it back if the block is refused with a `HarnessError`.

    Of several processes the first writes it, and a dry run writes none. A run whose file cannot be written goes on.
    """
    beside = vars(call.arguments).pop("run_file", None)
    vars(call.arguments).pop("config", None)
    dry = getattr(call.arguments, "dry_run", False) or os.environ.get("RANK", "0") != "0"
    output = None if beside is None or dry else beside(call.arguments)
    if output is None:
        yield
        return
    path = Path(f"{Path(output).resolve()}{SUFFIX}")
    made = [parent for parent in path.parents if not parent.exists()]
    before = path.read_bytes() if path.is_file() else None
    try:
        if (text := as_yaml(call)).encode() != before:
            write_atomic(path, text)
    except OSError as error:
        print(
            f"harness: warning: {path}: the run's options are not kept: {error.strerror}",
            file=sys.stderr,
        )
        yield
        return
    try:
        yield
    except HarnessError:
        with contextlib.suppress(OSError):
            _take_back(path, before, made)
        raise


def _take_back(path: Path, before: bytes | None, made: Sequence[Path]) -> None:
    if before is not None:
        write_atomic(path, before)
        return
    path.unlink()
    for folder in made:  # the innermost first; one that holds something else stays
        folder.rmdir()


def as_yaml(call: Call) -> str:
    """The file that repeats a call: what differs from the defaults, without secrets."""
    import yaml

    stated: dict[str, Any] = {"command": call.name, "harness": __version__}
    lines = [
        f"# `harness {call.name} --config FILE` repeats this run, from the folder in which it was called."
    ]
    for name, action in call.options.items():
        if name in _NOT_OPTIONS or not hasattr(call.arguments, action.dest):
            continue
        value = getattr(call.arguments, action.dest)
        if value == (default := call.defaults[action.dest]) or (value == [] and not default):
            continue
        plain = value == action.const if action.nargs == 0 else _plain(value)
        kept = _kept(name, action, plain)
        if kept != plain:
            lines.append(f"# left out, since it looks like a secret: {name}{', in part' if kept else ''}")
        if kept == plain or kept:
            stated[name] = kept
    body = yaml.safe_dump(stated, sort_keys=False, allow_unicode=True, width=10_000)
    return "\n".join([*lines, body])


def _plain(value: Any) -> Any:
    """A value as YAML has it: a path, or what a type of its own made, as text."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str) else str(value)


def _kept(name: str, action: Action, value: Any) -> Any:
    if isinstance(value, list):
        return [item for item in value if not is_secret(name, item)]
    if action.type is settings:
        return without_secrets(str(value))
    return None if is_secret(name, value) else value
