"""``harness import-scores`` turns scores that others published into records, marked as not measured here."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from datetime import date
from pathlib import Path

from harness.errors import HarnessError
from harness.plugins import Command


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="rows of document, model, response (or response_sha256), judge and score: .jsonl, .csv or .parquet",
    )
    parser.add_argument("--records", type=Path, required=True, metavar="DIR", help="folder of the records")
    parser.add_argument("--source", required=True, metavar="NAME", help="who published the scores")
    parser.add_argument("--url", required=True, help="where")
    parser.add_argument(
        "--accessed", required=True, type=_date, metavar="DATE", help="when they were fetched, YYYY-MM-DD"
    )
    parser.add_argument("--license", metavar="TEXT", help="of the published data, if it states one")
    parser.add_argument("--task", metavar="NAME", help="name of the task (default: the first file's name)")
    parser.add_argument("--judge", metavar="NAME", help="who judged, where no column says so")
    parser.add_argument(
        "--column",
        type=_pair,
        action="append",
        default=[],
        metavar="ROLE=COLUMN",
        help="a column of another name: document, model, response, response_sha256, judge; source and reference for "
        "the texts; score:KEY for a score that boards call KEY (repeatable)",
    )
    parser.add_argument(
        "--label",
        type=_label,
        action="append",
        default=[],
        metavar="WORD=NUMBER",
        help="what a verdict in words counts, such as Consistent=1 (repeatable)",
    )
    direction = parser.add_mutually_exclusive_group()
    direction.add_argument(
        "--higher-is-better", action="store_true", default=True, help="of the scores (the default)"
    )
    direction.add_argument("--lower-is-better", action="store_true")
    parser.add_argument(
        "--range",
        type=float,
        nargs=2,
        default=[0.0, 1.0],
        metavar=("LOW", "HIGH"),
        help="of the scores; -inf and inf where there is no limit (default: 0 1)",
    )
    parser.add_argument(
        "--kind",
        choices=("faithfulness", "overlap", "style", "answers", "other"),
        default="faithfulness",
        help="what the scores speak of (default: faithfulness)",
    )
    parser.add_argument(
        "--no-documents",
        action="store_true",
        help="leave out source texts and references, where a licence asks for it",
    )


def _run(arguments: Namespace) -> int:
    from harness.files import sha256_file
    from harness.records.import_scores import Published, Scale, import_scores
    from harness.records.reading import load_header
    from harness.records.score_rows import ROLES, Layout, read_score_rows

    _check(arguments, ROLES)
    roles = dict(pair for pair in arguments.column if pair[0] in ROLES)
    scores = {
        role.partition(":")[2] or column: column for role, column in arguments.column if role not in ROLES
    }
    layout = Layout(
        columns=roles,
        scores=scores or {"score": "score"},
        labels=dict(arguments.label),
        judge=arguments.judge,
    )
    rows = read_score_rows(arguments.files, layout)
    low, high = (None if abs(limit) == float("inf") else limit for limit in arguments.range)
    for path in import_scores(
        rows,
        arguments.records,
        task=arguments.task or arguments.files[0].stem,
        published=Published(
            source=arguments.source,
            url=arguments.url,
            accessed=arguments.accessed,
            license=arguments.license,
            files={path.name: sha256_file(path) for path in arguments.files},
        ),
        scale=Scale(higher_is_better=not arguments.lower_is_better, low=low, high=high, kind=arguments.kind),
        documents=not arguments.no_documents,
    ):
        print(path)
        header = load_header(path)
        if failed := header.counts["failed"]:
            all_of_them = header.counts["n"]
            print(
                f"{header.model}: {failed} of {all_of_them} documents have no score: failed",
                file=sys.stderr,
            )
    return 0


def _check(arguments: Namespace, roles: tuple[str, ...]) -> None:
    given = [role for role, _ in arguments.column]
    problems = [
        f"--column {role}=...: no such role"
        for role in given
        if role not in roles and not re.match("score(:.+)?$", role)
    ]
    problems += [f"--column {role}=... twice" for role in roles if given.count(role) > 1]
    low, high = arguments.range
    if not low < high:
        problems.append(f"--range {low:g} {high:g}: the first must be less than the second")
    HarnessError.raise_for(problems, f"Roles are {', '.join(roles)} and score:KEY.")


def _pair(text: str) -> tuple[str, str]:
    left, equals, right = text.partition("=")
    if not (left and equals and right):
        raise ArgumentTypeError(f"{text!r} is not ROLE=COLUMN")
    return left, right


def _label(text: str) -> tuple[str, float]:
    word, equals, number = text.rpartition("=")
    try:
        if not (word and equals):
            raise ValueError
        return word, float(number)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not WORD=NUMBER") from None


def _date(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no date such as 2026-11-24") from None


COMMAND = Command(
    name="import-scores",
    help="turn scores that others published into records",
    add_arguments=_add_arguments,
    run=_run,
)
