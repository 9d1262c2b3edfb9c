"""The thread that makes calls: one event loop per worker process, and one thread beside it for the database.

A call holds a socket and a lease, and nothing else: no slot of the pool, no web process. What is in flight is
renewed in one statement a tick; what has ended is recorded in small batches, and workers are told of woken runs. When
the process is told to stop, what is in flight is given back; who dies leaves leases that end, and the requests are made
again under the same idempotency keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from threading import Event, Thread
from time import monotonic
from typing import Any, Final, TypeVar

from django.db import Error as DatabaseError
from django.db import connections

from django_workflow.conf import settings
from django_workflow.core.middleware import OutgoingCall, StepInfo
from django_workflow.core.types import StepKind
from django_workflow.runtime.announcing import around_call, middlewares
from django_workflow.runtime.bell import bell
from django_workflow.runtime.calling import (
    Answer,
    DueCall,
    LocalTroubleError,
    NoAnswerError,
    claim_calls,
    finish,
    leave_slot,
)
from django_workflow.runtime.http_call import HttpCaller
from django_workflow.runtime.worker import heal_connections, hint, put_off
from django_workflow.runtime.workers import worker_name
from django_workflow.store import calls, claims

logger = logging.getLogger(__name__)

T = TypeVar("T")

CLAIMED_AT_ONCE: Final = 50
RECORDED_AT_ONCE: Final = 20
#: How often it looks by itself: soon after it has found something, and ever later while it finds nothing.
LOOK_SECONDS: Final = 0.05
IDLE_SECONDS: Final = 0.5
#: After the database did not answer.
AWAY_SECONDS: Final = 1.0
STOP_SECONDS: Final = 5.0


@dataclass(slots=True, eq=False)
class _InFlight:
    """A call in this thread's hands, until it is recorded or given back."""

    call: DueCall
    task: asyncio.Task[None] | None = None
    outcome: Answer | NoAnswerError | LocalTroubleError | None = None
    took: timedelta = timedelta(0)
    #: Recorded, or put off: the claim has ended.
    is_over: bool = False

    @property
    def pair(self) -> tuple[int, int]:
        return self.call.claim.delivery_id, self.call.claim.token


class CallThread(Thread):
    """Makes calls until it is stopped, whatever the database does meanwhile.

    ``prepare`` is called first, in each of its threads.
    """

    def __init__(self, prepare: Callable[[], object] | None = None) -> None:
        super().__init__(name="django_workflow-calls", daemon=True)
        self._prepare = prepare or (lambda: None)
        self._stopped = Event()

    def stop(self) -> None:
        """Ask the thread to end. Safe in a signal handler's context."""
        self._stopped.set()
        bell.ring()

    def run(self) -> None:
        """Make calls until told to stop."""
        self._prepare()
        listening = bell.open()
        with self._apart("db") as database, self._apart("telling") as telling:
            try:
                asyncio.run(_Switchboard(self._stopped, database, telling, listening).work())
            except Exception:  # broad: a door; without this thread no call is made here any more
                logger.exception("The thread that makes calls has ended.")
            finally:
                telling.submit(connections.close_all)
                database.submit(connections.close_all).result()

    def _apart(self, what: str) -> ThreadPoolExecutor:
        """Return a thread of its own, begun when it is needed."""
        name = f"django_workflow-calls-{what}"
        return ThreadPoolExecutor(1, thread_name_prefix=name, initializer=self._prepare)


class _Switchboard:
    """What the thread does, on its loop."""

    def __init__(
        self,
        stopped: Event,
        database: ThreadPoolExecutor,
        telling: ThreadPoolExecutor,
        listening: int,
    ) -> None:
        self._stopped = stopped
        self._database = database
        # Who listens may take long, and the database's thread renews leases.
        self._telling = telling
        self._listening = listening
        self._held: dict[int, _InFlight] = {}
        self._ended: asyncio.Queue[_InFlight] = asyncio.Queue()
        self._rung = asyncio.Event()
        self._worker = worker_name()
        self._idle = LOOK_SECONDS

    async def work(self) -> None:
        """Claim, make and record calls until told to stop; then give back what is in flight."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._listening, self._hear)
        async with HttpCaller() as self._caller:
            helpers = [
                loop.create_task(self._record_for_ever()),
                loop.create_task(self._renew_for_ever()),
            ]
            try:
                while not self._stopped.is_set():
                    await self._wait(await self._claim_more())
            finally:
                loop.remove_reader(self._listening)
                for helper in helpers:
                    helper.cancel()
                await asyncio.gather(*helpers, return_exceptions=True)
                await self._hand_back()

    def _hear(self) -> None:
        bell.hush()
        self._rung.set()

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        self._rung.clear()

    async def _in_database(self, work: Callable[[], T]) -> T:
        def healed() -> T:
            heal_connections()
            return work()

        return await asyncio.get_running_loop().run_in_executor(self._database, healed)

    # Claimed

    async def _claim_more(self) -> float:
        """Begin what is due, as far as there is room; return how long to wait before the next look."""
        room = min(CLAIMED_AT_ONCE, settings().CALLS_AT_ONCE - len(self._held))
        if room <= 0:
            return IDLE_SECONDS
        try:
            due, found = await self._in_database(partial(claim_calls, self._worker, room))
        except DatabaseError as error:
            logger.warning("Due calls cannot be claimed, the database says: %s", error)
            return AWAY_SECONDS
        except Exception:  # broad: the thread must outlive whatever this was
            logger.exception("Due calls could not be claimed.")
            return AWAY_SECONDS
        for call in due:
            one = self._held[call.claim.delivery_id] = _InFlight(call)
            one.task = asyncio.get_running_loop().create_task(self._carry(one))
        self._idle = LOOK_SECONDS if found else min(IDLE_SECONDS, self._idle * 1.5)
        return 0.0 if found == room else self._idle

    async def _carry(self, one: _InFlight) -> None:
        begun = monotonic()
        try:
            one.outcome = await self._ask(one.call)
        except (NoAnswerError, LocalTroubleError) as error:
            one.outcome = error
        except Exception as error:  # broad: whatever the client raises is this call's matter alone
            logger.exception("A call could not be made: %s", one.call.shown)
            one.outcome = NoAnswerError(
                f"{one.call.shown} could not be made: {type(error).__name__}: {error}"
            )
        one.took = timedelta(seconds=monotonic() - begun)
        self._ended.put_nowait(one)

    async def _ask(self, call: DueCall) -> Answer:
        if not middlewares():
            return await self._caller.ask(call.request, call.timeout)
        shown = call.request.masked()
        outgoing = OutgoingCall(method=shown.method, url=shown.url)
        about = StepInfo(
            name=call.row.name or "",
            key=call.claim.step_key,
            kind=StepKind.CALL,
            attempt=call.attempt,
        )
        with around_call(call.claim, about, outgoing):
            request = call.request
            for name, value in outgoing.headers.items():
                request = request.with_default_header(name, value)
            answer = await self._caller.ask(request, call.timeout)
            outgoing.status = answer.status
        return answer

    # Recorded

    async def _record_for_ever(self) -> None:
        while True:
            ended = [await self._ended.get()]
            while not self._ended.empty() and len(ended) < RECORDED_AT_ONCE:
                ended.append(self._ended.get_nowait())
            await self._in_database(partial(self._record, ended))
            for one in ended:
                if one.is_over:
                    self._let_go(one)
                else:
                    self._ended.put_nowait(one)
            if not all(one.is_over for one in ended):
                await asyncio.sleep(AWAY_SECONDS)

    def _let_go(self, one: _InFlight) -> None:
        if len(self._held) >= settings().CALLS_AT_ONCE:
            self._rung.set()
        self._held.pop(one.call.claim.delivery_id, None)

    def _record(self, ended: list[_InFlight]) -> None:
        """Record what has ended, in the database's thread, as far as the database takes it."""
        woken = 0
        try:
            for one in ended:
                woken += self._finish(one)
                one.is_over = True
        except DatabaseError as error:
            logger.warning("The answers to calls cannot be recorded, the database says: %s", error)
        if woken:
            hint(-(-woken // settings().CLAIM_BATCH))

    def _finish(self, one: _InFlight) -> bool:
        call, outcome = one.call, one.outcome
        try:
            if isinstance(outcome, LocalTroubleError):
                put_off(call.claim, str(outcome))
                leave_slot(call)
                return False
            return outcome is not None and finish(
                call, outcome, one.took, self._worker, tell=self._tell
            )
        except DatabaseError:
            raise
        except (
            Exception
        ) as error:  # broad: as at the worker's door, it is repeated, and the reason shown
            logger.exception("The answer to a call could not be recorded: %s", call.shown)
            put_off(
                call.claim, f"The answer could not be recorded: {type(error).__name__}: {error}"
            )
            return False

    def _tell(self, tell: Callable[[], None]) -> None:
        def healed() -> None:
            heal_connections()
            tell()

        self._telling.submit(healed)

    # Held

    async def _renew_for_ever(self) -> None:
        is_late = False
        while True:
            lease = settings().LEASE.total_seconds()
            await asyncio.sleep(lease / 10 if is_late else lease / 3)
            is_late = bool(self._held) and not await self._renew()

    async def _renew(self) -> bool:
        held = [one.pair for one in self._held.values()]
        try:
            lost = await self._in_database(partial(_renewed, held))
        except Exception:  # broad: it must outlive a database that is away
            logger.warning("The leases of calls could not be renewed; trying again.", exc_info=True)
            return False
        for delivery_id in lost:
            # Cancelled, or taken over: nobody waits for its answer.
            one = self._held.pop(delivery_id, None)
            if one is not None and one.task is not None:
                one.task.cancel()
        return True

    async def _hand_back(self) -> None:
        """Record what has ended, and give back the rest: not a death, the try does not count."""
        tasks = [one.task for one in self._held.values() if one.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        held = list(self._held.values())
        try:
            await self._in_database(
                partial(
                    self._record,
                    [one for one in held if one.outcome is not None and not one.is_over],
                )
            )
            left = [one.pair for one in held if not one.is_over]
            if left:
                await self._in_database(partial(claims.release, left))
        except DatabaseError as error:
            logger.warning("Calls could not be given back; their leases end. %s", error)


def _renewed(held: list[tuple[int, int]]) -> list[int]:
    """Renew these leases; return the deliveries that are no longer held."""
    if claims.renew(held) == len(held):
        return []
    known = calls.still_held(held)
    return [delivery_id for delivery_id, _ in held if delivery_id not in known]


def stopped(thread: Any) -> None:
    """Ask a thread to end, and wait a moment for it to give back what it holds."""
    if thread is not None and thread.is_alive():
        thread.stop()
        thread.join(STOP_SECONDS)
