"""What is due, and when due rows were last looked for."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Self

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_workflow.models.lengths import STEP_KEY_LENGTH
from django_workflow.models.runs import Run


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    """Named questions about deliveries."""

    def due(self, now: datetime) -> Self:
        """Deliveries that a worker may claim at this moment."""
        return self.filter(due_at__lte=now)

    def overdue(self, now: datetime, by: timedelta) -> Self:
        """Deliveries that have been claimable for longer than this."""
        return self.filter(due_at__lte=now - by)


class Delivery(models.Model):
    """What is due: the turn of a run (``step_key`` empty) or one step of a fan-out.

    ``due_at`` is the moment from which the row may be claimed: its time while nobody holds it, the end of
    the lease while somebody does, NULL when it waits for something else to wake it.
    """

    run = models.ForeignKey(Run, models.CASCADE, related_name="deliveries", db_index=False)
    step_key = models.CharField(_("step"), max_length=STEP_KEY_LENGTH, default="")
    # Who may claim it: any worker, or, of calls to other servers, those that make them.
    lane = models.CharField(max_length=10, default="", db_default="")
    due_at = models.DateTimeField(_("due"), null=True)
    leased_by = models.CharField(_("held by"), max_length=100, default="")
    token = models.BigIntegerField(_("fencing token"), default=0)
    # How many requests were made under the current token; each one is good for a single entry.
    entries = models.IntegerField(default=0)
    # The wake counter of the run, kept on its turn; a record's sequence number is the value it raised it to.
    wakes = models.BigIntegerField(default=0)
    tries = models.PositiveIntegerField(_("tries"), default=0)
    begun = models.CharField(max_length=STEP_KEY_LENGTH, default="")
    deaths = models.PositiveIntegerField(_("deaths"), default=0)
    trouble = models.TextField(_("trouble"), default="")

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["run", "step_key"], name="django_workflow_delivery_once_per_step"
            )
        ]
        indexes = [models.Index(fields=["lane", "due_at"], name="dw_delivery_due")]

    def __str__(self) -> str:
        return f"{self.run_id} {self.step_key or 'turn'}"

    @property
    def is_turn(self) -> bool:
        """Whether this is the run's turn rather than a step delivery."""
        return not self.step_key


class Sweep(models.Model):
    """When due rows were last looked for (the first row), ended runs pruned, alerts asked for, or when the beat ticked (the fourth), by whom.

    It keeps sweeps to one a second in the system.
    """

    swept_at = models.DateTimeField(_("swept"))
    swept_by = models.CharField(_("by"), max_length=100)

    class Meta:
        verbose_name = _("sweep")
        verbose_name_plural = _("sweeps")
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.swept_at:%Y-%m-%d %H:%M:%S} {self.swept_by}"
