"""URLs that belong to one run each."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_workflow.core.codec import codec
from django_workflow.core.events import EVENT_ID_LENGTH
from django_workflow.models.lengths import STEP_KEY_LENGTH
from django_workflow.models.runs import Run


class Webhook(models.Model):
    """A URL of one run: what it accepts, and how often it was called. Its calls are events of its own id."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="webhooks", db_index=False)
    run_id: str
    step_key = models.CharField(_("step"), max_length=STEP_KEY_LENGTH)
    event_id = models.CharField(_("event ID"), max_length=EVENT_ID_LENGTH)
    # Of the token in the URL: who reads this table cannot call. The URL itself is in the step's record.
    digest = models.CharField(max_length=64, unique=True)
    verifier_text = models.TextField(_("verifier"), default="null")
    answer_text = models.TextField(_("answer"), default="null")
    single_use = models.BooleanField(_("for one call"), default=False)
    max_bytes = models.PositiveIntegerField(_("longest body"), null=True)
    expires_at = models.DateTimeField(_("expires"), null=True)
    calls = models.PositiveIntegerField(_("calls"), default=0)
    called_at = models.DateTimeField(_("last call"), null=True)
    # The minute under way, as the limit of calls counts it.
    minute_began_at = models.DateTimeField(null=True)
    minute_calls = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(_("created"))

    class Meta:
        verbose_name = _("webhook")
        verbose_name_plural = _("webhooks")
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["run", "step_key"], name="django_workflow_webhook_once_per_step"
            )
        ]

    def __str__(self) -> str:
        return self.event_id

    @property
    def verifier(self) -> Any:
        """The dotted path of the verifier, the fields of a signature, or None."""
        return codec.loads(self.verifier_text)

    @property
    def answer(self) -> Any:
        """What callers are answered: ``{"value": …}``, or ``{"call": path}``."""
        return codec.loads(self.answer_text)

    def is_over(self, now: datetime) -> bool:
        """Whether it takes no call any more, whatever the run does."""
        is_expired = self.expires_at is not None and self.expires_at <= now
        return is_expired or (self.single_use and self.calls > 0)
