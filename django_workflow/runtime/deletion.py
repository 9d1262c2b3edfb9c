"""Runs that nobody needs any more."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from django_workflow.core.actors import Actor
from django_workflow.store.deletion import delete_ended

logger = logging.getLogger(__name__)


def delete_runs(run_ids: Iterable[str], *, actor: Any = None, why: str = "") -> int:
    """Delete these runs, as far as they have ended, with all that belongs to them; return how many.

    What was done to them, and this, stays known (`Action`).
    """
    ids, by = list(run_ids), Actor.of(actor)
    deleted = delete_ended(ids, by=by, why=why)
    extra = {"actor": by.name, "door": by.door, "why": why, "ids": ids}
    logger.info("%d ended runs were deleted", deleted, extra=extra)
    return deleted
