"""When runs are triggered by the clock, and which runs were."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from django_workflow.core.codec import codec
from django_workflow.core.crons import (
    CRON_LENGTH,
    SCHEDULE_ID_LENGTH,
    TIMEZONE_LENGTH,
    Cron,
)
from django_workflow.core.ports import get_runtime
from django_workflow.models.lengths import RUN_ID_LENGTH, WORKFLOW_NAME_LENGTH
from django_workflow.models.runs import Run


class ScheduleQuerySet(models.QuerySet["Schedule"]):
    """Named questions about schedules."""

    def due(self, now: datetime) -> Self:
        """Schedules with a slot to fire, or with one that waits for the run before it."""
        return self.filter(Q(due_at__lte=now) | Q(queued_for__isnull=False))

    def overdue(self, now: datetime) -> Self:
        """Schedules whose slot has come."""
        return self.filter(due_at__lte=now)


class Schedule(models.Model):
    """A workflow that the clock triggers, and the handle to it.

    ``slot_at`` is the next slot, and ``due_at`` when it is fired: later by its jitter, and NULL while paused.
    """

    id = models.CharField(_("schedule ID"), primary_key=True, max_length=SCHEDULE_ID_LENGTH)
    workflow = models.CharField(_("workflow"), max_length=WORKFLOW_NAME_LENGTH)
    cron = models.CharField(_("cron"), max_length=CRON_LENGTH)
    timezone = models.CharField(_("time zone"), max_length=TIMEZONE_LENGTH)
    overlap = models.CharField(_("overlap"), max_length=20)
    catch_up = models.CharField(_("catch-up"), max_length=10)
    jitter = models.DurationField(_("jitter"))
    # The run to be inserted, as the codec wrote it; its id, time and version are the slot's matter.
    template_text = models.TextField()
    is_declared = models.BooleanField(_("declared in code"), default=False)
    is_paused = models.BooleanField(_("paused"), default=False)
    slot_at = models.DateTimeField(_("next slot"))
    due_at = models.DateTimeField(_("due"), null=True)
    # A slot that waits for the run before it to end.
    queued_for = models.DateTimeField(_("waiting slot"), null=True)
    last_slot_at = models.DateTimeField(_("last slot"), null=True)
    last_run_id = models.CharField(_("last run"), max_length=RUN_ID_LENGTH, default="")
    skipped = models.PositiveIntegerField(_("slots skipped"), default=0)
    # Why the last slot was not fired, or why this one cannot be.
    note = models.TextField(_("note"), default="")
    # Raised by whatever changes the schedule, so that nobody fires it as it was before.
    revision = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(_("created"))

    objects = ScheduleQuerySet.as_manager()

    class Meta:
        verbose_name = _("schedule")
        verbose_name_plural = _("schedules")
        default_permissions = ("view",)
        permissions = [("change_schedules", "Can pause, resume, run and delete schedules")]
        indexes = [
            models.Index(fields=["due_at"], name="dw_schedule_due"),
            models.Index(fields=["queued_for"], name="dw_schedule_queued"),
        ]

    def __str__(self) -> str:
        return self.id

    @property
    def plan(self) -> Cron:
        """The cron with its time zone and policies."""
        return Cron(
            self.cron,
            self.timezone,
            overlap=self.overlap,
            catch_up=self.catch_up,
            jitter=self.jitter,
        )

    @property
    def payload(self) -> Any:
        """The decoded payload of its runs."""
        text = codec.loads(self.template_text).get("payload_text")
        return None if text is None else codec.loads(text)

    @property
    def description(self) -> str:
        """When it fires, in plain words."""
        return self.plan.describe()

    def next_fires(self, count: int = 5) -> list[datetime]:
        """Return its next slots, in UTC, as if it were not paused; jitter is not in them."""
        # The first one may lie in the past: it is fired, or caught up, by the next sweep.
        found = [self.slot_at]
        for slot in self.plan.slots_after(self.slot_at):
            if len(found) >= count:
                break
            found.append(slot)
        return found[:count]

    def refresh(self) -> Self:
        """Read the row again, and return the schedule."""
        self.refresh_from_db(using=get_runtime().alias)
        return self

    def pause(self) -> Self:
        """Fire no slot until it is resumed; runs that were started go on, a slot that waits is dropped.

        Raises:
            ScheduleNotFoundError: it was deleted.
        """
        get_runtime().pause_schedule(self.id)
        return self.refresh()

    def resume(self) -> Self:
        """Fire again, from the next slot on; those of the pause are not made up for.

        Raises:
            ScheduleNotFoundError: it was deleted.
        """
        get_runtime().resume_schedule(self.id)
        return self.refresh()

    def run_now(self) -> Run:
        """Start a run at once, besides the slots and whatever overlaps, and return it.

        Raises:
            ScheduleNotFoundError: it was deleted.
        """
        return get_runtime().run_schedule_now(self.id)  # type: ignore[no-any-return]

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete the schedule; its runs stay. One that is declared in code comes back: take it out there."""
        return get_runtime().delete_schedule(self.id)  # type: ignore[no-any-return]

    async def arefresh(self) -> Self:
        """See `refresh()`."""
        await get_runtime().in_thread(self.refresh)
        return self

    async def apause(self) -> Self:
        """See `pause()`."""
        await get_runtime().in_thread(self.pause)
        return self

    async def aresume(self) -> Self:
        """See `resume()`."""
        await get_runtime().in_thread(self.resume)
        return self

    async def arun_now(self) -> Run:
        """See `run_now()`."""
        return await get_runtime().in_thread(self.run_now)  # type: ignore[no-any-return]

    async def adelete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """See `delete()`."""
        return await get_runtime().in_thread(self.delete)  # type: ignore[no-any-return]


class ScheduledRun(models.Model):
    """A run that a schedule has started: what is looked at where slots overlap."""

    run = models.OneToOneField(Run, models.CASCADE, primary_key=True, related_name="scheduled")
    run_id: str
    # No foreign key: runs stay when their schedule goes.
    schedule_id = models.CharField(_("schedule"), max_length=SCHEDULE_ID_LENGTH)
    slot_at = models.DateTimeField(_("slot"))

    class Meta:
        verbose_name = _("scheduled run")
        verbose_name_plural = _("scheduled runs")
        default_permissions = ()
        indexes = [models.Index(fields=["schedule_id", "slot_at"], name="dw_scheduled_slot")]

    def __str__(self) -> str:
        return self.run_id
