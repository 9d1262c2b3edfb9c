"""What was sent, and who waits for it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from django.db import models
from django.db.models import OuterRef, Q, Subquery
from django.utils.translation import gettext_lazy as _

from django_workflow.core.codec import codec
from django_workflow.core.events import EVENT_ID_LENGTH
from django_workflow.core.importable import PATH_LENGTH
from django_workflow.models.deliveries import Delivery
from django_workflow.models.indexes import EVENT_RUN
from django_workflow.models.lengths import STEP_KEY_LENGTH
from django_workflow.models.runs import Run


class EventQuerySet(models.QuerySet["Event"]):
    """Named questions about events."""

    def kept(self, now: datetime) -> Self:
        """Events that a wait may still take."""
        return self.filter(matched_at=None, expires_at__gt=now)

    def wanted_by(self, waiter: Waiter) -> Self:
        """Events that fit this waiter; its lookback limits the age of those that nobody took when they came."""
        fits = Q(run_id=None) | Q(run_id=waiter.run_id)
        if waiter.oldest is not None:
            fits &= Q(created_at__gte=waiter.oldest) | Q(tried_at=None)
        return self.filter(fits, event_id=waiter.event_id)


class Event(models.Model):
    """What ``notify`` sent; kept until it is consumed or expires, so an early event is not lost."""

    event_id = models.CharField(_("event ID"), max_length=EVENT_ID_LENGTH)
    run = models.ForeignKey(
        Run,
        models.CASCADE,
        verbose_name=_("for this run alone"),
        null=True,
        related_name="events",
        db_index=False,
    )
    run_id: str | None
    data_text = models.TextField(_("data"), null=True)  # noqa: DJ001
    keep = models.BooleanField(_("kept for a later wait"), default=True)
    # The idempotency key of the step that sent it, so that a repeated attempt sends it once.
    sent_by = models.CharField(max_length=36, null=True, unique=True)  # noqa: DJ001
    created_at = models.DateTimeField(_("sent"))
    tried_at = models.DateTimeField(null=True)
    # Spent: it has reached whom it could, or may be kept no longer.
    matched_at = models.DateTimeField(_("matched"), null=True)
    reached = models.PositiveIntegerField(_("runs reached"), null=True)
    expires_at = models.DateTimeField(_("expires"), null=True)

    objects = EventQuerySet.as_manager()

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["event_id", "matched_at"], name="dw_event_kept"),
            models.Index(fields=["tried_at"], name="dw_event_tried"),
            models.Index(fields=["expires_at"], name="dw_event_expires"),
            EVENT_RUN,
        ]

    def __str__(self) -> str:
        return self.event_id

    @property
    def event_data(self) -> Any:
        """What was sent with the event, decoded."""
        return None if self.data_text is None else codec.loads(self.data_text)


class WaiterQuerySet(models.QuerySet["Waiter"]):
    """Named questions about waiters."""

    def open(self) -> Self:
        """Waiters whose event has not come."""
        return self.filter(filled=None)

    def present_for(self, event_id: str, run_id: str | None) -> Self:
        """Waiters that an event sent at this moment would be for."""
        found = self.open().filter(event_id=event_id)
        return found if run_id is None else found.filter(run_id=run_id)

    def reached_by(self, event: Event) -> Self:
        """Waiters that this event is for."""
        found = self.open().filter(event_id=event.event_id)
        if event.run_id is not None:
            found = found.filter(run_id=event.run_id)
        if event.tried_at is not None:
            found = found.filter(Q(oldest=None) | Q(oldest__lte=event.created_at))
        return found

    def turns(self) -> list[tuple[int, int]]:
        """Pairs of waiter and its run's turn, by id, in whose order rows are locked; runs without one are left out."""
        # Looked up one by one: a join of three tables that have just grown can be planned very badly.
        turns = Delivery.objects.filter(run=OuterRef("run"), step_key="").values("pk")[:1]
        found = self.annotate(turn=Subquery(turns)).order_by("turn", "id")
        return [(pk, turn) for pk, turn in found.values_list("id", "turn") if turn is not None]


class Waiter(models.Model):
    """One event that a step waits for; gone when the step has its record.

    The step's ``created_at`` tells since when it waits, and its ``wake_at`` until when.
    """

    run = models.ForeignKey(Run, models.CASCADE, related_name="waiters", db_index=False)
    run_id: str
    step_key = models.CharField(_("step"), max_length=STEP_KEY_LENGTH)
    event_id = models.CharField(_("event ID"), max_length=EVENT_ID_LENGTH)
    # As the how manieth of the ids that were asked for.
    position = models.PositiveIntegerField(default=0)
    # How many of the step's waiters must be filled for it to go on.
    needed = models.PositiveIntegerField(_("events needed"), default=1)
    # The dotted path of what the data have to fit.
    schema = models.CharField(max_length=PATH_LENGTH, default="")
    # A kept event that was sent earlier does not count.
    oldest = models.DateTimeField(null=True)
    # As the how manieth of the step, and with what.
    filled = models.PositiveIntegerField(null=True)
    data_text = models.TextField(null=True)  # noqa: DJ001
    created_at = models.DateTimeField(_("waits since"))
    tried_at = models.DateTimeField(null=True)

    objects = WaiterQuerySet.as_manager()

    class Meta:
        verbose_name = _("waiter")
        verbose_name_plural = _("waiters")
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["run", "step_key", "position"], name="django_workflow_waiter_once_per_id"
            )
        ]
        indexes = [
            models.Index(fields=["event_id", "filled"], name="dw_waiter_event"),
            models.Index(fields=["tried_at"], name="dw_waiter_tried"),
        ]

    def __str__(self) -> str:
        return f"{self.run_id} {self.step_key}: {self.event_id}"
