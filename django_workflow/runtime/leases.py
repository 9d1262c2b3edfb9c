"""The keeper: one thread per process that renews the leases of what the process holds, and ends what is overdue.

It ticks only while something is held. A claim that waits behind a slow one in its batch is given back, so that
another worker can take it; one statement a tick renews all the others once a third of the lease is over.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from threading import Condition, Thread
from time import monotonic

from django.db import connections

from django_workflow.conf import settings
from django_workflow.core.ports import get_dispatcher
from django_workflow.store import claims as store
from django_workflow.store.rows import Claim

logger = logging.getLogger(__name__)

#: How long a claim waits behind a slow one of its batch before another worker may have it.
PATIENCE_SECONDS = 0.2
IDLE_SECONDS = 60


@dataclass(slots=True, eq=False)
class Held:
    """A claim in the keeper's hands."""

    claim: Claim
    renewed: float
    begun: float | None = None
    released: bool = False
    deadline: float | None = None
    overdue: Callable[[], None] | None = None
    #: Claims of one batch wait for each other: one thread carries them out.
    batch: object = field(default_factory=object)


class Keeper:
    """Renews leases and watches deadlines."""

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._held: list[Held] = []
        self._changed = Condition()
        self._thread: Thread | None = None
        self._is_connected = False
        self._is_handing_on = False

    def hold(self, claims: list[Claim]) -> list[Held]:
        """Renew the leases of these claims from now on, until each is let go."""
        now, batch = monotonic(), object()
        held = [Held(claim, now, batch=batch) for claim in claims]
        with self._changed:
            self._held.extend(held)
            if self._thread is None or not self._thread.is_alive():
                self._thread = Thread(
                    target=self._watch, name="django_workflow-keeper", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()
        return held

    def begin(self, held: Held) -> bool:
        """Mark the claim as begun; False if it has been given back meanwhile."""
        with self._changed:
            held.begun = monotonic()
            return not held.released

    def let_go(self, held: Held) -> None:
        """Stop renewing."""
        with self._changed:
            if held in self._held:
                self._held.remove(held)
            if self._is_connected and not self._held:
                self._changed.notify_all()

    def await_hand_on(self) -> None:
        """Wait until what was taken from behind slow bodies can be claimed again, as far as it has been taken by now."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_handing_on, timeout=PATIENCE_SECONDS * 10)

    def is_holding(self) -> bool:
        """Whether this process still holds a claim."""
        with self._changed:
            return bool(self._held)

    def let_all_go(self) -> list[Claim]:
        """Stop renewing anything, and return what was held."""
        with self._changed:
            held, self._held = self._held, []
            # A watch goes with the claim that it watches.
            return list({h.claim.delivery_id: h.claim for h in held}.values())

    def watch(self, claim: Claim, seconds: float, overdue: Callable[[], None]) -> Held:
        """Call ``overdue``, in the keeper's thread, if the returned watch is not let go in time."""
        now = monotonic()
        # A watch renews nothing until it takes the claim over: `renewed` far ahead keeps it out of the statement.
        held = Held(claim, float("inf"), now, deadline=now + seconds, overdue=overdue)
        self.hold([])
        with self._changed:
            self._held.append(held)
            self._changed.notify_all()
        return held

    def _watch(self) -> None:
        try:
            while self._wait():
                self._tick()
        finally:
            connections.close_all()

    def _wait(self) -> bool:
        """Wait until there may be something to do; False after a minute without anything held."""
        with self._changed:
            if self._held:
                self._changed.wait(self._pause())
                return True
        if self._is_connected:
            # An idle thread keeps no database in use.
            connections.close_all()
            self._is_connected = False
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._held), timeout=IDLE_SECONDS):
                self._thread = None
                return False
            self._changed.wait(self._pause())
            return True

    def _pause(self) -> float:
        now = monotonic()
        lease = settings().LEASE.total_seconds()
        ends = [
            now + PATIENCE_SECONDS
            if any(held.begun is None for held in self._held)
            else now + lease / 3
        ]
        ends += [held.deadline for held in self._held if held.deadline is not None]
        ends += [held.renewed + lease / 3 for held in self._held if held.renewed != float("inf")]
        return max(0.005, min(ends) - now)

    def _tick(self) -> None:
        now = monotonic()
        lease = settings().LEASE.total_seconds()
        with self._changed:
            overdue = [h for h in self._held if h.deadline is not None and h.deadline <= now]
            for held in overdue:
                held.deadline = None
            slow = {
                h.batch
                for h in self._held
                if h.begun is not None and now - h.begun > PATIENCE_SECONDS
            }
            stale = [h for h in self._held if h.begun is None and h.batch in slow]
            for held in stale:
                held.released = True
                self._held.remove(held)
            self._is_handing_on = bool(stale)
            renewals = [h for h in self._held if now - h.renewed >= lease / 3]
            for held in renewals:
                held.renewed = now
        if stale:
            self._do(partial(_hand_on, stale))
            with self._changed:
                self._is_handing_on = False
                self._changed.notify_all()
        if renewals and not self._do(partial(store.renew, _tokens(renewals))):
            for held in renewals:
                # Not at once: the database may be away for a while.
                held.renewed = now - lease / 3 + lease / 10
        for held in overdue:
            if held.overdue is not None:
                self._do(held.overdue)

    def _do(self, work: Callable[[], object]) -> bool:
        self._is_connected = True
        try:
            work()
        except Exception:  # broad: the keeper must outlive a database that is away
            logger.warning("Leases could not be kept; trying again.", exc_info=True)
            connections.close_all()
            return False
        return True


def _hand_on(stale: list[Held]) -> None:
    store.release(_tokens(stale))
    dispatcher = get_dispatcher()
    if dispatcher is not None:
        dispatcher.hint()


def _tokens(held: list[Held]) -> list[tuple[int, int]]:
    return [(one.claim.delivery_id, one.claim.token) for one in held]


keeper = Keeper()
