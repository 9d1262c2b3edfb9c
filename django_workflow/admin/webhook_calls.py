"""Webhooks of runs, and their calls. The URL is a secret, and is shown nowhere."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_workflow.admin.base import badge, may_see_payloads, run_link
from django_workflow.admin.rows import SteeredAdmin
from django_workflow.admin.seeing import OfVisibleRuns
from django_workflow.admin.story import shown_value
from django_workflow.conf import settings
from django_workflow.models import Event, Webhook
from django_workflow.models.shown import shown_event

CALLS_SHOWN = 50


@admin.register(Webhook)
class WebhookAdmin(OfVisibleRuns, SteeredAdmin):
    """Which runs can be called, and who has called them."""

    panel = "django_workflow/admin/partials/_webhook.html"
    list_display = ("step_key", "run_link", "state", "calls", "last_call")
    search_fields = ("run_id__startswith", "step_key__contains")
    search_help_text = gettext_lazy("The beginning of a run's ID, or a part of a step's name")
    ordering = ("-id",)
    change_list_template = "django_workflow/admin/rows.html"
    empty_text = gettext_lazy("No webhooks yet. Runs make them with ctx.create_webhook().")

    @admin.display(description=gettext_lazy("state"))
    def state(self, row: Webhook) -> SafeString:
        """Return whether it still takes calls."""
        if row.is_over(timezone.now()):
            return badge("cancelled", _("over"))
        return badge("waiting", _("open"))

    @admin.display(description=gettext_lazy("last call"), ordering="called_at")
    def last_call(self, row: Webhook) -> str:
        """Return when it was called last."""
        return "-" if row.called_at is None else _time(row.called_at)

    def panel_of(self, request: HttpRequest, row: Webhook) -> dict[str, Any]:
        """Return what its page shows: its latest calls."""
        events = Event.objects.using(settings().DATABASE).filter(
            event_id=row.event_id, run_id=row.run_id
        )
        sees = may_see_payloads(request)
        return {
            "run": run_link(row.run_id, self.admin_site.name),
            "verified": row.verifier is not None,
            "calls": [
                (event, shown_value(shown_event(event)) if sees else None)
                for event in events.order_by("-created_at", "-id")[:CALLS_SHOWN]
            ],
            "title": str(_("Webhook of run %(run)s")) % {"run": row.run_id},
        }


def _time(moment: datetime) -> str:
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M:%S}"
