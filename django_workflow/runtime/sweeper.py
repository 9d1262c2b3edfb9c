"""The sweep: what makes hints unnecessary. Looks for due rows and tells workers, at most once a second in all."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from django_workflow.conf import settings
from django_workflow.models import Delivery, Run, Sweep
from django_workflow.runtime.worker import hint, worker_name
from django_workflow.store import claims

logger = logging.getLogger(__name__)

SILENCE = timedelta(seconds=30)
MOST_HINTS = 16


def sweep(*, force: bool = False) -> int:
    """Look for due deliveries and wake workers for them; return how many were found.

    Only one caller in the whole system does so per ``WORKFLOW["SWEEP_INTERVAL"]``; for the others it is 0.
    """
    if not force and not claims.take_sweep(worker_name(), settings().SWEEP_INTERVAL):
        return 0
    batch = settings().CLAIM_BATCH
    due = claims.count_due(batch * MOST_HINTS)
    if due:
        hint(-(-due // batch))
    return due


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """What `workflow_check` and the admin say about the engine at a moment."""

    stuck: list[str]
    due: int
    oldest_due: datetime | None
    lag: timedelta
    swept_at: datetime | None
    swept_by: str
    is_silent: bool

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is stuck and due rows are being looked for."""
        return not self.stuck and not self.is_silent


def health() -> Health:
    """Ask the database, by queries of its own, whether the promises hold at this moment."""
    alias = settings().DATABASE
    now = claims.now()
    deliveries = Delivery.objects.using(alias)
    oldest = deliveries.due(now).order_by("due_at").values_list("due_at", flat=True).first()
    last = Sweep.objects.using(alias).filter(pk=1).first()
    lag = now - oldest if oldest is not None else timedelta(0)
    unseen = last is None or now - last.swept_at > SILENCE
    return Health(
        stuck=list(
            Run.objects.using(alias)
            .stuck()
            .order_by("created_at")
            .values_list("pk", flat=True)[:100]
        ),
        due=deliveries.due(now).count(),
        oldest_due=oldest,
        lag=lag,
        swept_at=last.swept_at if last is not None else None,
        swept_by=last.swept_by if last is not None else "",
        is_silent=unseen and lag > SILENCE,
    )
