"""The Django admin as a window on runs: read-only but for the deletion of ended runs."""

from __future__ import annotations

from django_workflow.admin.alerts import AlertStateAdmin
from django_workflow.admin.others import DeliveryAdmin, EventAdmin
from django_workflow.admin.runs import RunAdmin

__all__ = ["AlertStateAdmin", "DeliveryAdmin", "EventAdmin", "RunAdmin"]
