"""Threads that meet: workers in one process, each on its own connections, with gates where a test holds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier, Event, Lock
from time import monotonic
from typing import Any

from django.db import connections

from django_workflow.models import Delivery, Run
from django_workflow.runtime.executor import End
from django_workflow.runtime.executor import enter as enter_run
from django_workflow.runtime.performer import Allowance
from django_workflow.runtime.worker import drain
from django_workflow.store import claims
from django_workflow.store.rows import Claim
from tests.store.made import PAST

PATIENCE_SECONDS = 30.0


class Gate:
    """A place in user code where a thread is held until the test lets it go on."""

    def __init__(self) -> None:
        self._reached = Event()
        self._open = Event()

    def hold(self) -> None:
        """Be held here."""
        self._reached.set()
        assert self._open.wait(PATIENCE_SECONDS), "Nobody opened the gate."

    def await_arrival(self) -> None:
        """Wait until a thread is held."""
        assert self._reached.wait(PATIENCE_SECONDS), "Nobody came to the gate."

    def open(self) -> None:
        """Let everybody go on, now and later."""
        self._open.set()


class Bodies:
    """Counts bodies by name, and lets a test do something in the middle of them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.calls: Counter[str] = Counter()
        self.during: dict[str, Callable[[], object]] = {}

    def __call__(self, name: str) -> int:
        with self._lock:
            self.calls[name] += 1
            count = self.calls[name]
        self.meet(name)
        return count

    def meet(self, name: str) -> None:
        """Do what a test wants to happen here."""
        self.during.get(name, lambda: None)()

    def clear(self) -> None:
        """Forget everything."""
        self.calls.clear()
        self.during.clear()


bodies = Bodies()


class Threads:
    """Threads of a test, each of which closes its connections at its end."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    def start(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Call a function in a thread."""

        def call() -> Any:
            try:
                return function(*args)
            finally:
                connections.close_all()

        return self._pool.submit(call)

    def together(self, *functions: Callable[[], Any]) -> list[Any]:
        """Call functions in threads that begin at the same moment; return what they returned."""
        barrier = Barrier(len(functions))

        def call(function: Callable[[], Any]) -> Any:
            barrier.wait(PATIENCE_SECONDS)
            return function()

        futures = [self.start(call, function) for function in functions]
        return [future.result(PATIENCE_SECONDS) for future in futures]


def held_in(crew: Threads, name: str) -> tuple[Gate, Future[Any]]:
    """Let a worker work until it is held in the body of this name; return the gate, and what the worker returns."""
    gate = Gate()
    bodies.during[name] = gate.hold
    working = crew.start(drain)
    gate.await_arrival()
    return gate, working


@contextmanager
def threads() -> Iterator[Threads]:
    with ThreadPoolExecutor(16) as pool:
        yield Threads(pool)


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds that another thread brings about."""
    ends = monotonic() + PATIENCE_SECONDS
    pause = Event()
    while not holds():
        assert monotonic() < ends, "It did not come about."
        pause.wait(0.005)


def expire_leases(run_id: str) -> None:
    """Let the leases of a run be over, as if their holders had died or been stopped."""
    Delivery.objects.filter(run_id=run_id).exclude(leased_by="").update(due_at=PAST)


def finished(run: Any) -> Run:
    """Work off what is left, and return the run, which must have completed."""
    drain()
    run.refresh()
    assert run.status == "completed", (run.status, run.reason, list(Delivery.objects.values()))
    assert not Run.objects.stuck().exists()
    return run  # type: ignore[no-any-return]


def reenter(claim: Claim) -> bool:
    """Carry a claim on as a request does that reaches the view; tell whether it was let in."""
    found = claims.enter(claim.delivery_id, claim.token, claim.entry)
    if found is None:
        return False
    if enter_run(found, worker="view", allowance=Allowance(budget=None, steps=None)) is End.AGAIN:
        claims.give_back(found)
    return True
