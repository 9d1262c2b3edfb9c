"""Who did what to which run, and why."""

from __future__ import annotations

import json
from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_workflow.core.at_rest import opened
from django_workflow.models.lengths import ACTOR_LENGTH, OBJECT_ID_LENGTH, RUN_ID_LENGTH
from django_workflow.models.words_field import WordsField

SUBJECT_LENGTH = 300


class Action(models.Model):
    """One verb of a person or a program, written in the verb's own transaction.

    Without foreign keys: it outlives the run it was about, and the user who acted.
    """

    # Empty where one action was about many runs.
    run_id = models.CharField(_("run"), max_length=RUN_ID_LENGTH, default="")
    # What it was about where that is no run: "schedule nightly", "flow control reports", "event pickup:42".
    subject = models.CharField(
        _("subject"), max_length=SUBJECT_LENGTH, default="", db_default="", blank=True
    )
    verb = models.CharField(_("verb"), max_length=30)
    actor = models.CharField(_("by"), max_length=ACTOR_LENGTH, default="")
    user_id = models.CharField(_("user ID"), max_length=OBJECT_ID_LENGTH, default="")
    door = models.CharField(_("through"), max_length=20)
    why = WordsField(_("why"), default="")
    before = models.CharField(_("state before"), max_length=12, default="")
    after = models.CharField(_("state after"), max_length=12, default="")
    # What was changed, with the values before and after; empty where the states say it all.
    details_text = models.TextField(_("details"), default="")
    at = models.DateTimeField(_("at"))

    class Meta:
        verbose_name = _("action")
        verbose_name_plural = _("actions")
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["run_id", "at"], name="dw_action_run"),
            models.Index(fields=["at"], name="dw_action_at"),
        ]

    def __str__(self) -> str:
        return f"{self.verb} {self.run_id or self.subject}".strip()

    @property
    def details(self) -> dict[str, Any]:
        """What was changed, as plain JSON: for those who may see payloads."""
        if not self.details_text:
            return {}
        found: dict[str, Any] = json.loads(opened(self.details_text))
        return found
