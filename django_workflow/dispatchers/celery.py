"""Hints through Celery's broker, and what a worker process does beside its tasks.

A message is a hint and never the truth, so a broker that is away must cost next to nothing: a caller waits for it half
a second at most, then nobody does for half a minute, and the sweep finds what is due. A first connection that was only
slow, as in a process that has just begun, ends this as soon as the broker has taken a message.
"""

from __future__ import annotations

import contextlib
import logging
import os
from threading import Lock, Thread, local
from time import monotonic
from typing import Any

from celery import Celery, signals
from celery.app import app_or_default
from kombu import Producer

from django_workflow.conf import settings
from django_workflow.dispatchers.publisher import Publisher
from django_workflow.dispatchers.rarely import Rarely
from django_workflow.dispatchers.sweeping import SweepThread
from django_workflow.runtime import call_thread, worker
from django_workflow.runtime.bell import bell
from django_workflow.runtime.call_thread import CallThread

logger = logging.getLogger(__name__)

ADVANCE = "django_workflow.advance"
SWEEP = "django_workflow.sweep"
HINT_EXPIRES_SECONDS = 60
TICK_EXPIRES_SECONDS = 30

#: More than this at once would only find that nothing is left.
MOST_HINTS = 16
PATIENCE_SECONDS = 0.4
CIRCUIT_SECONDS = 30.0


def queue_options(queue: str | None) -> dict[str, Any]:
    """Return the option that names a queue; without one, Celery's own routing decides."""
    return {"queue": queue} if queue else {}


def send_hint(app: Celery, producer: Producer) -> None:
    """Send one message that says: look what is due."""
    app.tasks[ADVANCE].apply_async(
        producer=producer, retry=False, **queue_options(settings().QUEUE)
    )


class CeleryDispatcher:
    """Tells workers by Celery messages."""

    def __init__(self) -> None:
        #: In a process that works itself there is always somebody to tell, whatever the settings say.
        self.is_worker = False
        #: In a process that has found that there is nobody.
        self.is_silent = False
        self._rarely = Rarely(logger)
        self._here = local()
        self._publisher: Publisher | None = None
        # Kept, so that they are not collected: that would close the parent's connection under it.
        self._inherited: list[Publisher] = []
        self._lock = Lock()
        self._closed_until = 0.0
        #: When a hint was given up that was the first one of its connection.
        self._gave_up_at: float | None = None
        os.register_at_fork(after_in_child=self._forget_publisher)

    def _forget_publisher(self) -> None:
        if self._publisher is not None:
            self._inherited.append(self._publisher)
        self._publisher = None
        self._lock = Lock()

    def hint(self, count: int = 1) -> None:
        """See `core.ports.Dispatcher.hint()`."""
        try:
            self._hint(count)
        except Exception as error:  # broad: a hint never raises, whatever the broker's client does
            self._close_circuit()
            self._rarely.warning(
                "Workers could not be told that something is due, the broker says: %s. Their sweep finds it.",
                error,
            )

    def _hint(self, count: int) -> None:
        is_wanted = settings().DISPATCHER == "celery" or self.is_worker
        if self.is_silent or not is_wanted:
            return
        app = app_or_default()
        if app.conf.task_always_eager:
            self._work_here(app)
        elif monotonic() >= self._closed_until or self._came_late():
            self._publisher_for(app).publish(min(count, MOST_HINTS), seconds=PATIENCE_SECONDS)

    def _close_circuit(self) -> None:
        now, publisher = monotonic(), self._publisher
        self._closed_until = now + CIRCUIT_SECONDS
        self._gave_up_at = now if publisher is not None and publisher.is_beginning else None

    def _came_late(self) -> bool:
        """Whether the broker has taken that hint in the end."""
        gave_up, publisher = self._gave_up_at, self._publisher
        return gave_up is not None and publisher is not None and publisher.sent_at > gave_up

    def _work_here(self, app: Celery) -> None:
        """Run the task in this thread, as ``task_always_eager`` asks; a hint from within it has nothing to add."""
        if getattr(self._here, "is_working", False):
            return
        self._here.is_working = True
        try:
            app.tasks[ADVANCE].apply()
        finally:
            self._here.is_working = False

    def _publisher_for(self, app: Celery) -> Publisher:
        with self._lock:
            if self._publisher is None or not self._publisher.serves(
                app, patience_seconds=CIRCUIT_SECONDS / 2
            ):
                if self._publisher is not None:
                    self._publisher.close()
                self._publisher = Publisher(app, send_hint, MOST_HINTS)
            return self._publisher


dispatcher = CeleryDispatcher()


class _Pipe:
    """Tells the children of a prefork pool that their worker is stopping: its other end is closed.

    They get no signal of it, and would go on to take work. The end is closed, too, when the worker is killed.
    """

    def __init__(self) -> None:
        self.owner = 0
        self.ends: tuple[int, int] | None = None

    def open(self) -> None:
        if self.ends is None:
            self.owner, self.ends = os.getpid(), os.pipe()

    def close(self) -> None:
        if self.ends is not None and self.owner == os.getpid():
            ends, self.ends = self.ends, None
            for end in ends:
                with contextlib.suppress(OSError):
                    os.close(end)

    def listen(self) -> None:
        if self.ends is None or self.owner == os.getpid():
            return
        reading, writing = self.ends
        os.close(writing)
        Thread(target=self._wait, args=(reading,), name="django_workflow-stop", daemon=True).start()

    def _wait(self, reading: int) -> None:
        with contextlib.suppress(OSError):
            os.read(reading, 1)
        worker.stopping.set()


_pipe = _Pipe()


class _Sweeps:
    thread: SweepThread | None = None
    calls: CallThread | None = None


def _worker_begins(**_: Any) -> None:
    """In the main process, before the pool is made."""
    dispatcher.is_worker = True
    worker.stopping.clear()
    _pipe.open()
    bell.open()


def _pool_process_begins(**_: Any) -> None:
    _pipe.listen()


def _worker_is_ready(*, sender: Any, **_: Any) -> None:
    """In the main process, after the pool was made; again after each reconnection to the broker."""
    if _Sweeps.thread is None or not _Sweeps.thread.is_alive():
        # The current app is the thread's own; without this the thread would have the fallback.
        _Sweeps.thread = SweepThread(prepare=sender.app.set_current)
        _Sweeps.thread.start()
    if _Sweeps.calls is None or not _Sweeps.calls.is_alive():
        _Sweeps.calls = CallThread(prepare=sender.app.set_current)
        _Sweeps.calls.start()


def _worker_stops(**_: Any) -> None:
    """In the main process; a signal handler calls it first, so it only sets what others look at."""
    worker.stopping.set()
    _pipe.close()
    if _Sweeps.thread is not None:
        _Sweeps.thread.stop()
    if _Sweeps.calls is not None:
        _Sweeps.calls.stop()


def _worker_has_stopped(**_: Any) -> None:
    """In the main process, at its end: calls in flight are given back."""
    call_thread.stopped(_Sweeps.calls)


def _beat_begins(*, sender: Any, **_: Any) -> None:
    """Add the tick to the schedule that beat has already read; it touches no setting of the project."""
    if not settings().BEAT:
        return
    queue = settings().SWEEP_QUEUE or settings().QUEUE
    tick = {
        "task": SWEEP,
        "schedule": settings().SWEEP_INTERVAL,
        "options": {"expires": TICK_EXPIRES_SECONDS, **queue_options(queue)},
    }
    sender.scheduler.update_from_dict({SWEEP: tick})


def connect_signals() -> None:
    """Hear of Celery's workers and beats that start in this process."""
    for signal, receiver in (
        (signals.celeryd_after_setup, _worker_begins),
        (signals.worker_process_init, _pool_process_begins),
        (signals.worker_ready, _worker_is_ready),
        (signals.worker_shutting_down, _worker_stops),
        (signals.worker_shutdown, _worker_stops),
        (signals.worker_shutdown, _worker_has_stopped),
        (signals.beat_init, _beat_begins),
    ):
        signal.connect(receiver, weak=False, dispatch_uid=f"django_workflow.{receiver.__name__}")
