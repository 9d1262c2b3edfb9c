"""What people note about an error that has ended many runs."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_workflow.models.lengths import ACTOR_LENGTH
from django_workflow.models.words_field import WordsField

FINGERPRINT_LENGTH = 16


class DeadLetterNote(models.Model):
    """What people say of the dead letters of one error: what it is, who looks after it, whether it matters."""

    fingerprint = models.CharField(_("error"), primary_key=True, max_length=FINGERPRINT_LENGTH)
    note = WordsField(_("note"), default="", blank=True)
    assignee = models.CharField(
        _("looked after by"), max_length=ACTOR_LENGTH, default="", blank=True
    )
    is_ignored = models.BooleanField(_("ignored"), default=False)
    changed_by = models.CharField(_("changed by"), max_length=ACTOR_LENGTH, default="", blank=True)
    changed_at = models.DateTimeField(_("changed"))

    class Meta:
        verbose_name = _("note about an error")
        verbose_name_plural = _("notes about errors")
        default_permissions = ("view", "change")

    def __str__(self) -> str:
        return self.fingerprint
