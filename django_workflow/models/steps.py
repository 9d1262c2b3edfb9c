"""Steps, and the attempts that did not become a result."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from django_workflow.core import types
from django_workflow.core.codec import codec
from django_workflow.core.exceptions import AtRestError
from django_workflow.core.plain import failure_in
from django_workflow.models.around import around
from django_workflow.models.indexes import STEP_OPEN
from django_workflow.models.lengths import STEP_KEY_LENGTH, STEP_NAME_LENGTH
from django_workflow.models.maps import MapItem
from django_workflow.models.reasons import in_english, reason_of_step
from django_workflow.models.runs import Run


class StepFields(models.Model):
    """What is kept of a step, of the present generation of its run or of an earlier one."""

    run: Any
    run_id: str

    key = models.CharField(_("key"), max_length=STEP_KEY_LENGTH)
    branch = models.CharField(_("branch"), max_length=STEP_KEY_LENGTH, default="")
    name = models.CharField(_("name"), max_length=STEP_NAME_LENGTH)
    kind = models.CharField(
        _("kind"), max_length=20, choices=[(k.value, k.value) for k in types.StepKind]
    )
    status = models.CharField(
        _("status"), max_length=12, choices=[(s.value, _(s.value)) for s in types.StepStatus]
    )
    sequence = models.BigIntegerField(_("sequence number"), null=True)
    arguments_text = models.TextField(_("arguments"), default="")
    result_text = models.TextField(_("result"), null=True)  # noqa: DJ001
    failure_text = models.TextField(_("failure"), null=True)  # noqa: DJ001
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    # Whether a step delivery of its own executes it, so that the turn keeps its hands off.
    delivered = models.BooleanField(default=False)
    wake_at = models.DateTimeField(_("wakes at"), null=True)
    created_at = models.DateTimeField(_("met"))
    started_at = models.DateTimeField(_("started"), null=True)
    finished_at = models.DateTimeField(_("finished"), null=True)
    worker = models.CharField(_("worker"), max_length=100, default="")

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.key

    @property
    def rows_key(self) -> str:
        """The key under which what belongs to the step is kept: its items, its call, its child."""
        return self.key

    @property
    def is_recorded(self) -> bool:
        """Whether the step has its place in the journal."""
        return self.sequence is not None

    @property
    def is_open(self) -> bool:
        """Whether the step still has something to do."""
        return self.status not in {
            types.StepStatus.COMPLETED,
            types.StepStatus.FAILED,
            types.StepStatus.ABANDONED,
            types.StepStatus.CANCELLED,
        }

    @property
    def result(self) -> Any:
        """The decoded result, or None while there is none."""
        return None if self.result_text is None else codec.loads(self.result_text)

    @property
    def failure(self) -> types.Failure | None:
        """The last error of the step, or None."""
        return failure_in(self.failure_text)

    @property
    def arguments(self) -> dict[str, Any]:
        """What the step was asked with, as far as it is recorded (durations, event ids, URLs)."""
        try:
            found: dict[str, Any] = codec.loads(self.arguments_text) if self.arguments_text else {}
        except AtRestError:
            # Windows ask, and have more to show.
            return {}
        return found

    @property
    def progress(self) -> tuple[int, int] | None:
        """How many items of a map have ended, of how many; None for another kind of step. One query while it is open."""
        if self.kind != types.StepKind.MAP:
            return None
        total: int = self.arguments.get("items", 0)
        if self.is_recorded:
            return total, total
        items = MapItem.objects.using(self._state.db)
        ended = items.filter(run_id=self.run_id, step_key=self.rows_key, finished_at__isnull=False)
        return ended.count(), total

    @property
    def reason(self) -> str:
        """What the step waits for, in plain English."""
        return in_english(reason_of_step, self)

    @property
    def translated_reason(self) -> str:
        """The same in the language of who looks."""
        return reason_of_step(self)

    @property
    def child(self) -> Run | None:
        """The run that ``ctx.invoke`` started at this step, or None; after a resume the latest."""
        found = [one for one in around(self.run, "children") if one.parent_step == self.rows_key]
        return max(found, key=lambda child: (child.created_at, child.id), default=None)


class Step(StepFields):
    """One durable unit in a run. Once it has a sequence number it never changes, but for a resume."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="steps", db_index=False)

    class Meta:
        verbose_name = _("step")
        verbose_name_plural = _("steps")
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["run", "key"], name="django_workflow_step_once_per_run"
            ),
            models.CheckConstraint(
                name="django_workflow_step_recorded_has_sequence",
                condition=Q(status__in=["completed", "failed"], sequence__isnull=False)
                | ~Q(status__in=["completed", "failed"]) & Q(sequence__isnull=True),
            ),
        ]
        indexes = [STEP_OPEN]


class Attempt(models.Model):
    """A try that did not become the step's result: it failed, died, timed out or came too late."""

    class Outcome(models.TextChoices):
        FAILED = "failed", _("failed")
        TIMED_OUT = "timed_out", _("timed out")
        DIED = "died", _("died")
        LATE = "late", _("too late")
        HOOK_FAILED = "hook_failed", _("on_commit hook failed")
        PUT_ASIDE = "put_aside", _("put aside by an edit")

    run = models.ForeignKey(Run, models.CASCADE, related_name="attempts")
    step_key = models.CharField(_("step"), max_length=STEP_KEY_LENGTH, default="")
    number = models.PositiveIntegerField(_("number"))
    outcome = models.CharField(_("outcome"), max_length=12, choices=Outcome.choices)
    failure_text = models.TextField(_("failure"), null=True)  # noqa: DJ001
    result_text = models.TextField(_("late result"), null=True)  # noqa: DJ001
    started_at = models.DateTimeField(_("started"), null=True)
    finished_at = models.DateTimeField(_("finished"))
    worker = models.CharField(_("worker"), max_length=100, default="")
    # Of an earlier generation of the run; NULL: of the present one.
    generation = models.PositiveIntegerField(_("generation"), null=True)

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.step_key or 'code between steps'} #{self.number}"

    @property
    def failure(self) -> types.Failure | None:
        """The error of this attempt, or None for a late result."""
        return failure_in(self.failure_text)
