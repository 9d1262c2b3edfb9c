"""Flow control: the keys with their limits, who stands in line or holds a slot, and what keeps triggers to one run."""

from __future__ import annotations

from typing import Self

from django.db import models
from django.db.models import Count, F, IntegerField, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_lazy as _

from django_workflow.core.flow import KEY_LENGTH
from django_workflow.core.singleton_lines import RUN_ITSELF
from django_workflow.models.lengths import STEP_KEY_LENGTH, WORKFLOW_NAME_LENGTH
from django_workflow.models.reasons import in_english, reason_of_ticket
from django_workflow.models.runs import Run


class FlowKey(models.Model):
    """One key with its limits as they hold now. Its row is the lock under which slots are given."""

    key = models.CharField(_("key"), primary_key=True, max_length=KEY_LENGTH, db_column="flow_key")
    parallelism = models.PositiveIntegerField(_("parallelism"), null=True)
    rate = models.PositiveIntegerField(_("rate"), null=True)
    period_ms = models.BigIntegerField(_("period in ms"), default=1000)
    paused = models.BooleanField(_("paused"), default=False)
    # What an operator has set is not overridden by what the code says.
    pinned = models.BooleanField(_("pinned"), default=False)

    class Meta:
        verbose_name = _("flow control key")
        verbose_name_plural = _("flow control keys")
        default_permissions = ("view", "change")

    def __str__(self) -> str:
        return self.key


class FlowTicketQuerySet(models.QuerySet["FlowTicket"]):
    """Named questions about tickets."""

    def waiting(self) -> Self:
        """Those in line."""
        return self.filter(state=FlowTicket.State.WAITING)

    def placed(self) -> Self:
        """Annotate each with its place, how many are in line, and the limits of its key: one query."""
        line = self.model._base_manager.filter(
            flow_key=OuterRef("flow_key"), state=FlowTicket.State.WAITING
        ).order_by()
        ahead = line.filter(
            Q(priority__gt=OuterRef("priority"))
            | Q(priority=OuterRef("priority"), pk__lt=OuterRef("pk"))
        )
        key = FlowKey.objects.filter(pk=OuterRef("flow_key"))

        def count(of: models.QuerySet[FlowTicket]) -> Coalesce:
            counted = of.values("flow_key").annotate(n=Count("pk")).values("n")
            return Coalesce(Subquery(counted, output_field=IntegerField()), 0)

        return self.annotate(
            place=count(ahead) + 1,
            in_line=count(line),
            parallelism=Subquery(key.values("parallelism")),
            rate=Subquery(key.values("rate")),
            period_ms=Subquery(key.values("period_ms")),
            paused=Subquery(key.values("paused")),
            holder=Subquery(
                self.model._base_manager.filter(
                    flow_key=OuterRef("flow_key"),
                    state=FlowTicket.State.HOLDING,
                    step_key=RUN_ITSELF,
                ).values("run_id")[:1]
            ),
        )


class FlowTicket(models.Model):
    """One body that wants a slot, or holds one; with an empty step, a run that waits to begin.

    With `RUN_ITSELF` for a step, a run in the line of its singleton, which holds the slot until it has ended.

    Waiting: in line, by priority and id. Granted: a slot is kept for it, its delivery was made due. Holding: its body
    runs, under the fencing token of its delivery; when that is stale or its lease is over, the slot is free.
    """

    class State(models.TextChoices):
        WAITING = "waiting", _("waiting")
        GRANTED = "granted", _("granted")
        HOLDING = "holding", _("holding")

    # Without a constraint in the database: checking it would lock the run under the lock of the key.
    run = models.ForeignKey(
        Run, models.CASCADE, related_name="flow_tickets", db_index=False, db_constraint=False
    )
    run_id: str
    step_key = models.CharField(_("step"), max_length=STEP_KEY_LENGTH, default="")
    flow_key = models.CharField(_("key"), max_length=KEY_LENGTH)
    state = models.CharField(_("state"), max_length=8, choices=State.choices)
    priority = models.SmallIntegerField(_("priority"), default=0)
    # No foreign key: a delivery ends with the record of its step, and its ticket is then no longer counted.
    delivery_id = models.BigIntegerField()
    token = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(_("waits since"))
    # Until when a slot is kept for one who was given it and has not come; in a singleton's line, when a run that was
    # triggered for later may begin.
    expires_at = models.DateTimeField(null=True)

    # What `placed()` adds.
    place: int
    in_line: int
    parallelism: int | None
    rate: int | None
    period_ms: int | None
    paused: bool | None
    holder: str | None

    objects = FlowTicketQuerySet.as_manager()

    class Meta:
        verbose_name = _("flow control ticket")
        verbose_name_plural = _("flow control tickets")
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["run", "step_key"], name="django_workflow_ticket_once_per_step"
            )
        ]
        indexes = [
            models.Index(
                F("flow_key"), F("state"), F("priority").desc(), F("id"), name="dw_ticket_line"
            ),
            models.Index(fields=["state"], name="dw_ticket_state"),
        ]

    def __str__(self) -> str:
        return f"{self.run_id} {self.step_key or 'to begin'}: {self.flow_key}"

    @property
    def reason(self) -> str:
        """What the ticket waits for, in plain English; asked of tickets that `placed()` has annotated."""
        return in_english(reason_of_ticket, self)


class FlowStart(models.Model):
    """When a body under a key with a rate began; kept for one period."""

    flow_key = models.CharField(max_length=KEY_LENGTH)
    begun_at = models.DateTimeField()

    class Meta:
        verbose_name = _("flow control start")
        verbose_name_plural = _("flow control starts")
        default_permissions = ()
        indexes = [models.Index(fields=["flow_key", "begun_at"], name="dw_flow_start")]

    def __str__(self) -> str:
        return f"{self.flow_key} {self.begun_at}"


class TriggerKey(models.Model):
    """The run that triggers under one key are held against: its singleton, debounce or throttle."""

    class Kind(models.TextChoices):
        SINGLETON = "singleton", _("singleton")
        DEBOUNCE = "debounce", _("debounce")
        THROTTLE = "throttle", _("throttle")

    kind = models.CharField(max_length=10, choices=Kind.choices)
    workflow = models.CharField(max_length=WORKFLOW_NAME_LENGTH)
    key = models.CharField(max_length=KEY_LENGTH)
    # No foreign key: a run may be deleted, and then it is in nobody's way.
    run_id = models.CharField(max_length=128, default="")
    opened_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("trigger key")
        verbose_name_plural = _("trigger keys")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "workflow", "key"], name="django_workflow_trigger_key_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.workflow} {self.key}"
