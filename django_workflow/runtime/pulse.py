"""What can be said at any moment, cheaply, of whether the engine is at work."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django_workflow.conf import settings
from django_workflow.models import Delivery, Schedule
from django_workflow.models.paging import bounded_counts
from django_workflow.runtime import sweeper
from django_workflow.runtime.looks import latest_looks
from django_workflow.store import claims


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulse:
    """How much is due, since when, and who has looked for it last."""

    now: datetime
    #: Counted up to a thousand and one.
    due: int
    oldest_due: datetime | None
    lag: timedelta
    swept_at: datetime | None
    swept_by: str
    #: When the beat last ticked.
    beat_at: datetime | None
    #: Nobody looks, and something waits for it.
    is_silent: bool
    #: Nobody looks, whether anything waits for it or not.
    is_unseen: bool

    @property
    def since_sweep(self) -> timedelta | None:
        """How long ago due rows were looked for."""
        return None if self.swept_at is None else max(self.now - self.swept_at, timedelta(0))

    @property
    def since_beat(self) -> timedelta | None:
        """How long ago the beat last ticked."""
        return None if self.beat_at is None else max(self.now - self.beat_at, timedelta(0))


def pulse() -> Pulse:
    """Ask the database; without the search for stuck runs, which `sweeper.health()` makes."""
    alias = settings().DATABASE
    now = claims.now()
    due = Delivery.objects.using(alias).due(now)
    oldest = due.order_by("due_at").values_list("due_at", flat=True).first()
    looks = latest_looks()
    lag = now - oldest if oldest is not None else timedelta(0)
    is_unseen = looks.swept_at is None or now - looks.swept_at > sweeper.SILENCE
    overdue = Schedule.objects.using(alias).overdue(now - sweeper.SILENCE)
    return Pulse(
        now=now,
        due=bounded_counts({"due": due})["due"],
        oldest_due=oldest,
        lag=lag,
        swept_at=looks.swept_at,
        swept_by=looks.swept_by,
        beat_at=looks.beat_at,
        is_silent=is_unseen and (lag > sweeper.SILENCE or overdue.exists()),
        is_unseen=is_unseen,
    )
