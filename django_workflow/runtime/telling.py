"""What passes and bodies say on their way: kept back until something is written anyway, or, in a body, paced.

A body may go on for long, so what it says is written while it runs: by its own thread where that is the one of the
claim, by the thread that awaits it where it is async. A line between steps is known by its place, so writing it
twice does no harm; what was written is remembered with the journal.
"""

from __future__ import annotations

import logging
from asyncio import get_running_loop
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Lock, get_ident
from time import monotonic
from typing import Any, Final, NamedTuple, TypeVar

from django.db import Error as DatabaseError
from django.db import transaction

from django_workflow.conf import settings
from django_workflow.core.journal import Journal
from django_workflow.core.telling import LOG, Saying, Told
from django_workflow.store import telling as store
from django_workflow.store.repeating import repeated
from django_workflow.store.rows import Claim
from django_workflow.store.sql import connection

logger = logging.getLogger(__name__)

#: What a body says is written at once so often, and then twice a second.
BURST: Final = 10
PER_SECOND: Final = 2.0
#: More than this is not kept back: the lines after them are dropped.
MOST_KEPT_BACK: Final = 1_000

T = TypeVar("T")


class _Heard(NamedTuple):
    told: Told
    at: float


class Telling:
    """What one entry has heard and nobody has written yet."""

    def __init__(self, claim: Claim, journal: Journal) -> None:
        self._claim = claim
        self._journal = journal
        self._heard: list[_Heard] = []
        self._written: list[_Heard] = []
        self._lock = Lock()
        self._thread = get_ident()
        self._spoken = Event()
        self._pace = _Pace()

    @property
    def has_heard(self) -> bool:
        """Whether something waits to be written with the next record."""
        return bool(self._heard)

    def begin_pass(self) -> None:
        """Forget what the last pass said between steps and did not get written: this one says it again."""
        self._heard = [heard for heard in self._heard if heard.told.number is None]

    def hear(self, told: Told) -> None:
        """Take down what is said between steps."""
        self._keep(_Heard(told, monotonic()))

    def hear_body(self, step_key: str, attempt: int, saying: Saying) -> None:
        """Take down what a step's body says, and write it if that is possible now."""
        told = Told(saying, step_key, None, attempt, self._journal.watermark)
        self._keep(_Heard(told, monotonic()))
        if self._may_write() and self._pace.take():
            self.flush()
        else:
            self._spoken.set()

    def _keep(self, heard: _Heard) -> None:
        with self._lock:
            what = heard.told.saying.what
            if what != LOG and heard.told.number is None:
                # Of a body only the latest progress counts.
                self._heard = [
                    h for h in self._heard if h.told.saying.what != what or h.told.number
                ]
            elif len(self._heard) >= MOST_KEPT_BACK:
                logger.warning(
                    "Lines of run %s are dropped: %d wait to be written",
                    self._claim.run_id,
                    MOST_KEPT_BACK,
                    extra={"run_id": self._claim.run_id},
                )
                return
            self._heard.append(heard)

    def _may_write(self) -> bool:
        """Whether this thread may write now: it is the claim's, without a loop, and in no transaction of the body."""
        if get_ident() != self._thread:
            return False
        try:
            get_running_loop()
        except RuntimeError:
            return not _in_transaction()
        return False

    def attend(self, future: Future[Any]) -> Any:
        """Return the result of an async body, and write what it says meanwhile."""
        future.add_done_callback(lambda _: self._spoken.set())
        while not future.done():
            self._spoken.wait()
            self._spoken.clear()
            if not future.done() and self._heard:
                wait_for([future], timeout=self._pace.delay())
                self._pace.take()
                self.flush()
        return future.result()

    def flush(self) -> None:
        """Write what was heard, in a statement of its own; trouble with it is no trouble of the run."""
        try:
            self.with_it(self._claim, lambda _: None)
        except DatabaseError:
            logger.warning(
                "What run %s says could not be written yet.",
                self._claim.run_id,
                exc_info=True,
                extra={"run_id": self._claim.run_id},
            )

    def with_it(self, claim: Claim, write: Callable[[Claim], T]) -> T:
        """Write something, and what was heard after it in one transaction; just that if nothing was heard."""
        return _both(claim, self, write) if self._heard else write(claim)

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Return a transaction at whose end what was heard is written."""
        with transaction.atomic(using=settings().DATABASE):
            yield
            with self._lock:
                heard = list(self._heard)
            now = monotonic()
            told = [(one.told, timedelta(seconds=now - one.at)) for one in heard]
            store.write(self._claim.run_id, self._claim.run.generation, told)
        with self._lock:
            del self._heard[: len(heard)]
        self._written = heard
        self._journal.told.update((h.told.after, h.told.number) for h in heard if h.told.number)

    def take_back(self) -> None:
        """Take down again what was written last: the transaction around it was rolled back."""
        with self._lock:
            self._heard = self._written + self._heard
        self._journal.told.difference_update((h.told.after, h.told.number) for h in self._written)
        self._written = []


@repeated
def _both(claim: Claim, telling: Telling, write: Callable[[Claim], T]) -> T:
    with telling.joined():
        return write(claim)


class _Pace:
    """A bucket of writes that fills again."""

    def __init__(self) -> None:
        self._left = float(BURST)
        self._at = monotonic()

    def take(self) -> bool:
        """Take one write, if there is one."""
        self._fill()
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def delay(self) -> float:
        """Return in how many seconds there is one."""
        self._fill()
        return max(0.0, (1 - self._left) / PER_SECOND)

    def _fill(self) -> None:
        now = monotonic()
        self._left = min(float(BURST), self._left + (now - self._at) * PER_SECOND)
        self._at = now


def _in_transaction() -> bool:
    blocks = connection().atomic_blocks
    return any(not getattr(block, "_from_testcase", False) for block in blocks)
