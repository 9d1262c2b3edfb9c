"""The sweep: what makes hints unnecessary. Looks for due rows and tells workers, at most once a second in all.

It also brings events and waits together whose processes died before they could, fires schedules, sends mails about
approvals and alerts, and prunes what has been kept long enough.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic, sleep

from django_workflow.conf import settings
from django_workflow.core.ports import get_runtime
from django_workflow.models import Delivery, Run, Schedule
from django_workflow.runtime.alerting import alert_due, alert_due_apart
from django_workflow.runtime.approval_mail import send_due, send_due_apart
from django_workflow.runtime.flow_control import look_after
from django_workflow.runtime.looks import latest_looks
from django_workflow.runtime.pruning import prune_by_retention
from django_workflow.runtime.waiting import delete_expired, match_untried
from django_workflow.runtime.worker import hint
from django_workflow.runtime.workers import is_alive, machine_prefix, worker_name
from django_workflow.store import claims
from django_workflow.store.approvals import release_mails

logger = logging.getLogger(__name__)

SILENCE = timedelta(seconds=30)
MOST_HINTS = 16
SYNC_SECONDS = 60.0
AGAIN_SECONDS = 0.2


def tick() -> int:
    """Sweep on the beat's tick, and keep that it ticked; return how many due deliveries were found.

    Several beats do no more than one.
    """
    claims.take_sweep(worker_name(), settings().SWEEP_INTERVAL / 2, claims.TICKING)
    return sweep()


def sweep(*, force: bool = False, interval: timedelta | None = None) -> int:
    """Look for due deliveries and wake workers for them; return how many were found.

    Only one caller in the whole system does so per ``interval`` (default: ``WORKFLOW["SWEEP_INTERVAL"]``); for the
    others it is 0.
    """
    if not force and not claims.take_sweep(worker_name(), interval or settings().SWEEP_INTERVAL):
        return 0
    due = count_due()
    wake_workers(due)
    match_untried()
    look_after()
    delete_expired()
    fired = fire_schedules()
    wake_workers(fired)
    prune_by_retention()
    if force:
        send_due()
        alert_due()
    else:
        send_due_apart()
        alert_due_apart()
    return due + fired


def fire_schedules() -> int:
    """Start the runs of schedules whose slot has come; return how many.

    From time to time, what is declared in code is written first: a process of an older release may have changed it.
    """
    runtime = get_runtime()
    if _sync.is_due():
        runtime.sync_schedules()
        _sync.done()
    fired: int = runtime.fire_schedules()
    return fired


class _Sync:
    """When this process has last written the schedules that its code declares."""

    def __init__(self) -> None:
        self._at: float | None = None

    def is_due(self) -> bool:
        return self._at is None or monotonic() - self._at >= SYNC_SECONDS

    def done(self) -> None:
        self._at = monotonic()


_sync = _Sync()


def count_due() -> int:
    """Return how many deliveries are due, counting no further than matters."""
    return claims.count_due(settings().CLAIM_BATCH * MOST_HINTS)


def wake_workers(due: int) -> None:
    """Wake as many workers as there are batches in so many due deliveries."""
    if due > 0:
        hint(-(-due // settings().CLAIM_BATCH))


def seconds_to_next_due() -> float | None:
    """Return in how long the next delivery becomes due that is not due yet, or None."""
    ahead = claims.time_to_next_due()
    return None if ahead is None else ahead.total_seconds()


def change_mark() -> int | None:
    """Return a number that is another one after any other connection has written, where the database has it."""
    return claims.change_mark()


def free_dead_workers() -> int:
    """Make due at once what processes of this machine held that are no more, mails too; return how many deliveries.

    Only where no other machine or container goes by the same name, which is so in development.
    """
    release_mails(machine_prefix(), is_alive)
    return claims.release_worker(machine_prefix(), is_alive)


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """What `workflow_check` and the admin say about the engine at a moment."""

    stuck: list[str]
    due: int
    oldest_due: datetime | None
    lag: timedelta
    swept_at: datetime | None
    swept_by: str
    #: When the beat last ticked; None: never.
    beat_at: datetime | None
    is_silent: bool
    #: When the answers were given, by the database's clock.
    at: datetime
    #: Who holds deliveries at this moment.
    workers: list[str]

    @property
    def silence(self) -> timedelta | None:
        """How long ago a worker or the beat last looked for due work; None: never."""
        return None if self.swept_at is None else max(self.at - self.swept_at, timedelta(0))

    @property
    def since_beat(self) -> timedelta | None:
        """How long ago the beat last ticked; None: never."""
        return None if self.beat_at is None else max(self.at - self.beat_at, timedelta(0))

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is stuck and due rows are being looked for."""
        return not self.stuck and not self.is_silent


def _stuck() -> list[str]:
    """Ask twice: a run that was put in line by a transaction of its own is, for a moment, not seen to by anybody."""
    runs = Run.objects.using(settings().DATABASE)
    found = list(runs.stuck().order_by("created_at").values_list("pk", flat=True)[:100])
    if found:
        sleep(AGAIN_SECONDS)
        found = list(runs.filter(pk__in=found).stuck().values_list("pk", flat=True))
    return found


def _workers(now: datetime) -> list[str]:
    held = Delivery.objects.using(settings().DATABASE).exclude(leased_by="").filter(due_at__gt=now)
    return sorted(set(held.values_list("leased_by", flat=True)[:10_000]))


def health() -> Health:
    """Ask the database, by queries of its own, whether the promises hold at this moment."""
    alias = settings().DATABASE
    now = claims.now()
    deliveries = Delivery.objects.using(alias)
    oldest = deliveries.due(now).order_by("due_at").values_list("due_at", flat=True).first()
    looks = latest_looks()
    lag = now - oldest if oldest is not None else timedelta(0)
    unseen = looks.swept_at is None or now - looks.swept_at > SILENCE
    return Health(
        stuck=_stuck(),
        due=deliveries.due(now).count(),
        oldest_due=oldest,
        lag=lag,
        swept_at=looks.swept_at,
        swept_by=looks.swept_by,
        beat_at=looks.beat_at,
        at=now,
        workers=_workers(now),
        is_silent=unseen
        and (lag > SILENCE or Schedule.objects.using(alias).overdue(now - SILENCE).exists()),
    )
