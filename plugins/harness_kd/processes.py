"""The processes of one launched run: how they meet, wait for each other and agree.

A launcher (torchrun, accelerate) gives each of them RANK, WORLD_SIZE and the address of a store. What they tell each other here
goes through that store and not through collectives: it needs no device, it works before there is a process group, and a wait has
no time-out, since capture and evaluation take hours. Where a process fails, those that wait for it here fail too.

Every process must make the same calls in the same order.
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from harness.errors import HarnessError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

T = TypeVar("T")
PEER_TIMEOUT = 600
"""Seconds that a process waits for the others at the start."""
_PATIENCE = 30.0
"""Seconds after which it says so."""
_LONGEST_PAUSE = 0.5
"""Seconds between looks at the store."""
_FAILED = "harness/failed"
_AGAIN = "Run the same command again: it goes on from the last checkpoint."


def rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Processes of this run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


class _Meeting:
    """The store that all processes have reached, and how often they have agreed."""

    store: Store | None = None
    calls: int = 0


def meet(seconds: float = PEER_TIMEOUT) -> None:
    """Wait until all processes of the run are there; at once where there is but one, or where they have met.

    After half a minute a line says what is waited for.

    Raises:
        HarnessError: If they are not there after ``seconds``, or the launcher left no address.
    """
    if world_size() == 1 or _Meeting.store is not None:
        return
    patience = threading.Timer(_PATIENCE, _say_waiting, [seconds])
    patience.daemon = True
    patience.start()
    try:
        _Meeting.store = _met(seconds)
    except ValueError as error:  # a variable is not set
        raise HarnessError(
            f"this is process {rank()} of {world_size()}, but {error}",
            "Start several processes with torchrun or accelerate launch; one needs no WORLD_SIZE.",
        ) from error
    except (RuntimeError, TimeoutError) as error:  # torch.distributed.DistError is a RuntimeError
        raise HarnessError(
            f"process {rank()} of {world_size()} waited {seconds:g} s for the other processes ({_first_line(error)})",
            "See whether all were started with the same MASTER_ADDR, MASTER_PORT and WORLD_SIZE, and what the others printed; "
            "--peer-timeout SECONDS waits longer.",
        ) from error
    finally:
        patience.cancel()


def _say_waiting(seconds: float) -> None:
    address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    print(
        f"process {rank()} of {world_size()} waits for the others at {address}, for {seconds:g} s at most",
        file=sys.stderr,
        flush=True,
    )


def _met(seconds: float) -> Store:
    from torch.distributed.rendezvous import rendezvous

    store: Store
    store, _, _ = next(rendezvous("env://", timeout=timedelta(seconds=seconds)))
    store.set(f"harness/here/{rank()}", "1")
    deadline = time.monotonic() + seconds
    for other in range(world_size()):
        _received(store, f"harness/here/{other}", deadline - time.monotonic())
    return store


def agreed(compute: Callable[[], T]) -> T:
    """What the first process computes, in every process; a HarnessError there is one everywhere.

    Args:
        compute: Called in the first process alone; gives what JSON holds.
    """
    if world_size() == 1:
        return compute()
    store, key = _next_key()
    if rank() == 0:
        with _failing(store):
            value = compute()
        store.set(key, json.dumps(value))
        return value
    shared: T = json.loads(_received(store, key))
    return shared


@contextmanager
def together(work: str) -> Iterator[None]:
    """Do a part of the work in every process, and go on when all are done.

    Args:
        work: Its name, for the error of those that wait in vain.
    """
    if world_size() == 1:
        yield
        return
    store, key = _next_key()
    with _failing(store, work):
        yield
    store.set(f"{key}/{rank()}", "1")
    for other in range(world_size()):
        _received(store, f"{key}/{other}")


def _next_key() -> tuple[Store, str]:
    meet()
    if _Meeting.store is None:
        raise RuntimeError("the processes have not met")
    _Meeting.calls += 1
    return _Meeting.store, f"harness/{_Meeting.calls}"


@contextmanager
def _failing(store: Store, work: str = "") -> Iterator[None]:
    """Tell the others when this process fails."""
    try:
        yield
    except BaseException as error:
        told = [error.problem, error.remedy] if isinstance(error, HarnessError) else None
        where = f" in its {work}" if work else ""
        with suppress(RuntimeError):  # the store may be what failed
            store.set(
                _FAILED,
                json.dumps(told or [f"process {rank()} failed{where}: {error!r}", "See its own message."]),
            )
        raise


def _received(store: Store, key: str, seconds: float = math.inf) -> str:
    """What another process sets; asked for again and again, since the store logs every wait that ends without it.

    Raises:
        HarnessError: If another process failed, or the store is gone.
        TimeoutError: If it is not there after ``seconds``.
    """
    from torch.distributed import DistNetworkError

    pause, deadline = 0.001, time.monotonic() + seconds
    try:
        while not store.check([key]):
            if store.check([_FAILED]):
                problem, remedy = json.loads(store.get(_FAILED))
                raise HarnessError(problem, remedy)
            if time.monotonic() > deadline:
                raise TimeoutError(key)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        return store.get(key).decode()
    except DistNetworkError as error:
        raise HarnessError(
            f"process {rank()}: the first process is gone ({_first_line(error)})", _AGAIN
        ) from error


@contextmanager
def peers_may_vanish() -> Iterator[None]:
    """Turn what collectives raise when another process dies into one error.

    Raises:
        HarnessError: With the backend's own first line.
    """
    try:
        yield
    except RuntimeError as error:
        if world_size() == 1 or not _lost_peer(error):
            raise
        raise HarnessError(
            f"process {rank()} of {world_size()}: another process ended or does not answer ({_first_line(error)})",
            f"See what that one printed. {_AGAIN}",
        ) from error


_LOST = ("gloo/", "closed by peer", "reset by peer", "NCCL", "Timed out waiting")


def _lost_peer(error: RuntimeError) -> bool:
    from torch.distributed import DistError

    return isinstance(error, DistError) or any(sign in str(error) for sign in _LOST)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def alone(function: Callable[..., T], *arguments: Any) -> T:
    """Run a function in a process of its own that knows nothing of the launcher, and give what it returns.

    For libraries that would share their work with all processes, although only this one calls them.
    """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    with (
        _without(_launchers_variables()),
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
    ):
        return pool.submit(function, *arguments).result()


def _launchers_variables() -> list[str]:
    names = (
        "RANK",
        "WORLD_SIZE",
        "LOCAL_RANK",
        "LOCAL_WORLD_SIZE",
        "GROUP_RANK",
        "ROLE_RANK",
        "MASTER_ADDR",
        "MASTER_PORT",
    )
    prefixes = ("ACCELERATE_", "FSDP_", "TORCHELASTIC_", "GROUP_", "ROLE_")
    return [name for name in os.environ if name in names or name.startswith(prefixes)]


@contextmanager
def _without(names: list[str]) -> Iterator[None]:
    kept = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(kept)
