"""The door in for workers of ``django.tasks``: one task, which carries nothing, as Celery's.

Only for Django 6.0 and newer, and imported when it is needed alone: a task is refused as soon as it is made where
``TASKS`` has no default backend, or none with its queue. Backends keep the path of this task, so it stays here.
"""

from __future__ import annotations

import logging

from django.db import Error as DatabaseError
from django.tasks import task

from django_workflow.conf import settings
from django_workflow.dispatchers.rarely import Rarely
from django_workflow.runtime.worker import drain

logger = logging.getLogger(__name__)
_rarely = Rarely(logger)

#: After this long a worker lets the project's other tasks have a turn.
DRAIN_SECONDS = 2.0


@task(queue_name=settings().QUEUE or "default")
def advance() -> None:
    """Carry out due deliveries, for some seconds at most; the rest is left to the next hint."""
    try:
        drain(seconds=DRAIN_SECONDS)
    except DatabaseError as error:
        _rarely.warning("Due deliveries cannot be claimed, the database says: %s", error)
