"""When a rule has last told somebody."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_workflow.core.alerts import NAME_LENGTH


class AlertState(models.Model):
    """One channel of one rule: its row makes one alert out of what every sweep finds."""

    # With the channel after the name.
    key = models.CharField(
        _("alert"), primary_key=True, max_length=NAME_LENGTH + 20, db_column="alert_key"
    )
    raised_at = models.DateTimeField(_("raised"), null=True)
    # Dead letters that ended by then were told of, or are older than the rule.
    seen_until = models.DateTimeField()
    # Until when somebody is sending, or another attempt waits.
    busy_until = models.DateTimeField(null=True)
    # Raised by each taking: who took it first has it.
    taken = models.PositiveIntegerField(default=0)
    trouble = models.TextField(_("trouble"), default="")

    class Meta:
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return self.key
