"""The Celery door in: two tasks, with their options on them, found by any app of the project.

They carry nothing: a message says "look", the database says at what. Lost, doubled, late or expired, no message
changes what happens, only when. Their names are stable, so that the code may move. Time limits of the project are
lifted: steps have timeouts of their own, and a limit would kill whichever step came last.
"""

from __future__ import annotations

import logging

from celery import shared_task
from django.db import Error as DatabaseError

from django_workflow.dispatchers.celery import (
    ADVANCE,
    HINT_EXPIRES_SECONDS,
    SWEEP,
    TICK_EXPIRES_SECONDS,
)
from django_workflow.dispatchers.rarely import Rarely
from django_workflow.runtime.sweeper import tick
from django_workflow.runtime.worker import drain

logger = logging.getLogger(__name__)
rarely = Rarely(logger)

#: After this long a worker lets the project's other tasks have a turn.
DRAIN_SECONDS = 2.0
#: A task without a limit of its own gets the project's.
NO_LIMIT_SECONDS = 365 * 86_400


@shared_task(
    name=ADVANCE,
    ignore_result=True,
    acks_late=True,
    expires=HINT_EXPIRES_SECONDS,
    time_limit=NO_LIMIT_SECONDS,
    soft_time_limit=NO_LIMIT_SECONDS,
)
def advance() -> None:
    """Carry out due deliveries, for some seconds at most; the rest is left to the next hint."""
    try:
        drain(seconds=DRAIN_SECONDS)
    except DatabaseError as error:
        rarely.warning("Due deliveries cannot be claimed, the database says: %s", error)


@shared_task(
    name=SWEEP,
    ignore_result=True,
    acks_late=True,
    expires=TICK_EXPIRES_SECONDS,
    time_limit=NO_LIMIT_SECONDS,
    soft_time_limit=NO_LIMIT_SECONDS,
)
def sweep() -> None:
    """Look for due deliveries, on beat's tick: the second way, beside the workers' own sweep."""
    try:
        tick()
    except DatabaseError as error:
        rarely.warning("Due deliveries cannot be looked for, the database says: %s", error)
