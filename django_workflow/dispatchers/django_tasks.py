"""Hints through ``django.tasks``, which Django has from 6.0 on: each is a task in the project's default backend.

Django says neither how long a backend may take to keep a task, nor when a task that nobody wants any more is dropped.
So a backend that is slow or away is left alone for half a minute, and a process has no more than a few tasks waiting.
"""

from __future__ import annotations

import logging
from collections import deque
from importlib.util import find_spec
from threading import Lock, local
from time import monotonic
from typing import Any

from django.utils.module_loading import import_string

from django_workflow.conf import settings
from django_workflow.dispatchers.celery import CIRCUIT_SECONDS, MOST_HINTS, PATIENCE_SECONDS
from django_workflow.dispatchers.celery import dispatcher as celery_dispatcher
from django_workflow.dispatchers.rarely import Rarely

logger = logging.getLogger(__name__)

ADVANCE = "django_workflow.dispatchers.advance_task.advance"
READY = "READY"
#: Backends of Django itself that have no worker: the caller does the work, or nobody.
WITHOUT_WORKERS = ("django.tasks.backends.immediate.", "django.tasks.backends.dummy.")


def is_available() -> bool:
    """Whether this Django has ``django.tasks``."""
    return find_spec("django.tasks") is not None


def advance_task() -> Any:
    """Return the task that a hint enqueues.

    Raises:
        ImportError: Django has no ``django.tasks``.
        Exception: ``TASKS`` has no default backend, or it does not take the task.
    """
    found: Any = import_string(ADVANCE)
    queue = settings().QUEUE or "default"
    return found if found.queue_name == queue else found.using(queue_name=queue)


def problem() -> str | None:
    """Return why hints cannot be enqueued, or None."""
    try:
        task = advance_task()
        task.get_backend().validate_task(task)
    except Exception as error:  # broad: each backend has its own errors; a check tells them
        return str(error)
    return None


def has_workers() -> bool:
    """Whether the backend is one from which workers can take tasks."""
    kind = type(advance_task().get_backend())
    return not f"{kind.__module__}.".startswith(WITHOUT_WORKERS)


class TasksDispatcher:
    """Tells workers by tasks of the default backend."""

    def __init__(self) -> None:
        self._rarely = Rarely(logger)
        self._here = local()
        self._lock = Lock()
        self._waiting: deque[Any] = deque(maxlen=MOST_HINTS)
        self._closed_until = 0.0

    def hint(self, count: int = 1) -> None:
        """See `core.ports.Dispatcher.hint()`."""
        # A backend that works in the caller's thread is in the middle of it.
        if getattr(self._here, "is_telling", False) or monotonic() < self._closed_until:
            return
        self._here.is_telling = True
        begun = monotonic()
        try:
            if self._enqueue(min(count, MOST_HINTS)) and monotonic() - begun > PATIENCE_SECONDS:
                self._closed_until = monotonic() + CIRCUIT_SECONDS
        except Exception as error:  # broad: a hint never raises, whatever the backend does
            self._closed_until = monotonic() + CIRCUIT_SECONDS
            self._rarely.warning(
                "Workers could not be told that something is due, django.tasks says: %s. The sweep finds it.",
                error,
            )
        finally:
            self._here.is_telling = False

    def _enqueue(self, count: int) -> bool:
        """Enqueue so many tasks, less those that have not begun yet; tell whether waiting for it was in vain."""
        task = advance_task()
        if not has_workers():
            # Done by the caller, now, all that is due; or by nobody.
            task.enqueue()
            return False
        for _ in range(min(count, self._room(task, count))):
            result = task.enqueue()
            with self._lock:
                self._waiting.append(result)
        return True

    def _room(self, task: Any, count: int) -> int:
        """Return how many more tasks may wait: one that has not begun looks at all that is due by then."""
        if not task.get_backend().supports_get_result:
            return count
        with self._lock:
            if len(self._waiting) + count > MOST_HINTS:
                still = [result for result in self._waiting if _is_waiting(result)]
                self._waiting = deque(still, maxlen=MOST_HINTS)
            return MOST_HINTS - len(self._waiting)


def _is_waiting(result: Any) -> bool:
    try:
        result.refresh()
    except Exception:  # broad: each backend has its own errors; a task that is gone waits no more
        return False
    return str(result.status) == READY


class ChosenDispatcher:
    """Asks, each time, which dispatcher the settings name."""

    def __init__(self) -> None:
        self.tasks = TasksDispatcher()

    def hint(self, count: int = 1) -> None:
        """See `core.ports.Dispatcher.hint()`."""
        # A Celery worker in this process, workflow_dev's too, is told as ever.
        is_ours = not (celery_dispatcher.is_worker or celery_dispatcher.is_silent)
        if is_ours and settings().DISPATCHER == "tasks":
            self.tasks.hint(count)
        else:
            celery_dispatcher.hint(count)


dispatcher = ChosenDispatcher()
