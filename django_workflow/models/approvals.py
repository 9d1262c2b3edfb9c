"""Decisions that runs wait for, and who may take them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Self

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from django_workflow.core.approvals import TITLE_LENGTH, VALUE_LENGTH
from django_workflow.core.codec import codec
from django_workflow.core.events import EVENT_ID_LENGTH
from django_workflow.core.importable import PATH_LENGTH
from django_workflow.core.types import FINISHED, StepStatus
from django_workflow.models.lengths import STEP_KEY_LENGTH
from django_workflow.models.runs import Run
from django_workflow.models.steps import Step
from django_workflow.models.words_field import WordsField


class ApprovalQuerySet(models.QuerySet["Approval"]):
    """Named questions about approvals."""

    def open(self) -> Self:
        """Those that can still be decided, their time apart: their step waits, and their run has not ended."""
        waiting = Step.objects.filter(
            run_id=models.OuterRef("run_id"),
            key=models.OuterRef("step_key"),
            status=StepStatus.WAITING,
        )
        ended = Run.objects.filter(pk=models.OuterRef("run_id"), status__in=FINISHED)
        # No join: an UPDATE with one would be decided by a subquery, which PostgreSQL does not look at again when it
        # has waited for another's decision.
        return self.filter(models.Exists(waiting), ~models.Exists(ended), decision="")

    def mail_due(self, now: datetime) -> Self:
        """Those for which a mail is to be sent."""
        return self.filter(next_mail_at__lte=now).order_by("next_mail_at")

    def assigned_to(self, user: Any) -> Self:
        """Those that name this user, or one of the user's groups."""
        mine = Q(assignees__kind="user", assignees__value=str(user.pk))
        mine |= Q(assignees__kind="username", assignees__value=user.get_username())
        if hasattr(user, "groups"):
            names = list(user.groups.values_list("name", flat=True))
            mine |= Q(assignees__kind="group", assignees__value__in=names)
        return self.filter(mine).distinct()


class Approval(models.Model):
    """A decision that a step waits for. Decided, or timed out, once: whoever fills ``decision`` first.

    Users are kept as texts, not as foreign keys: these rows may live in another database than theirs, and who has
    decided stays known when the user is gone.
    """

    class Decision(models.TextChoices):
        APPROVED = "approved", _("approved")
        REJECTED = "rejected", _("rejected")
        TIMED_OUT = "timed_out", _("timed out")

    run = models.ForeignKey(Run, models.CASCADE, related_name="approvals", db_index=False)
    run_id: str
    step_key = models.CharField(_("step"), max_length=STEP_KEY_LENGTH)
    # Random, so that nobody decides by sending an event.
    event_id = models.CharField(max_length=EVENT_ID_LENGTH)
    title = models.CharField(_("title"), max_length=TITLE_LENGTH)
    description = WordsField(_("description"), default="", blank=True)
    form = models.CharField(_("form"), max_length=PATH_LENGTH, default="", blank=True)
    permission = models.CharField(_("permission"), max_length=255, default="", blank=True)
    created_at = models.DateTimeField(_("asked"))
    due_at = models.DateTimeField(_("due"))
    decision = models.CharField(
        _("decision"), max_length=12, choices=Decision.choices, default="", blank=True
    )
    decided_at = models.DateTimeField(_("decided"), null=True)
    decided_by = models.CharField(_("decided by"), max_length=VALUE_LENGTH, default="", blank=True)
    # The user's primary key; empty for who came by a mail address alone.
    decider_pk = models.CharField(max_length=100, default="", blank=True)
    comment = WordsField(_("comment"), default="", blank=True)
    data_text = models.TextField(_("data"), null=True)  # noqa: DJ001
    reminders_text = models.TextField(default="{}")
    mails = models.PositiveIntegerField(_("mails"), default=0)
    next_mail_at = models.DateTimeField(_("next mail"), null=True)
    # The worker that sends the mail.
    mail_taken_by = models.CharField(max_length=100, default="")

    objects = ApprovalQuerySet.as_manager()

    class Meta:
        verbose_name = _("approval")
        verbose_name_plural = _("approvals")
        default_permissions = ("view",)
        permissions = [("decide_approval", "Can decide approvals")]
        constraints = [
            models.UniqueConstraint(
                fields=["run", "step_key"], name="django_workflow_approval_once_per_step"
            )
        ]
        indexes = [
            models.Index(fields=["next_mail_at"], name="dw_approval_mail"),
            models.Index(fields=["decision", "due_at"], name="dw_approval_open"),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def data(self) -> Any:
        """The cleaned data of the form, or None."""
        return None if self.data_text is None else codec.loads(self.data_text)

    def reminder_after(self, now: datetime) -> datetime | None:
        """Return when the next reminder is to be sent; None when there is none before the end."""
        plan = codec.loads(self.reminders_text)
        if plan.get("every"):
            every = timedelta(seconds=plan["every"])
            found = self.created_at + ((now - self.created_at) // every + 1) * every
            return found if found < self.due_at else None
        moments = [self.created_at + timedelta(seconds=one) for one in plan.get("at", ())]
        return min((moment for moment in moments if moment > now), default=None)


class ApprovalAssignee(models.Model):
    """One of those who may decide an approval: a user, a group, or whoever reads the mail of an address."""

    class Kind(models.TextChoices):
        USER = "user", _("user")
        USERNAME = "username", _("user name")
        GROUP = "group", _("group")
        EMAIL = "email", _("mail address")

    approval = models.ForeignKey(Approval, models.CASCADE, related_name="assignees", db_index=False)
    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    value = models.CharField(_("value"), max_length=VALUE_LENGTH)

    class Meta:
        verbose_name = _("assignee")
        verbose_name_plural = _("assignees")
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["approval", "kind", "value"], name="django_workflow_assignee_once"
            )
        ]
        indexes = [models.Index(fields=["kind", "value"], name="dw_assignee_value")]

    def __str__(self) -> str:
        return self.value
