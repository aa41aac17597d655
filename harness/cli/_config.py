"""``--config FILE``: a run's options from a file.

The file is YAML: each option by its name, with underscores or dashes, a switch as true or false, several values as a
list, arguments without a flag by the name that ``--help`` shows, in small letters::

    command: train-kd
    harness: 0.1.0
    student: models/small
    learning_rate: 1.0e-05
    bf16: true

``command`` and ``harness`` (a version) may be left out. Options on the command line win. Relative paths are those of the
command line: they start in the folder where ``harness`` is called, not in the file's.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from argparse import SUPPRESS, Action, ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import __version__
from harness.errors import HarnessError
from harness.plugins import settings

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
    """What a file may give, by the name that it goes by there."""
    found = {_name(action): action for action in leaf._actions}
    return {name: action for name, action in found.items() if name not in ("help", "config")}


def _name(action: Action) -> str:
    long = [option.removeprefix("--") for option in action.option_strings if option.startswith("--")]
    shown = action.metavar if isinstance(action.metavar, str) and not long else action.dest
    return (long[0] if long else shown.lower()).replace("-", "_")


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
