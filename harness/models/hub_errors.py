"""What went wrong with the hub, in one sentence, and what to do: gated, missing, offline and broken off are different things.

huggingface_hub hides its own reasons: "not found on this disk" is raised for a refusal, a failure of the hub and a missing network
alike, with the reason as its cause.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.errors import HarnessError

_AGAIN = "Run it again: what was downloaded is kept."
LOG_IN = "`hf auth login`, or set HF_TOKEN"


def first_line(error: BaseException) -> str:
    """What an error of a library says in one line; its type where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def refused(error: BaseException, what: str, repo: str, *, remedy: str | None = None) -> HarnessError:
    """An error of the hub's client, of `datasets` or of transformers, as the user sees it.

    Args:
        error: What was raised.
        what: What was wanted, for the message.
        repo: The repository, for the page where access is asked for.
        remedy: What to do where the hub's answer leaves no better advice.
    """
    reason, own = explained(error, repo)
    return HarnessError(f"{what}: {reason}", own or remedy or "Check the name and the network.")


def explained(error: BaseException, repo: str) -> tuple[str, str | None]:
    """Why the hub gave nothing, and what to do about it; None where that depends on what was wanted."""
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        IncompleteSnapshotError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    chain = list(_chain(error))
    answers = [found for found in chain if isinstance(found, HfHubHTTPError)]
    if not answers:
        if any(isinstance(found, HFValidationError) for found in chain):
            return f"{repo!r} is no name of a repository", "Write owner/name, or owner/name@revision."
        if any(isinstance(found, OfflineModeIsEnabled) for found in chain):
            return "not on this machine, and HF_HUB_OFFLINE is set", None
        if any(isinstance(found, IncompleteSnapshotError) for found in chain):
            return (
                "on this machine only in part",
                "Run it once with the hub in reach: the rest is downloaded.",
            )
        if broken := next((found for found in chain if _broke_off(found)), None):
            return f"the connection broke off ({first_line(broken)})", _AGAIN
        if any(_unreachable(found) for found in chain):
            return "the hub cannot be reached", None
        if any(isinstance(found, LocalEntryNotFoundError) for found in chain):
            return f"not on this machine{', and HF_HUB_OFFLINE is set' if HF_HUB_OFFLINE else ''}", None
        return first_line(error), None
    answer = answers[0]
    status = getattr(answer.response, "status_code", 0)
    by_kind: tuple[tuple[type[BaseException], str, str], ...] = (
        (
            GatedRepoError,
            "the repository is gated, and "
            + ("no token was sent" if status == 401 else "this account has no access to it"),
            f"Ask for access on its page ({_page(repo, answer)}), and use a token of that account: {LOG_IN}.",
        ),
        (
            RevisionNotFoundError,
            "the repository has no such revision",
            "Give a branch, a tag or a full commit of it.",
        ),
        (RemoteEntryNotFoundError, "the repository has no such file", ""),
        (
            RepositoryNotFoundError,
            "not found on the hub, or private",
            f"Check the name; for a private repository, use a token that may read it: {LOG_IN}.",
        ),
    )
    for kind, reason, remedy in by_kind:
        if isinstance(answer, kind):
            return reason, remedy or None
    return _by_status(status, answer.server_message)


def _by_status(status: int, message: str | None) -> tuple[str, str | None]:
    said = f": {message}" if message else ""
    if status == 401:
        return f"the hub answered 401: it does not take the token{said}", f"Use a valid token: {LOG_IN}."
    if status == 403:
        return f"the hub answered 403: the token may not do this{said}", f"Use a token that may: {LOG_IN}."
    if status == 429:
        return (
            "the hub answered 429: too many requests",
            "Run it again in some minutes; with a token more are allowed.",
        )
    if status >= 500:
        return f"the hub answered {status}: it failed{said}", _AGAIN
    return f"the hub answered {status}{said}", None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from.

    What it merely came after counts for errors of files and networks alone: libraries try the hub for things that a model may lack,
    take a refusal for an answer, and fail on something else.
    """
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or (found.__context__ if isinstance(found, OSError) else None)


def _of_client(error: BaseException) -> bool:
    """Whether the HTTP library raised it, which is another from release to release."""
    return type(error).__module__.split(".")[0] in ("httpx2", "httpx", "requests", "httpcore", "httpcore2")


def _broke_off(error: BaseException) -> bool:
    text = str(error)
    return (_of_client(error) and type(error).__name__ in ("RemoteProtocolError", "ReadError", "ChunkedEncodingError")) or (
        isinstance(error, OSError) and text.startswith("Consistency check failed")
    )  # fmt: skip


def _unreachable(error: BaseException) -> bool:
    return _of_client(error) or isinstance(error, ConnectionError | TimeoutError)


def _page(repo: str, answer: BaseException) -> str:
    from huggingface_hub.constants import ENDPOINT

    asked = str(getattr(getattr(answer, "response", None), "url", ""))
    return f"{ENDPOINT}/{'datasets/' if '/datasets/' in asked else ''}{repo}"
