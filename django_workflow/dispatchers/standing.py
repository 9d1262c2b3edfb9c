"""What a worker of Celery does beside its tasks, in a process of its own: sweep, and make calls, until told to stop.

For workers that are not ours to start threads in, as those of ``django.tasks``' backends.
"""

from __future__ import annotations

import signal
from threading import Event, current_thread, main_thread

from django_workflow.dispatchers.sweeping import SweepThread
from django_workflow.runtime import call_thread
from django_workflow.runtime.call_thread import CallThread

#: How often it looks whether both threads are alive; one that has ended is started again.
LOOK_SECONDS = 1.0


def stand_watch(stopped: Event | None = None) -> None:
    """Sweep and make calls until SIGTERM, an interrupt, or ``stopped``; what is in flight then is given back."""
    told = Event() if stopped is None else stopped
    if current_thread() is main_thread():
        signal.signal(signal.SIGTERM, lambda *_: told.set())
    sweep, calls = _started_sweep(None), _started_calls(None)
    try:
        while not told.wait(LOOK_SECONDS):
            sweep, calls = _started_sweep(sweep), _started_calls(calls)
    finally:
        sweep.stop()
        call_thread.stopped(calls)
        sweep.join(LOOK_SECONDS)


def _started_sweep(thread: SweepThread | None) -> SweepThread:
    if thread is None or not thread.is_alive():
        thread = SweepThread()
        thread.start()
    return thread


def _started_calls(thread: CallThread | None) -> CallThread:
    if thread is None or not thread.is_alive():
        thread = CallThread()
        thread.start()
    return thread
