"""Verbs that people and programs use on runs: done, and kept with who did it and why, in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.utils import timezone

from django_workflow.conf import settings
from django_workflow.core.actors import Actor
from django_workflow.store import actions
from django_workflow.store import runs as store
from django_workflow.store.actions import Change

logger = logging.getLogger(__name__)

_PAST = {
    "cancel": "cancelled",
    "pause": "paused",
    "resume": "resumed",
    "restart": "restarted",
    "trigger": "triggered",
    "notify": "sent an event",
}


def audited(verb: str, run_id: str, do: Callable[[], bool], *, actor: Any, why: str) -> bool:
    """Do something to a run, and keep who did it; return False, and keep nothing, if it could not be done."""
    by = Actor.of(actor)
    with transaction.atomic(using=settings().DATABASE):
        # Nobody changes the state between the two looks at it.
        before = store.locked_state(run_id)
        if before is None or not do():
            return False
        after = store.state_of(run_id)
        actions.keep(verb, [Change(run_id, before, after or "")], by=by, why=why)
    log(verb, run_id, by, why)
    return True


def log(verb: str, run_id: str, by: Actor, why: str) -> None:
    """Say in the log what was done."""
    extra = {
        "run_id": run_id,
        "actor": by.name,
        "door": by.door,
        "why": why,
        "at": timezone.now().isoformat(),
    }
    logger.info("Run %s was %s", run_id, _PAST[verb], extra=extra)
