"""Runs and their labels."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Self

from django.db import models
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext_lazy as _

from django_workflow.core import types
from django_workflow.core.codec import codec
from django_workflow.core.exceptions import RunFailedError, RunNotFinishedError
from django_workflow.core.plain import failure_in, plain
from django_workflow.core.ports import get_runtime
from django_workflow.core.redaction import Mask
from django_workflow.core.telling import Progress
from django_workflow.core.undo import AT_WORK
from django_workflow.core.workflow import registry
from django_workflow.models.about import find_row, reference
from django_workflow.models.actions import Action
from django_workflow.models.around import around, fetching, forget
from django_workflow.models.handle import RunHandle
from django_workflow.models.indexes import LABEL_BEGIN, RUN_INDEXES
from django_workflow.models.lengths import (
    ACTOR_LENGTH,
    LABEL_LENGTH,
    MODEL_LABEL_LENGTH,
    OBJECT_ID_LENGTH,
    RUN_ID_LENGTH,
    STEP_KEY_LENGTH,
    WORKFLOW_NAME_LENGTH,
)
from django_workflow.models.reasons import in_english, reason_of_run
from django_workflow.models.run_verbs import CHANGE_PERMISSIONS, ForkFields
from django_workflow.models.undo_fields import UndoFields

#: Of a run that has failed: its undo or its failure handler has something to do.
STILL_AT_WORK = Q(handler_status=types.RunStatus.RUNNING) | Q(undo_status__in=AT_WORK)


class RunQuerySet(models.QuerySet["Run"]):
    """Named questions about runs."""

    def unfinished(self) -> Self:
        """Runs that still have something to do, a failure handler included."""
        return self.filter(
            Q(
                status__in=[
                    types.RunStatus.PENDING,
                    types.RunStatus.RUNNING,
                    types.RunStatus.CANCELLING,
                ]
            )
            | Q(status=types.RunStatus.FAILED) & STILL_AT_WORK
        )

    def unfinished_or_paused(self) -> Self:
        """Runs that have not come to an end, held ones included."""
        ended = [*types.FINISHED, *types.DEAD_LETTER]
        return self.exclude(status__in=ended) | self.filter(STILL_AT_WORK)

    def ended(self) -> Self:
        """Runs to which nothing happens any more unless a person acts."""
        ended = [*types.FINISHED, *types.DEAD_LETTER]
        return self.filter(status__in=ended).exclude(STILL_AT_WORK)

    def dead_letters(self) -> Self:
        """Failed and blocked runs, until they are resumed, restarted or deleted."""
        return self.filter(status__in=types.DEAD_LETTER)

    def labelled(self, *labels: str) -> Self:
        """Runs that carry every one of these labels."""
        found = self
        for label in labels:
            found = found.filter(labels_of_run__label=label)
        return found

    def about(self, obj: models.Model) -> Self:
        """Runs that were triggered with ``about=`` this row.

        Raises:
            InvalidOptionError: it is no saved model instance.
        """
        label, key = reference(obj)
        return self.filter(about_type=label, about_id=key)

    def prunable(self, status: str, before: datetime) -> Self:
        """Runs that ended in this state before this moment, and that nobody needs any more."""
        # Who ended before it was created before it: so the index of states and times of creation serves.
        found = self.ended().filter(status=status, created_at__lt=before, finished_at__lt=before)
        # A living parent is shown with its children. By OR, which keeps PostgreSQL from joining before it limits.
        living = self.model.objects.filter(pk=OuterRef("parent")).unfinished_or_paused()
        return found.filter(Q(parent=None) | ~Exists(living))

    def with_reason(self) -> Self:
        """Fetch what `reason`, `waiting_for` and `labels` look at, in five queries for any number of runs."""
        return self.prefetch_related(*fetching(self.model))

    def told_of(self) -> Self:
        """Fetch of children only what their parents tell of them."""
        return self.only("id", "parent_id", "parent_step", "workflow", "status", "created_at")

    def awaited(self) -> Self:
        """Runs for whose end an open step of their parent waits."""
        steps = self.model._meta.get_field("steps").related_model._base_manager
        return self.filter(
            Exists(
                steps.filter(
                    run=OuterRef("parent"), key=OuterRef("parent_step"), status__in=types.OPEN_STEP
                )
            ),
            parent_waits=True,
        )

    def to_cancel_with(self, parent_id: str) -> Self:
        """Children that go when this parent is cancelled: those that have not come to an end of their own."""
        live = [
            types.RunStatus.PENDING,
            types.RunStatus.RUNNING,
            types.RunStatus.PAUSED,
            types.RunStatus.BLOCKED,
            types.RunStatus.CANCELLING,
        ]
        return self.filter(parent=parent_id, cascade=True, status__in=live)

    def stuck(self) -> Self:
        """Unfinished runs that nothing will ever wake: the promise says there are none.

        Asked independently of how rows are written: no due or leased delivery, whatever the reason, no child that will
        tell them of its end, and no place in a line that moves on. A line moves on while somebody under its key holds a
        slot or was given one (what has died with its slot the sweep finds) or has a time at which it asks again; it
        rests rightly while its key is paused.
        """
        tickets = self.model._meta.get_field("flow_tickets").related_model._base_manager
        keys = self.model._meta.apps.get_model("django_workflow", "FlowKey").objects
        deliveries = self.model._meta.get_field("deliveries").related_model._base_manager
        scheduled = deliveries.filter(pk=OuterRef("delivery_id"), due_at__isnull=False)
        moving = tickets.filter(
            Q(state__in=["holding", "granted"]) | Exists(scheduled), flow_key=OuterRef("flow_key")
        )
        paused = keys.filter(pk=OuterRef("flow_key"), paused=True)
        own = deliveries.filter(pk=OuterRef("delivery_id"), run_id=OuterRef("run_id"))
        in_line = tickets.filter(
            Exists(own), Exists(moving) | Exists(paused), run_id=OuterRef("pk"), state="waiting"
        )
        runs = self.model.objects
        of_this = runs.filter(parent=OuterRef("pk"), parent_waits=True)
        will_tell = ~Q(status__in=[*types.FINISHED, types.RunStatus.FAILED]) | STILL_AT_WORK
        is_due = runs.filter(pk=OuterRef("pk"), deliveries__due_at__isnull=False)
        to_come = of_this.filter(will_tell | Exists(is_due))
        return (
            self.unfinished()
            .exclude(deliveries__due_at__isnull=False)
            .exclude(Exists(in_line))
            .exclude(Exists(to_come.awaited()))
            .exclude(Q(status=types.RunStatus.CANCELLING) & Exists(to_come))
        )


class Run(RunHandle, UndoFields, ForkFields):
    """One execution of a workflow, and the handle to it."""

    id = models.CharField(_("run ID"), primary_key=True, max_length=RUN_ID_LENGTH)
    workflow = models.CharField(_("workflow"), max_length=WORKFLOW_NAME_LENGTH)
    version = models.CharField(_("version"), max_length=50)
    status = models.CharField(
        _("status"),
        max_length=12,
        choices=[(s.value, _(s.value)) for s in types.RunStatus],
        default=types.RunStatus.PENDING,
    )
    payload_text = models.TextField(_("payload"), null=True)  # noqa: DJ001  None is a payload of its own
    headers_text = models.TextField(_("headers"), default="{}")
    options_text = models.TextField(_("options"), default="{}")
    result_text = models.TextField(_("result"), null=True)  # noqa: DJ001
    failure_text = models.TextField(_("failure"), null=True)  # noqa: DJ001
    failed_step = models.CharField(_("failed step"), max_length=STEP_KEY_LENGTH, default="")
    # Raised whenever a record is taken back (resume), so that a kept journal of an earlier revision is dropped.
    revision = models.PositiveIntegerField(default=0)
    # How often in a row the code between steps failed, and how far the journal reached then.
    code_attempts = models.PositiveIntegerField(default=0)
    code_failed_at = models.BigIntegerField(default=-1)
    paused_from = models.CharField(max_length=12, default="")
    handler_status = models.CharField(_("failure handler"), max_length=12, default="")
    handler_round = models.PositiveIntegerField(default=0)
    handler_failure_text = models.TextField(null=True)  # noqa: DJ001
    restarted_from = models.ForeignKey(
        "self",
        models.SET_NULL,
        verbose_name=_("restarted from"),
        null=True,
        blank=True,
        related_name="restarts",
        db_index=False,
    )
    # What it is about: the label of a model and the key of its row. NULL for most, and then not in the index.
    about_type = models.CharField(max_length=MODEL_LABEL_LENGTH, null=True)  # noqa: DJ001
    about_id = models.CharField(max_length=OBJECT_ID_LENGTH, null=True)  # noqa: DJ001
    # Texts, so that it is known when the user is gone.
    triggered_by = models.CharField(_("triggered by"), max_length=ACTOR_LENGTH, default="")
    triggered_by_id = models.CharField(max_length=OBJECT_ID_LENGTH, default="")
    # The run whose ``ctx.invoke`` has started this one, and that step's key; the two outlive a change of mind.
    parent = models.ForeignKey(
        "self",
        models.SET_NULL,
        verbose_name=_("parent"),
        null=True,
        blank=True,
        related_name="children",
        db_index=False,
    )
    parent_step = models.CharField(_("step of the parent"), max_length=STEP_KEY_LENGTH, default="")
    # Whether the parent has still to be told how this run ended; it keeps its turn until then.
    parent_waits = models.BooleanField(default=False)
    # Whether it is cancelled with its parent.
    cascade = models.BooleanField(_("cancelled with its parent"), default=True)
    # How many runs stand above it.
    depth = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(_("created"))
    started_at = models.DateTimeField(_("started"), null=True)
    finished_at = models.DateTimeField(_("finished"), null=True)
    deadline = models.DateTimeField(_("deadline"), null=True)
    # How often the run has continued as new, and when it did last: the time at which its journal begins.
    generation = models.PositiveIntegerField(_("generation"), default=0, db_default=0)
    continued_at = models.DateTimeField(_("continued as new"), null=True)
    # What the run tells of itself, and the sequence number that it followed: what is said later counts.
    progress_text = models.TextField(_("progress"), null=True)  # noqa: DJ001
    progress_after = models.BigIntegerField(null=True)
    state_text = models.TextField(_("state"), null=True)  # noqa: DJ001
    state_after = models.BigIntegerField(null=True)

    objects = RunQuerySet.as_manager()

    #: False when ``trigger()`` found that this run existed already.
    created: bool = True

    class Meta:
        verbose_name = _("run")
        verbose_name_plural = _("runs")
        default_permissions = ("view", "delete")
        permissions = [
            ("trigger_run", "Can trigger runs"),
            ("cancel_run", "Can cancel runs"),
            ("pause_run", "Can pause runs"),
            ("resume_run", "Can resume runs"),
            ("restart_run", "Can restart runs"),
            ("notify_run", "Can send events to runs"),
            ("view_payload", "Can see payloads, results and errors"),
            *CHANGE_PERMISSIONS,
        ]
        constraints = [
            models.CheckConstraint(
                name="django_workflow_run_status_known",
                condition=Q(status__in=[s.value for s in types.RunStatus]),
            ),
            models.CheckConstraint(
                name="django_workflow_run_finished_has_time",
                condition=~Q(status__in=sorted(types.FINISHED)) | Q(finished_at__isnull=False),
            ),
        ]
        indexes = [
            models.Index(fields=["-created_at", "id"], name="dw_run_created"),
            models.Index(fields=["status", "-created_at"], name="dw_run_status"),
            models.Index(fields=["workflow", "-created_at"], name="dw_run_workflow"),
            *RUN_INDEXES,
        ]

    def __str__(self) -> str:
        return self.id

    @property
    def payload(self) -> Any:
        """The decoded payload, or None where the run was triggered without one."""
        return None if self.payload_text is None else codec.loads(self.payload_text)

    @property
    def headers(self) -> dict[str, str]:
        """The headers given at the trigger."""
        headers: dict[str, str] = codec.loads(self.headers_text)
        return headers

    # What windows show: never `payload`, `headers` or `result` themselves.

    @property
    def mask(self) -> Mask:
        """What is hidden of this run: by its own options, and by what its workflow says today."""
        own = codec.loads(self.options_text).get("redact", ())
        known = registry.find(self.workflow)
        usual = () if known is None else known.options.redact
        return Mask((*own, *usual), get_runtime().redaction_key)

    @property
    def shown_payload(self) -> Any:
        """The payload as plain JSON, redacted."""
        return self.mask.payload(plain(self.payload_text))

    @property
    def shown_headers(self) -> dict[str, str]:
        """The headers, redacted; secrets by their usual names always are."""
        headers: Any = plain(self.headers_text)
        return self.mask.headers(headers) if isinstance(headers, dict) else {}

    @property
    def shown_result(self) -> Any:
        """The result as plain JSON, redacted; None while there is none."""
        return self.mask.result(plain(self.result_text))

    @property
    def about(self) -> models.Model | None:
        """The row that the run is about, fetched when it is first asked for; None if there is none, or it is gone."""
        if self.about_type is None or self.about_id is None:
            return None
        key = (self.about_type, self.about_id)
        found: tuple[tuple[str, str], models.Model | None] | None = self.__dict__.get("_about")
        if found is None or found[0] != key:
            found = self.__dict__["_about"] = (key, find_row(*key))
        return found[1]

    @property
    def actions(self) -> QuerySet[Action]:
        """What was done to the run, by whom and why, the oldest first."""
        # An ID may have been another run's before.
        kept = Action.objects.using(self._state.db).filter(run_id=self.id, at__gte=self.created_at)
        return kept.order_by("at", "id")

    def refresh_from_db(
        self, using: str | None = None, fields: Any = None, from_queryset: Any = None
    ) -> None:
        """Read the row again, and forget what was fetched with it."""
        super().refresh_from_db(using=using, fields=fields, from_queryset=from_queryset)
        # Deferred columns are read by way of this, too.
        if fields is None:
            forget(self)

    @property
    def labels(self) -> list[str]:
        """The labels given at the trigger, sorted."""
        return sorted(row.label for row in around(self, "labels_of_run"))

    @property
    def schedule_id(self) -> str | None:
        """The schedule that started the run, or the run that this one is a restart of; None without one."""
        found: str | None = self._schedule.get("id")
        return found

    @property
    def scheduled_for(self) -> datetime | None:
        """The slot that the run was started for."""
        slot = self._schedule.get("slot")
        return None if slot is None else datetime.fromisoformat(slot)

    @property
    def _schedule(self) -> dict[str, Any]:
        found: dict[str, Any] = codec.loads(self.options_text).get("schedule", {})
        return found

    @property
    def progress(self) -> Progress | None:
        """How far the run said last that it is; None where it has not said."""
        stored = plain(self.progress_text)
        # A text tells that it cannot be read at this moment.
        return Progress.from_json(stored) if isinstance(stored, dict) else None

    @property
    def state(self) -> Any:
        """What the run put last with ``set_state()``, decoded; None before."""
        return None if self.state_text is None else codec.loads(self.state_text)

    @property
    def is_finished(self) -> bool:
        """Whether nothing will happen any more unless a person acts."""
        if self.status == types.RunStatus.FAILED:
            at_work = self.handler_status == types.RunStatus.RUNNING or self.undo_status in AT_WORK
            return not at_work
        return self.status in types.FINISHED or self.status in types.DEAD_LETTER

    @property
    def duration(self) -> timedelta | None:
        """How long the run took from its first pass to its end; None before."""
        if self.started_at is None or self.finished_at is None:
            return None
        return self.finished_at - self.started_at

    @property
    def failure(self) -> types.Failure | None:
        """Why the run failed or is blocked, or None."""
        return failure_in(self.failure_text)

    @property
    def handler_failure(self) -> types.Failure | None:
        """Why the failure handler itself failed, or None."""
        return failure_in(self.handler_failure_text)

    @property
    def result(self) -> Any:
        """What the workflow returned, decoded.

        Raises:
            RunNotFinishedError: the run has not ended yet.
            RunFailedError: it failed, is blocked or was cancelled; ``.failure`` tells.
        """
        if self.status == types.RunStatus.COMPLETED:
            return None if self.result_text is None else codec.loads(self.result_text)
        if not self.is_finished:
            raise RunNotFinishedError(
                f'Run "{self.id}" has not finished: it is {self.status}. Use run.wait(), or ask later.',
                run_id=self.id,
                state=self.status,
            )
        failure = self.failure or types.Failure(
            message=f"The run was {self.status}.",
            error_class="",
            traceback="",
            step=None,
            attempts=0,
        )
        raise RunFailedError(
            failure, run_id=self.id, message=f'Run "{self.id}" is {self.status}: {failure.message}'
        )

    @property
    def waiting_for(self) -> list[Any]:
        """The open steps, in the order in which they were met; each tells its ``reason``."""
        return around(self, "steps")

    def ticket_of(self, step_key: str) -> Any:
        """Return the ticket with which a step, or the run before its first one (""), stands in a line; or None."""
        found = (one for one in around(self, "flow_tickets") if one.step_key == step_key)
        return next((ticket for ticket in found if ticket.state != "holding"), None)

    @property
    def reason(self) -> str:
        """Why the run is not going on at this moment, in plain English; empty when it is."""
        return in_english(reason_of_run, self)

    @property
    def translated_reason(self) -> str:
        """The same in the language of who looks."""
        return reason_of_run(self)


class RunLabel(models.Model):
    """One label of a run."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="labels_of_run", db_index=False)
    label = models.CharField(_("label"), max_length=LABEL_LENGTH)

    class Meta:
        verbose_name = _("label")
        verbose_name_plural = _("labels")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["run", "label"], name="django_workflow_label_once_per_run"
            )
        ]
        indexes = [LABEL_BEGIN]

    def __str__(self) -> str:
        return self.label
