"""Deliveries and events, as lists."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from django_workflow.admin.base import ReadOnlyAdmin, may_see_payloads
from django_workflow.core.plain import plain
from django_workflow.models import Delivery, Event


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    """What is due."""

    search_fields = ("run_id__startswith",)
    search_help_text = _("The beginning of a run's ID")
    ordering = ("due_at", "id")
    list_display_links = None

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        """Leave the trouble out for those who may not see errors."""
        columns = ("run_link", "what", "due_at", "leased_by", "tries", "deaths")
        return (*columns, "trouble") if may_see_payloads(request) else columns

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Show what the list shows, and the token."""
        return (*self.get_list_display(request), "token")

    @admin.display(description=_("delivers"), ordering="step_key")
    def what(self, obj: Delivery) -> str:
        """Return the step, or that it is the turn."""
        return obj.step_key or str(_("the turn"))


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    """What was sent."""

    list_display = ("event_id", "run_link", "created_at", "matched_at", "reached", "expires_at")
    search_fields = ("event_id__startswith", "run_id__startswith")
    search_help_text = _("The beginning of an event's or a run's ID")
    date_hierarchy = "created_at"
    ordering = ("-created_at", "-id")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Leave the data out for those who may not see payloads."""
        columns = ("event_id", "run_link", "created_at", "matched_at", "reached", "expires_at")
        return (*columns, "sent") if may_see_payloads(request) else columns

    @admin.display(description=_("data"))
    def sent(self, obj: Event) -> str:
        """Return what was sent with the event."""
        return json.dumps(plain(obj.data_text), indent=2, ensure_ascii=False)
