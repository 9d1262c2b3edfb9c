"""Alerts, as a list."""

from __future__ import annotations

from django.contrib import admin

from django_workflow.admin.base import ReadOnlyAdmin
from django_workflow.models import AlertState


@admin.register(AlertState)
class AlertStateAdmin(ReadOnlyAdmin):
    """When rules have last told somebody, and why they could not."""

    list_display = ("key", "raised_at", "trouble")
    fields = ("key", "raised_at", "seen_until", "busy_until", "trouble")
    ordering = ("key",)
