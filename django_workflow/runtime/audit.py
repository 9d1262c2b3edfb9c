"""Verbs that people and programs use on runs: done, and kept with who did it and why, in one transaction."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from django_workflow.conf import settings
from django_workflow.core.actors import Actor
from django_workflow.store import actions
from django_workflow.store import runs as store
from django_workflow.store.actions import Change
from django_workflow.store.repeating import repeated

logger = logging.getLogger(__name__)

_PAST = {
    "cancel": "cancelled",
    "pause": "paused",
    "resume": "resumed",
    "restart": "restarted",
    "trigger": "triggered",
    "notify": "sent an event",
    "retry": "retried at once",
    "skip": "woken from its sleep",
    "extend": "given more time",
    "prioritise": "given another priority",
    "fork": "forked",
    "edit": "edited",
}


@repeated
def audited(
    verb: str,
    run_id: str,
    do: Callable[[], bool],
    *,
    actor: Any,
    why: str,
    details: Mapping[str, Any] | None = None,
) -> bool:
    """Do something to a run, and keep who did it; return False, and keep nothing, if it could not be done.

    ``details`` is read when it is done, so that what is done can fill it.
    """
    by = Actor.of(actor)
    with transaction.atomic(using=settings().DATABASE):
        # Nobody changes the state between the two looks at it.
        before = store.locked_state(run_id)
        if before is None or not do():
            return False
        after = store.state_of(run_id)
        text = json.dumps(details) if details else ""
        change = Change(run_id, before, after or "")
        actions.keep(verb, [change], by=by, why=why, details_text=text)
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
