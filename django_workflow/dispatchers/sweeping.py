"""The thread that sweeps: once per interval in the whole system, and whenever a sleeper's moment has come."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from random import SystemRandom
from threading import Event, Thread
from time import monotonic

from django.db import Error as DatabaseError
from django.db import connections

from django_workflow.conf import settings
from django_workflow.dispatchers.rarely import Rarely
from django_workflow.runtime import sweeper

logger = logging.getLogger(__name__)
uniform = SystemRandom().uniform

#: Of several processes that wake for the same moment, the first one tells the workers.
SAME_MOMENT = timedelta(milliseconds=50)


class SweepThread(Thread):
    """Sweeps until it is stopped, whatever the database does meanwhile.

    ``prepare`` is called first, in the thread.
    """

    #: How often it looks when the next delivery is due: one that was added since is this late at most.
    look_seconds = 0.25

    def __init__(self, prepare: Callable[[], object] | None = None) -> None:
        super().__init__(name="django_workflow-sweep", daemon=True)
        self._prepare = prepare
        self._stopped = Event()
        self._rarely = Rarely(logger)
        self._due_at: float | None = None
        # Jittered: workers that were started together do not sweep together.
        self._sweep_at = monotonic() + uniform(0, 0.2)

    def stop(self) -> None:
        """Ask the thread to end. Safe in a signal handler's context."""
        self._stopped.set()

    def run(self) -> None:
        """Sweep until told to stop."""
        if self._prepare is not None:
            self._prepare()
        try:
            pause = 0.0
            while not self._stopped.wait(pause):
                pause = self._turn()
        finally:
            connections.close_all()

    def _turn(self) -> float:
        try:
            self._sweep()
            self._look()
        except DatabaseError as error:
            self._rarely.warning(
                "Due deliveries cannot be looked for, the database says: %s", error
            )
            connections.close_all()
            return self._interval()
        except Exception:  # broad: the thread must outlive whatever this was
            self._rarely.warning("The sweep went wrong; it goes on.", exc_info=True)
            connections.close_all()
            return self._interval()
        return self._pause()

    def _interval(self) -> float:
        return settings().SWEEP_INTERVAL.total_seconds() * uniform(0.9, 1.1)

    def _sweep(self) -> None:
        now = monotonic()
        if now >= self._sweep_at:
            self._sweep_at = now + self._interval()
            sweeper.sweep()
        elif self._due_at is not None and now >= self._due_at:
            sweeper.sweep(interval=SAME_MOMENT)

    def _look(self) -> None:
        ahead = sweeper.seconds_to_next_due()
        self._due_at = None if ahead is None else monotonic() + ahead

    def _pause(self) -> float:
        moments = [self._sweep_at, monotonic() + self.look_seconds]
        if self._due_at is not None:
            moments.append(self._due_at)
        return max(0.0, min(moments) - monotonic())


class WatchThread(SweepThread):
    """Also looks for rows that other processes have written, for a process that gets no hints from them."""

    look_seconds = 0.03
    #: While something stays due, workers are told again no more often than this.
    again_seconds = 0.1

    def __init__(self, prepare: Callable[[], object] | None = None) -> None:
        super().__init__(prepare)
        self._mark: int | None = None
        self._due = 0
        self._told_at = 0.0

    def _look(self) -> None:
        mark = sweeper.change_mark()
        has_come = self._due_at is not None and monotonic() >= self._due_at
        if mark is not None and mark == self._mark and not self._due and not has_come:
            return
        self._mark = mark
        last, self._due = self._due, sweeper.count_due()
        if monotonic() - self._told_at >= self.again_seconds:
            self._tell(self._due)
        else:
            self._tell(self._due - last)
        super()._look()

    def _tell(self, due: int) -> None:
        if due > 0:
            sweeper.wake_workers(due)
            self._told_at = monotonic()
