"""Training data by name: ``dolly``, ``cnndm``, ``e2e`` and ``newsworld``, with options as in ``dolly?split=dev&n=200``.

All but the news world come from the hub at a pinned commit, or from a local file by ``path``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from harness.errors import HarnessError

DOLLY = "databricks/databricks-dolly-15k", "bdd27f4d94b9c1f951818a7da7fd7aeea5dbff1a"
CNNDM = "abisee/cnn_dailymail", "96df5e686bee6baa90b8bee7c28b81fa3fa6223d"
E2E = "tuetschek/e2e_nlg", "5061e4307d2e553f9b51ccb73998d7039fe6ed90"
"""The commit of its parquet branch; the main branch is a script."""
_E2E_FIELDS = (("mr", "ref"), ("meaning_representation", "human_reference"))
E2E_DEV_EVERY = 12
"""Of a local copy of E2E every twelfth meaning, with all of its descriptions, is the dev split, where a split is asked for."""
E2E_TEMPLATE = "Data: {mr}\nDescribe the restaurant in one or two sentences, using all of the data and nothing else. Description:"
"""As in the task ``kd_e2e_factual``."""
DOLLY_DEV_ROWS = 1000
"""The first rows of Dolly are the dev split, the rest is trained on, as in the paper."""


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Options behind the question mark of a named data set."""

    split: str = ""
    """``train`` (the default) or ``dev``; the news world has ``test`` as well. A local copy of Dolly or E2E is split only where
    this says so: else all of its rows are meant."""
    n: int | None = None
    """Rows to take, the first ones; None: all, and 2,000 of the news world."""
    path: str = ""
    """Local copy of Dolly, CNN/DailyMail or E2E, or rows of one's own in its layout, instead of the hub."""
    noise: float = 0.4
    """Share of news-world references that state something unsupported."""
    seed: int = 0
    """Of the news world's rows."""


def is_named(data: str) -> bool:
    """Whether ``data`` names a data set rather than a file."""
    return data.partition("?")[0] in _READERS


def hub_name(data: str) -> str | None:
    """The data set on the hub that ``data`` names; None for files, and for local copies of named sets."""
    name, _, text = data.partition("?")
    sources = {"dolly": DOLLY, "cnndm": CNNDM, "e2e": E2E}
    if name not in sources or _options(data, text).path:
        return None
    return sources[name][0]


def dev_split(data: str) -> str | None:
    """The dev split beside named training data, 1,000 rows at most; None where there is none.

    ``dolly?path=FILE`` has none, for all of its rows are trained on; ``dolly?path=FILE&split=train`` has. So with E2E.
    """
    name, _, text = data.partition("?")
    if not is_named(data):
        return None
    options = _options(data, text)
    if options.split not in ("", "train") or (
        name in ("dolly", "e2e") and options.path and not options.split
    ):
        return None
    kept = [(key, value) for key, value in parse_qsl(text) if key not in ("split", "n")]
    return f"{name}?{urlencode([('split', 'dev'), ('n', DOLLY_DEV_ROWS), *kept], safe='/')}"


def named_rows(data: str) -> list[dict[str, Any]]:
    """The rows of a named data set, in the layouts of `harness_kd.data.rows`.

    Raises:
        HarnessError: For options that it does not know, or data that cannot be had.
    """
    name, _, options = data.partition("?")
    rows = list(_READERS[name](data, _options(data, options)))
    if not rows:
        raise HarnessError(f"{data}: holds no rows", "Ask for at least one row.")
    return rows


def _options(data: str, text: str) -> DataOptions:
    kinds: dict[str, Any] = {"split": str, "n": int, "path": str, "noise": float, "seed": int}
    options = DataOptions()
    for key, value in parse_qsl(text, keep_blank_values=True):
        try:
            options = replace(options, **{key: kinds[key](value)})
        except (KeyError, ValueError):
            raise HarnessError(
                f"{data}: cannot read {key}={value}",
                "Options are split, n, path (Dolly, CNN/DailyMail, E2E), noise and seed (news world), "
                "as in newsworld?split=train&n=2000&noise=0.4&seed=0; every one may be left out.",
            ) from None
    if options.n is not None and options.n < 1:
        raise HarnessError(f"{data}: n must be at least 1", "Ask for at least one row.")
    return options


def _newsworld(data: str, options: DataOptions) -> Iterator[dict[str, Any]]:
    from harness import newsworld

    if options.split not in ("", "train", "dev", "test"):  # it would make another world of any name
        raise HarnessError(f"{data}: there is no split {options.split!r}", "Give split train, dev or test.")
    try:
        rows = newsworld.rows(
            options.split or "train",
            2000 if options.n is None else options.n,
            noise=options.noise,
            seed=options.seed,
        )
    except ValueError as error:
        raise HarnessError(f"{data}: {error}", "Give noise in [0, 1].") from error
    for row in rows:
        yield {"prompt": newsworld.prompt(row["article"]), "response": " " + row["summary"]}


def _dolly(data: str, options: DataOptions) -> list[dict[str, Any]]:
    _require_split(data, options)
    rows = _read(DOLLY, None, options, split="train", fields=("instruction",))
    if options.path and not options.split:
        return rows[: options.n]
    if options.split != "dev" and len(rows) <= DOLLY_DEV_ROWS:
        raise HarnessError(
            f"{data}: all of its {len(rows)} rows are the dev split, which is the first {DOLLY_DEV_ROWS:,}",
            "Leave split=train out to train on every row.",
        )
    rows = rows[:DOLLY_DEV_ROWS] if options.split == "dev" else rows[DOLLY_DEV_ROWS:]
    return rows[: options.n]


def _cnndm(data: str, options: DataOptions) -> list[dict[str, Any]]:
    _require_split(data, options)
    split = "validation" if options.split == "dev" else "train"
    return _read(CNNDM, "3.0.0", options, split=split, fields=("article", "highlights"))[: options.n]


def _e2e(data: str, options: DataOptions) -> Iterator[dict[str, Any]]:
    """Meanings and their descriptions; ``mr`` and ``ref`` in the files of the set, longer names on the hub."""
    _require_split(data, options)
    split = "validation" if options.split == "dev" else "train"
    read = _read(E2E, None, options, split=split, fields=())
    names = next((pair for pair in _E2E_FIELDS if read and all(name in read[0] for name in pair)), None)
    if names is None:
        raise HarnessError(
            f"{data}: its rows have neither {' nor '.join(' and '.join(pair) for pair in _E2E_FIELDS)}",
            "Give a file of the E2E data set.",
        )
    rows = [(str(row[names[0]]), str(row[names[1]])) for row in read]
    if options.path and options.split:
        meanings = dict.fromkeys(meaning for meaning, _ in rows)
        held_out = set(list(meanings)[E2E_DEV_EVERY - 1 :: E2E_DEV_EVERY])
        rows = [row for row in rows if (row[0] in held_out) == (options.split == "dev")]
    for meaning, description in rows[: options.n]:
        yield {"prompt": E2E_TEMPLATE.format(mr=meaning), "response": " " + " ".join(description.split())}


def _require_split(data: str, options: DataOptions) -> None:
    if options.split not in ("", "train", "dev"):
        raise HarnessError(f"{data}: there is no split {options.split!r}", "Give split train or dev.")


def _read(
    source: tuple[str, str], name: str | None, options: DataOptions, *, split: str, fields: tuple[str, ...]
) -> list[dict[str, Any]]:
    from harness.data.hub import read_hub
    from harness.data.sources import read_local

    if options.path:

        def missing(row: Any) -> list[str]:
            return [field for field in fields if field not in row]

        return [dict(row) for row in read_local(Path(options.path), split=split, missing=missing)[0]]
    path, revision = source
    try:
        return [dict(row) for row in read_hub(path, name, split=split, revision=revision)[0]]
    except HarnessError as error:
        remedy = "Check the network, or give a local copy, as in dolly?path=FILE."
        raise HarnessError(error.problem, remedy) from error


_READERS = {"newsworld": _newsworld, "dolly": _dolly, "cnndm": _cnndm, "e2e": _e2e}
